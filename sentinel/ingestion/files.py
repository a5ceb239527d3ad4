"""Files and standard input of JSON lines, read once; a file is taken up where the store's position says."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sentinel.core.batch import Delivery, PartitionId
from sentinel.core.errors import StartupError
from sentinel.core.ports import Clock, Outcome, PartitionOwner
from sentinel.ingestion.gate import Gate
from sentinel.observability.logs import get

STANDARD_INPUT = "-"
BLOCK_LINES = 2_000

log = get(__name__)


class FileSource:
    """One file of JSON lines as a log: the offset is the line number, from 0. Standard input goes on where the last one ended.

    A file has no time of its own for a line, so no timestamp is judged as too old or too far ahead.

    Args:
        path: the file, or `-`.
        owner: told about the log at open.
        clock: stamps deliveries with their time of receipt.
        max_record_bytes: what is beyond that in one line is skipped; the line is rejected as too large.
    """

    def __init__(self, path: str, owner: PartitionOwner, clock: Clock, max_record_bytes: int) -> None:
        self._path = path
        self._owner = owner
        self._clock = clock
        self._max_record_bytes = max_record_bytes
        self._file: BinaryIO | None = None
        self._next_offset = 0
        self._gate = Gate()
        name = "standard-input" if path == STANDARD_INPUT else str(Path(path).resolve())
        self._log = PartitionId("embedded", f"file:{name}", 0)

    async def open(self) -> None:
        """Open the file and skip the lines that are stored. Raises StartupError when it cannot be read."""
        try:
            file = sys.stdin.buffer if self._path == STANDARD_INPUT else await asyncio.to_thread(Path(self._path).open, "rb")
        except OSError as error:
            raise StartupError(
                f"cannot read {self._path}: {error.strerror}. Check ingestion.files.paths and the file's permissions."
            ) from error
        self._file = file
        self._next_offset = await self._owner.assigned(self._log, None, 0) or 0
        if self._next_offset and self._path != STANDARD_INPUT:
            skipped = await asyncio.to_thread(self._lines, self._next_offset)
            log.info("file taken up where it was left", path=self._path, lines_skipped=len(skipped))

    async def read(self) -> Delivery | None:
        """The next lines; None at the end of the file."""
        await self._gate.passage()
        records = await asyncio.to_thread(self._lines, BLOCK_LINES)
        if not records:
            return None
        first = self._next_offset
        self._next_offset += len(records)
        return Delivery(
            source=self._log,
            records=records,
            offsets=np.arange(first, self._next_offset, dtype=np.int64),
            timestamps_ns=np.zeros(len(records), np.int64),
            received_ns=self._clock.now_ns(),
            epoch=0,
            size_bytes=sum(map(len, records)),
        )

    def _lines(self, count: int) -> Sequence[bytes]:
        """Up to `count` lines without their ends, each at most one byte longer than allowed. Blocking."""
        lines: list[bytes] = []
        while self._file is not None and len(lines) < count and (line := self._file.readline(self._max_record_bytes + 1)):
            lines.append(line.rstrip(b"\r\n"))
            while not line.endswith(b"\n") and (line := self._file.readline(self._max_record_bytes)):
                pass  # the rest of a line that is too large
        return lines

    async def ack(self, delivery: Delivery, outcome: Outcome) -> None:
        """Nothing to do: the store's position is the file's position."""

    def pause(self) -> None:
        """Hand over nothing."""
        self._gate.shut()

    def resume(self) -> None:
        """Hand over lines again."""
        self._gate.lift()

    async def close(self) -> None:
        """Close the file."""
        if self._file is not None and self._path != STANDARD_INPUT:
            self._file.close()
        self._file = None
