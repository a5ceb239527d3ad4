"""InfluxDB 3 as the store.

What makes it safe although a server knows no transaction over several requests:

- every point follows from its record alone, so sending it again overwrites it;
- the position of a log is written after all points of a write were confirmed, and is the truth at the next start;
- what was confirmed and is not yet covered by a position is remembered, so that a repeat sends only what is missing.

Retention is the server's: set it on the databases.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple, ParamSpec, TypeVar

from sentinel.config.schema import InfluxDB
from sentinel.core.anomaly import Anomaly
from sentinel.core.batch import PartitionId
from sentinel.core.errors import StartupError
from sentinel.core.ports import Clock, StoredMetrics, StoreWrite
from sentinel.core.query import AnomalyQuery, Page, SeriesPoints, SeriesQuery, TelemetryQuery
from sentinel.observability.metrics import Metrics
from sentinel.storage.embedded import StoreCounts
from sentinel.storage.influx_points import HOUR_NS

if TYPE_CHECKING:
    from sentinel.storage.influx_client import InfluxClient
    from sentinel.storage.influx_reader import InfluxReader
    from sentinel.storage.influx_writer import InfluxWriter

P = ParamSpec("P")
T = TypeVar("T")

READERS: Final = 3
"""Queries that run at the same time; further ones wait."""


class _Parts(NamedTuple):
    """What an open store consists of."""

    client: "InfluxClient"
    writer: "InfluxWriter"
    reader: "InfluxReader"
    readers: ThreadPoolExecutor
    own: Sequence[ThreadPoolExecutor]


class InfluxStore:
    """`Store` and `Query` on an InfluxDB 3 server. Nothing runs before `open`, which needs no server: `ping` says whether there is one.

    Args:
        section: where it is and how to talk to it.
        clock: now, for the hour that positions are written in.
        metrics: told every request.
        thread: does the encoding; the store has one of its own when none is given.
    """

    def __init__(self, section: InfluxDB, clock: Clock, metrics: Metrics, *, thread: ThreadPoolExecutor | None = None) -> None:
        self.section = section
        self._clock = clock
        self._metrics = metrics
        self._given_thread = thread
        self._parts: _Parts | None = None

    async def open(self) -> None:
        """Make the client and the threads. Raises StartupError with place and cure when the client is not installed."""
        try:
            # Off the loop: the client takes half a second to load.
            self._parts = await asyncio.to_thread(self._made)
        except ImportError as error:
            raise StartupError(
                f"storage.influxdb needs a package that is missing ({error.name}); run pip install 'llm-sentinel[influxdb]'"
            ) from error

    def _made(self) -> _Parts:
        from sentinel.storage.influx_client import InfluxClient  # noqa: PLC0415  an extra
        from sentinel.storage.influx_reader import InfluxReader  # noqa: PLC0415  an extra
        from sentinel.storage.influx_writer import InfluxWriter  # noqa: PLC0415  an extra

        section = self.section
        client = InfluxClient(section)
        senders = ThreadPoolExecutor(section.parallel_writes, thread_name_prefix="influx-write")
        readers = ThreadPoolExecutor(READERS, thread_name_prefix="influx-read")
        own = [senders, readers]
        encoder = self._given_thread
        if encoder is None:
            encoder = ThreadPoolExecutor(1, thread_name_prefix="influx-encode")
            own.insert(0, encoder)
        writer = InfluxWriter(client, section, self._clock, self._metrics, encoder, senders)
        reader = InfluxReader(client, section.telemetry_bucket, section.anomaly_bucket, self._lookback_ns, self._clock)
        return _Parts(client, writer, reader, readers, own)

    async def ping(self) -> str:
        """The server's version. Raises RetryableError with place and cure when it does not answer."""
        return await self._read(self._opened.client.ping)

    async def write(self, items: Sequence[StoreWrite]) -> None:
        """Rows and anomalies of all items, and when all are confirmed their positions.

        Events below their log's position change nothing, nor do anomalies of time windows whose write ends below it. One of those that is
        stored already is written over the same point.

        Raises:
            RetryableError: some of it may be stored; no position has moved.
            RefusedError: the server will never take some events; all others are stored, and no position has moved.
            PermanentError: the items contradict themselves.
        """
        writer = self._opened.writer
        for source in {item.source for item in items}:
            if not writer.knows(source):
                await self.position(source)
        try:
            await writer.write(items)
        finally:
            if any(item.tick_anomalies for item in items):
                self._opened.reader.forget_columns()

    async def position(self, source: PartitionId) -> int | None:
        """The offset after the last stored one; None when nothing of this log was stored in the last 15 `lookback_hours`."""
        found = await self._read(self._opened.reader.position, source)
        position = found[0] if found else None
        self._opened.writer.start_from(source, position)
        return position

    async def replay(self, source: PartitionId, from_offset: int) -> AsyncIterator[StoredMetrics]:
        """The rows of one log from an offset on, in log order, in blocks; events whose time lies more than `lookback_hours` before the
        last write are left out.
        """
        reader = self._opened.reader
        found = await self._read(reader.position, source)
        if found is None:
            return
        since_ns, after = found[1] - self._lookback_ns, (from_offset, -1)
        while (block := await self._read(reader.replay_block, source, since_ns, after)) is not None:
            rows, after = block
            yield rows

    async def telemetry(self, query: TelemetryQuery) -> Page:
        """Events, newest first. Raises ValueError for an unusable limit or cursor, RetryableError (also when it takes too long)."""
        return await self._read(self._opened.reader.telemetry, query)

    async def anomalies(self, query: AnomalyQuery) -> list[Anomaly]:
        """Anomalies, newest first. Raises ValueError for an unusable limit, RetryableError (also when it takes too long)."""
        return await self._read(self._opened.reader.anomalies, query)

    async def anomaly(self, anomaly_id: str) -> Anomaly | None:
        """One anomaly by id; None when there is no such, or it is older than 15 `lookback_hours`."""
        return await self._read(self._opened.reader.anomaly, anomaly_id)

    async def timeseries(self, query: SeriesQuery) -> list[SeriesPoints]:
        """Traffic over time, counted by the server, the busiest series first; percentiles are its estimates.

        Raises ValueError for an unusable step or limit, RetryableError (also when it takes too long).
        """
        return await self._read(self._opened.reader.timeseries, query)

    async def counts(self) -> StoreCounts:
        """What this process has stored since it started: counting what the server holds would mean reading all of it."""
        writer = self._opened.writer
        return StoreCounts(events=writer.events, anomalies=writer.anomalies, database_bytes=0, rollup_waiting=0)

    async def prune(self, now_ns: int) -> int:  # noqa: ARG002  as in the embedded store
        """Nothing: the server deletes by the retention of its databases."""
        return 0

    async def close(self) -> None:
        """Finish the requests under way, each within its time limit, and disconnect. Twice is harmless."""
        parts, self._parts = self._parts, None
        if parts is not None:
            for pool in parts.own:
                await asyncio.to_thread(pool.shutdown)
            await asyncio.to_thread(parts.client.close)

    @property
    def _opened(self) -> _Parts:
        if self._parts is None:
            raise RuntimeError(f"the store {self.section.url} is not open")
        return self._parts

    @property
    def _lookback_ns(self) -> int:
        return int(self.section.lookback_hours * HOUR_NS)

    async def _read(self, question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Answer a question on a reader thread."""
        return await asyncio.get_running_loop().run_in_executor(self._opened.readers, lambda: question(*args, **kwargs))
