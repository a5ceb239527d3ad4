"""The embedded store: one SQLite file that keeps events, anomalies and rollups, written by one thread and read by a few others."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from sqlite3 import Connection
from typing import Concatenate, Final, ParamSpec, TypeVar

import msgspec

from sentinel.config.schema import Embedded
from sentinel.core.anomaly import Anomaly
from sentinel.core.batch import PartitionId
from sentinel.core.errors import SentinelError
from sentinel.core.ports import StoredMetrics, StoreWrite
from sentinel.core.query import AnomalyQuery, Page, SeriesPoints, SeriesQuery, TelemetryQuery
from sentinel.observability import logs
from sentinel.storage import reader, traffic
from sentinel.storage.database import ReaderPool
from sentinel.storage.reader import SeriesSeen
from sentinel.storage.retention import Table
from sentinel.storage.writer import Writer

P = ParamSpec("P")
T = TypeVar("T")

READ_LIMIT_S: Final = 2.0
"""Seconds one read may take."""
ROWS_PER_DELETE: Final = 2_000
"""Rows deleted in one transaction, so that writes wait for milliseconds only."""
PAGES_PER_VACUUM: Final = 500
"""Pages given back to the file system in one step."""

_HOUR_NS: Final = 3_600_000_000_000


class StoreCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What the store holds."""

    events: int
    anomalies: int
    """Of single events and of time windows."""
    database_bytes: int
    """Bytes of the file's pages, without its write-ahead log."""
    rollup_waiting: int
    """Stored events that the rollups do not count yet."""


