"""Files and standard input of JSON lines, read once; a file is taken up where the store's position says."""

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from sentinel.core.batch import LOCAL_CLUSTER, PartitionId
from sentinel.core.delivery import Delivery, weight_bytes
from sentinel.core.errors import PermanentError, StartupError
from sentinel.core.ports import Clock, Outcome, PartitionOwner
from sentinel.ingestion.gate import Gate
from sentinel.ingestion.lines import Lines
from sentinel.observability.logs import get

T = TypeVar("T")

STANDARD_INPUT: Final = "-"
BLOCK_BYTES: Final = 524_288
"""Most bytes read in one go, the rest of a long line aside."""
MOST_LINES: Final = 5_000
"""Most lines of one delivery."""

log = get(__name__)


class FileSource:
    """One file of JSON lines as a log: the offset is the line number, from 0. Standard input goes on where the last one ended.

    A file has no time of its own for a line, so no timestamp is judged as too old or too far ahead.

    Args:
        path: the file, or `-`.
        owner: told about the log at open.
        clock: stamps deliveries with their time of receipt.
        max_record_bytes: what is beyond that in one line is skipped; the line is rejected as too large.
        cluster: names this daemon among those that share a store.
    """

    def __init__(self, path: str, owner: PartitionOwner, clock: Clock, max_record_bytes: int, cluster: str = LOCAL_CLUSTER) -> None:
        self._path = path
        self._owner = owner
        self._clock = clock
        self._lines = Lines(max_record_bytes)
        self._file: BufferedReader | None = None
        self._pending: Sequence[bytes] = ()
        self._reading = False
        self._next_offset = 0
        self._stored_lines = 0
        self._gate = Gate()
        name = "standard-input" if path == STANDARD_INPUT else str(Path(path).resolve())
        self._log = PartitionId(cluster, f"file:{name}", 0)

    async def open(self) -> None:
        """Open the file. Raises StartupError when it cannot be read."""
        try:
            self._file = await asyncio.to_thread(self._opened)
        except OSError as error:
            raise StartupError(
                f"cannot read {self._path}: {error.strerror}. Check ingestion.files.paths and the file's permissions."
            ) from error
        self._next_offset = await self._owner.assigned(self._log, None, 0) or 0
        self._stored_lines = 0 if self._path == STANDARD_INPUT else self._next_offset

    def _opened(self) -> BufferedReader:
        if self._path != STANDARD_INPUT:
            return Path(self._path).open("rb")
        # A reader of our own: the thread that waits in it must not hold the lock of sys.stdin when the process ends.
        return open(sys.stdin.fileno(), "rb", closefd=False)

    async def read(self) -> Delivery | None:
        """The next lines; None at the end of the file."""
        await self._gate.passage()
        records = await _aside(self._next_lines)
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
            size_bytes=weight_bytes(records),
        )

    def ready(self) -> Delivery | None:
        """Nothing: a file is read a delivery at a time."""
        return None

    def caught_up(self) -> Sequence[PartitionId]:
        """Never: time in a file does not go on by itself."""
        return ()

    def _next_lines(self) -> Sequence[bytes]:
        """The next lines that are not stored yet; none at the end. Blocking: waits for some."""
        self._reading = True
        try:
            if not self._pending:
                self._pending = self._block()
            lines, self._pending = self._pending[:MOST_LINES], self._pending[MOST_LINES:]
            return lines
        finally:
            self._reading = False

    def _block(self) -> Sequence[bytes]:
        while self._file is not None:
            try:
                block = self._file.read1(BLOCK_BYTES)
            except OSError as error:
                raise PermanentError(f"cannot read {self._path}: {error.strerror}. What was read is safe; start again to go on.") from error
            lines = self._unstored(self._lines.feed(block) if block else self._lines.end())
            if lines:
                return lines
            if not block:
                self._at_end()
                break
        return ()

    def _unstored(self, lines: Sequence[bytes]) -> Sequence[bytes]:
        skipped = min(self._stored_lines, len(lines))
        self._stored_lines -= skipped
        return lines[skipped:]

    def _at_end(self) -> None:
        if self._stored_lines:
            log.warning("file is shorter than what was stored of it: nothing new was read", path=self._path, missing=self._stored_lines)
            self._stored_lines = 0

    async def ack(self, delivery: Delivery, outcome: Outcome) -> None:
        """Nothing to do: the store's position is the file's position."""

    def pause(self) -> None:
        """Hand over nothing."""
        self._gate.shut()

    def resume(self) -> None:
        """Hand over lines again."""
        self._gate.lift()

    async def close(self) -> None:
        """Close the file. Standard input, and a pipe that a thread is waiting in, stay open: closing would wait for them."""
        if self._file is not None and self._path != STANDARD_INPUT and not self._reading:
            self._file.close()
        self._file = None


async def _aside(work: Callable[[], T]) -> T:
    """Run on a thread that the end of the process does not wait for: standard input may never say anything again."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def finish(result: T | None, error: Exception | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # there is a result where there is no error

    def run() -> None:
        result, failed = None, None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001  handed to the waiting task
            failed = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(finish, result, failed)

    threading.Thread(target=run, name="read-file", daemon=True).start()
    return await done
