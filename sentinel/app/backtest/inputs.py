"""What events of the past are read from: the port, and its simplest implementation, files of JSON lines."""

import gzip
import stat
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Protocol, cast

import numpy as np

from sentinel.core.batch import LOCAL_CLUSTER, CleanBatch, PartitionId
from sentinel.core.delivery import Delivery, weight_bytes
from sentinel.core.errors import SentinelError
from sentinel.core.timestamp import rfc3339
from sentinel.ingestion.lines import Lines

BLOCK_BYTES: Final = 524_288
"""Bytes read in one go."""
MOST_LINES: Final = 5_000
"""Lines of one delivery, as in a live source."""

_GZIP: Final = b"\x1f\x8b"
_CURE: Final = "Give --input a file of JSON lines, plain or gzip, that this user may read."


class BacktestError(SentinelError):
    """The past cannot be read, or says nothing; the message names the place and the cure."""


class Part(NamedTuple):
    """Some events in log order, and which share of the whole input has been read with them, 0 to 1.

    `events` are records as a source hands them over, or sanitized rows of a store.
    """

    events: Delivery | CleanBatch
    read: float


class Input(Protocol):
    """Where the past is read from. Nothing is written anywhere.

    Attributes:
        name: what is read, for people.
        rereadable: whether `parts` may be called again, and then gives the same from the beginning.
        lacks: what the events have lost there, as a sentence for people; None when they are whole.
    """

    name: str
    rereadable: bool
    lacks: str | None

    def parts(self) -> Iterator[Part]:
        """The events, a few thousand at a time. Raises BacktestError or another SentinelError with place and cure."""
        ...


@dataclass(frozen=True, slots=True)
class Span:
    """Event times from `start_ns` on and before `end_ns`, nanoseconds since the epoch; None = no bound."""

    start_ns: int | None = None
    end_ns: int | None = None

    def of(self, batch: CleanBatch) -> CleanBatch:
        """The events of a batch that lie within it; the batch itself when all do."""
        keep = np.ones(len(batch), np.bool_)
        if self.start_ns is not None:
            keep &= batch.ts_ns >= self.start_ns
        if self.end_ns is not None:
            keep &= batch.ts_ns < self.end_ns
        return batch if keep.all() else batch.take(keep)

    def __str__(self) -> str:
        start = "the beginning" if self.start_ns is None else rfc3339(self.start_ns)
        return f"{start} to {'the end' if self.end_ns is None else rfc3339(self.end_ns)}"


class FileInput:
    """Files of JSON lines, plain or compressed with gzip, one log each, one after the other.

    Args:
        paths: the files; a pipe can be read only once.
        max_record_bytes: what is beyond that in one line is skipped; the line is rejected as too large.
        now_ns: stands for the time of receipt: no event is taken to be later.

    Raises BacktestError when a file cannot be read.
    """

    def __init__(self, paths: Sequence[Path], max_record_bytes: int, now_ns: int) -> None:
        self._paths = paths
        self._max_record_bytes = max_record_bytes
        self._now_ns = now_ns
        self.name = ", ".join(map(str, paths))
        sizes = [_size(path) for path in paths]
        self.rereadable = None not in sizes
        self.lacks: str | None = None
        self._sizes = [size or 0 for size in sizes]

    def parts(self) -> Iterator[Part]:
        """The lines, with the share of bytes read."""
        total, before = max(sum(self._sizes), 1), 0
        for path, size in zip(self._paths, self._sizes, strict=True):
            for delivery, position in self._deliveries(path):
                yield Part(delivery, min((before + position) / total, 1.0))
            before += size

    def _deliveries(self, path: Path) -> Iterator[tuple[Delivery, int]]:
        source, offset = PartitionId(LOCAL_CLUSTER, f"file:{path.resolve()}", 0), 0
        try:
            with path.open("rb") as file:
                text = gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == _GZIP else file
                for lines in self._lines(cast("BufferedIOBase", text)):
                    yield self._delivery(source, offset, lines), _position(file)
                    offset += len(lines)
        except EOFError as error:
            raise BacktestError(
                f"{path} ends in the middle, after line {offset:,}: get a whole copy of it, or gunzip what there is"
            ) from error
        except (OSError, zlib.error) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            raise BacktestError(f"cannot read {path} behind line {offset:,}: {reason}. Check the file and its permissions.") from error

    def _lines(self, file: BufferedIOBase) -> Iterator[Sequence[bytes]]:
        lines = Lines(self._max_record_bytes)
        while block := file.read1(BLOCK_BYTES):
            yield from _cut(lines.feed(block))
        yield from _cut(lines.end())

    def _delivery(self, source: PartitionId, first: int, records: Sequence[bytes]) -> Delivery:
        n = len(records)
        offsets = np.arange(first, first + n, dtype=np.int64)
        return Delivery(source, records, offsets, np.zeros(n, np.int64), self._now_ns, 0, weight_bytes(records))


def _cut(lines: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(lines), MOST_LINES):
        yield lines[start : start + MOST_LINES]


def _size(path: Path) -> int | None:
    """Bytes of a file, None of a pipe, which is not opened: its writer would take that for a reader that is gone.

    Raises BacktestError when there is none, or it is a directory.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise BacktestError(f"cannot read {path}: {(error.strerror or str(error)).lower()}. {_CURE}") from error
    if stat.S_ISDIR(found.st_mode):
        raise BacktestError(f"cannot read {path}: it is a directory. {_CURE}")
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _position(file: BinaryIO) -> int:
    """Bytes read so far; 0 of a pipe, whose length nobody knows either."""
    return file.tell() if file.seekable() else 0