class EmbeddedStore:
    """`Store` and `Query` on one SQLite file. Nothing runs before `open`.

    Args:
        section: retention, rollup interval and durability.
        path: the database file; its directory is made if missing.
        thread: does the writing; the store has one of its own when none is given. Where the interpreter has one lock, two busy threads
            cost more than one, so the daemon gives the one that processes events.
        read_limit_s: seconds one read may take before it is stopped with ReadTimeLimitError.
    """

    def __init__(
        self, section: Embedded, path: Path, *, thread: ThreadPoolExecutor | None = None, read_limit_s: float = READ_LIMIT_S
    ) -> None:
        self.section = section
        self.path = path
        self._given_thread = thread
        self._writer = Writer(path, section.synchronous)
        self._readers = ReaderPool(path, read_limit_s)
        self._thread: ThreadPoolExecutor | None = None
        self._fold_timer: asyncio.TimerHandle | None = None
        self._fold_task: asyncio.Task[None] | None = None
        self._log = logs.get("sentinel.storage")

    async def open(self) -> None:
        """Lock the file, bring its format and rollups up to date, start the threads. Raises StartupError with place and cure."""
        self._thread = self._given_thread or ThreadPoolExecutor(1, thread_name_prefix="store-write")
        try:
            await self._on_writer(self._writer.open)
            self._readers.open()
        except BaseException:
            await self.close()
            raise

    async def write(self, items: Sequence[StoreWrite]) -> None:
        """Rows, anomalies and positions of all items in one transaction.

        Events below their log's stored position change nothing, nor do anomalies of time windows whose write ends below it or whose ids
        are stored already.

        Raises:
            RetryableError: nothing was stored; says where and what to do.
            PermanentError: nothing was stored; the rows contradict themselves or cannot be represented.
        """
        await self._on_writer(self._writer.write, items)
        self._fold_later()

    async def fold(self) -> None:
        """Bring the rollups up to date now; they follow by themselves within `rollup_interval_secs`. Raises RetryableError."""
        await self._on_writer(self._writer.fold)

    async def prune(self, now_ns: int) -> int:
        """Delete what is older than its retention, in small steps between which writes go on.

        Args:
            now_ns: the time that ages are counted back from, nanoseconds since the epoch.

        Returns:
            How many events, anomalies and rollups were deleted.

        Raises:
            RetryableError: stopped in between; the rest goes next time.
        """
        anomalies_ns = now_ns - int(self.section.anomaly_retention_hours * _HOUR_NS)
        cutoffs: dict[Table, int] = {
            "events": now_ns - int(self.section.telemetry_retention_hours * _HOUR_NS),
            "anomalies": anomalies_ns,
            "tick_anomalies": anomalies_ns,
            "rollups": now_ns - int(self.section.rollup_retention_hours * _HOUR_NS),
        }
        deleted = 0
        for table, cutoff_ns in cutoffs.items():
            while count := await self._on_writer(self._writer.delete_older, table, cutoff_ns, ROWS_PER_DELETE):
                deleted += count
        await self._on_writer(self._writer.forget_series, min(cutoffs.values()))
        await self._on_writer(self._writer.forget_dimensions, cutoffs["events"])
        while await self._on_writer(self._writer.give_back, PAGES_PER_VACUUM):
            pass
        return deleted

    async def position(self, source: PartitionId) -> int | None:
        """The offset after the last stored one; None when nothing of this log was ever stored."""
        return await self._read(reader.position, source)

    async def replay(self, source: PartitionId, from_offset: int) -> AsyncIterator[StoredMetrics]:
        """The rows of one log from an offset on, in log order, in blocks of up to 5,000."""
        after = (from_offset, -1)
        while (found := await self._read(reader.replay_block, source, after)) is not None:
            block, after = found
            yield block

    async def telemetry(self, query: TelemetryQuery) -> Page:
        """Events, newest first. Raises ValueError for an unusable limit or cursor, RetryableError (also when it takes too long)."""
        return await self._read(reader.telemetry, query)

    async def anomalies(self, query: AnomalyQuery) -> list[Anomaly]:
        """Anomalies, newest first. Raises ValueError for an unusable limit, RetryableError (also when it takes too long)."""
        return await self._read(reader.anomalies, query)

    async def anomaly(self, anomaly_id: str) -> Anomaly | None:
        """One anomaly by id; None when there is no such."""
        return await self._read(reader.anomaly, anomaly_id)

    async def timeseries(self, query: SeriesQuery) -> list[SeriesPoints]:
        """Traffic over time from the rollups, the busiest series first; behind the writes by `rollup_interval_secs` at most.

        Raises ValueError for an unusable step or limit, RetryableError (also when it takes too long).
        """
        return await self._read(traffic.timeseries, query)

    async def series(self, limit: int = 1_000) -> list[SeriesSeen]:
        """Known series, the most recently seen first."""
        return await self._read(reader.series_seen, limit)

    async def counts(self) -> StoreCounts:
        """What the store holds, without scanning it."""
        events, anomalies, database_bytes = await self._read(reader.counts)
        return StoreCounts(events=events, anomalies=anomalies, database_bytes=database_bytes, rollup_waiting=self._writer.waiting_rows)

    async def close(self) -> None:
        """Finish the rollups and the reads under way, close the file, give its lock back. Twice is harmless.

        Raises RetryableError when the rollups could not be finished: no event is lost, the next open finishes them.
        """
        self._stop_timer()
        if self._fold_task is not None:
            await self._fold_task
            self._stop_timer()  # a fold that failed meanwhile wants to try again
        await asyncio.to_thread(self._readers.close)
        if self._thread is None:
            return
        try:
            await self._on_writer(self._writer.close)
        finally:
            if self._given_thread is None:
                self._thread.shutdown(wait=False)
            self._thread = None

    async def _on_writer(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run on the writer thread, after everything that was given to it before."""
        if self._thread is None:
            raise RuntimeError(f"the store {self.path} is not open")
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*args, **kwargs))

    async def _read(self, question: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Answer a question on a reader thread."""
        if self._readers.threads is None:
            raise RuntimeError(f"the store {self.path} is not open")
        return await asyncio.get_running_loop().run_in_executor(
            self._readers.threads, lambda: self._readers.read(question, *args, **kwargs)
        )

    def _fold_later(self) -> None:
        """See to it that the rollups follow within the interval."""
        if self._fold_timer is None and self._thread is not None:
            self._fold_timer = asyncio.get_running_loop().call_later(self.section.rollup_interval_secs, self._fold_now)

    def _stop_timer(self) -> None:
        if self._fold_timer is not None:
            self._fold_timer.cancel()
            self._fold_timer = None

    def _fold_now(self) -> None:
        self._fold_timer = None
        self._fold_task = asyncio.get_running_loop().create_task(self._fold_in_background())

    async def _fold_in_background(self) -> None:
        """A failure is told and tried again; until then writes go on, up to the rows that may wait."""
        try:
            await self.fold()
        except SentinelError as error:
            self._log.warning("rollups_delayed", error=str(error))
            self._fold_later()
