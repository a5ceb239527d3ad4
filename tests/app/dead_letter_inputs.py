"""What the tests of dead letters share: letters as the daemon makes them of records."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sentinel.app.dead_letters.letter import Letter, read_letter
from sentinel.config.schema import Ingestion, Privacy
from sentinel.core.batch import PartitionId
from sentinel.core.delivery import Delivery, weight_bytes
from sentinel.core.errors import RejectCode
from sentinel.core.reject import DeadLetter
from sentinel.ingestion.dead_letter import encode
from sentinel.ingestion.sanitize import Sanitizer
from sentinel.pipeline.process import Rules, clean

HTTP = PartitionId("embedded", "http", 0)
START_NS = 1_768_473_000_000_000_000
"""2026-01-15T10:30:00Z."""
DAY_NS = 86_400_000_000_000


def made_of(
    records: Sequence[bytes | None], ingestion: Ingestion | None = None, log: PartitionId = HTTP, first: int = 0, at_ns: int = START_NS
) -> list[DeadLetter]:
    """The dead letters of records, numbered from `first` on and received at one time."""
    limits = ingestion or Ingestion()
    sanitizer = Sanitizer(limits.parsing, limits.validation, Privacy(), limits.dead_letters, b"k" * 32)
    offsets, times_ns = np.arange(first, first + len(records), dtype=np.int64), np.full(len(records), at_ns, np.int64)
    delivery = Delivery(log, records, offsets, times_ns, at_ns, 0, weight_bytes(records))
    return clean(delivery, Rules(limits.parsing, limits.validation, sanitizer)).dead_letters


def letters_of(records: Sequence[bytes | None], ingestion: Ingestion | None = None, log: PartitionId = HTTP) -> list[Letter]:
    """The same as they are read back."""
    return [as_read(letter) for letter in made_of(records, ingestion, log)]


def as_read(letter: DeadLetter) -> Letter:
    """A dead letter as it is read back."""
    found = read_letter(encode(letter))
    assert found is not None
    return found


def plain(offset: int = 0, at_ns: int = START_NS, record: str = '{"a":1}', code: RejectCode = RejectCode.MISSING_FIELD) -> DeadLetter:
    """A letter that is complete."""
    return DeadLetter(HTTP, offset, 0, 0, code, "service_name: missing", at_ns, record, len(record))


def write(path: Path, letters: Sequence[DeadLetter]) -> Path:
    """A file of these letters."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(encode(letter) + b"\n" for letter in letters))
    return path
