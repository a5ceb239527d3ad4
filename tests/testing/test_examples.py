"""The shipped examples are what their README says: accepted by the daemon, but for the one bad record."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sentinel.config.schema import Parsing
from sentinel.core.batch import Dialect, PartitionId
from sentinel.core.delivery import Delivery
from sentinel.core.errors import RejectCode
from sentinel.ingestion.decode import decode

EXAMPLES = Path(__file__).parents[2] / "examples"
LOG_NS = 1_768_473_030_000_000_000


def test_nineteen_of_twenty_examples_are_events() -> None:
    """Nineteen lines become events of three dialects; line 19 is rejected for its missing model."""
    records = (EXAMPLES / "events.jsonl").read_bytes().splitlines()
    decoded = decode(delivery(records, LOG_NS), Parsing())
    assert len(records) == 20
    assert [(reject.index, reject.code) for reject in decoded.rejects] == [(18, RejectCode.MISSING_FIELD)]
    assert decoded.batch is not None
    assert len(decoded.batch) == 19
    assert not decoded.batch.flags.any()
    assert set(decoded.batch.dialects.tolist()) == {Dialect.FLAT, Dialect.NESTED, Dialect.OTLP_JSON}
    assert np.all(np.abs(decoded.batch.ts_ns - LOG_NS) < 60 * 10**9)


def delivery(records: Sequence[bytes | None], log_ns: int) -> Delivery:
    """The records as a source would hand them over, all taken by their log at one time."""
    n = len(records)
    size_bytes = sum(len(record or b"") for record in records)
    return Delivery(PartitionId("test", "log", 0), records, np.arange(n), np.full(n, log_ns), log_ns, 0, size_bytes)


def test_the_readme_names_every_example_and_line() -> None:
    """Each file is linked, and each of the twenty lines has its place in the table."""
    text = (EXAMPLES / "README.md").read_text()
    files = [path for path in EXAMPLES.rglob("*") if path.is_file() and path.name != "README.md"]
    files = [path for path in files if "__pycache__" not in path.parts]
    assert all(f"({path.relative_to(EXAMPLES).as_posix()})" in text for path in files)
    rows = text.split("line by line")[1].split("\n\n")[1].splitlines()[2:]
    told = [int(number) for row in rows for number in row.split("|")[1].split(",")]
    assert told == list(range(1, 21))


def test_examples_are_one_json_object_a_line() -> None:
    """Any reader of JSON lines can read them."""
    for line in (EXAMPLES / "events.jsonl").read_text().splitlines():
        assert isinstance(json.loads(line), dict)
