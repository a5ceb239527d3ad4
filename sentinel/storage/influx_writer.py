"""The writing side of InfluxDB: which rows are missing, and what is remembered until a position covers them."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from sentinel.config.schema import InfluxDB
from sentinel.core.batch import PartitionId
from sentinel.core.errors import PermanentError, RetryableError
from sentinel.core.ports import Clock, StoreWrite
from sentinel.core.refusal import Refusal, RefusedError
from sentinel.observability.logs import get
from sentinel.observability.metrics import Metrics
from sentinel.storage import influx_points, influx_requests, influx_sender
from sentinel.storage.influx_client import Client
from sentinel.storage.influx_points import Heads
from sentinel.storage.influx_requests import Place, Request, place_of
from sentinel.storage.influx_sender import Sending

log = get(__name__)


TICKS_REMEMBERED: Final = 1_000
"""Anomalies of time windows, the last of each log, that are known to be stored."""


@dataclass(slots=True)
class _Log:
    """One log: its stored position, up to where its rows are confirmed, what was refused since the position, and the ids of its last
    anomalies of time windows: these may come where the position stays.
    """

    position: int
    confirmed: int
    refused: dict[Place, Refusal] = field(default_factory=dict)
    ticks: dict[str, None] = field(default_factory=dict)

    def remember(self, item: StoreWrite) -> None:
        """A write of this log is confirmed."""
        self.confirmed = max(self.confirmed, item.next_offset)
        self.ticks.update(dict.fromkeys(anomaly.id for anomaly in item.tick_anomalies))
        for surplus in list(self.ticks)[:-TICKS_REMEMBERED]:
            del self.ticks[surplus]

    def move(self, position: int) -> None:
        """The position is stored."""
        self.position, self.confirmed = position, max(position, self.confirmed)
        self.refused.clear()


@dataclass(slots=True)
class _Unfinished:
    """A write under way: the requests that are not confirmed yet, by number, and what was refused so far."""

    items: Sequence[StoreWrite]
    events: int
    requests: dict[int, Request]
    refusals: list[Refusal]

    def is_of(self, items: Sequence[StoreWrite]) -> bool:
        """Whether these are the very same items again."""
        return len(items) == len(self.items) and all(one is other for one, other in zip(items, self.items, strict=True))


class InfluxWriter:
    """Writes through a client. Used from the event loop, by one task at a time; what blocks runs on the given threads.

    A repeat of a write that failed goes on where it failed, so that it ends even when some requests always fail.

    Args:
        client: of the server.
        section: buckets and sizes of requests.
        clock: now.
        metrics: told every request and refusal.
        encoder: makes lines.
        senders: as many threads as requests may be under way.
    """

    def __init__(
        self, client: Client, section: InfluxDB, clock: Clock, metrics: Metrics, encoder: ThreadPoolExecutor, senders: ThreadPoolExecutor
    ) -> None:
        self.events = 0
        self.anomalies = 0
        self._client = client
        self._section = section
        self._clock = clock
        self._metrics = metrics
        self._encoder = encoder
        self._senders = senders
        self._heads = Heads()
        self._logs: dict[PartitionId, _Log] = {}
        self._unfinished: _Unfinished | None = None
        self._in_doubt = False

    def knows(self, source: PartitionId) -> bool:
        """Whether the log's position is known."""
        return source in self._logs

    def start_from(self, source: PartitionId, position: int | None) -> None:
        """The log's position, as the server has it; what was remembered of it is forgotten."""
        self._logs[source] = _Log(position or 0, position or 0)
        self._unfinished = None

    async def write(self, items: Sequence[StoreWrite]) -> None:
        """Store what is missing, then the positions. See `InfluxStore.write`."""
        _check(items)
        self._repeat_refusals(items)
        work = self._unfinished
        if work is None or not work.is_of(items):
            work = self._unfinished = await asyncio.get_running_loop().run_in_executor(self._encoder, self._begin, items)
        await self._send(work)
        self._unfinished = None
        self._confirm(work)
        if work.refusals:
            raise RefusedError(work.refusals)
        await asyncio.get_running_loop().run_in_executor(self._senders, self._move_positions, items)

    def _repeat_refusals(self, items: Sequence[StoreWrite]) -> None:
        """Events that were refused before and still are among these."""
        again = [
            refusal
            for item in items
            if (known := self._logs[item.source].refused)
            for row in range(len(item.batch))
            if (refusal := known.get(place_of(item.batch, row))) is not None
        ]
        if again:
            raise RefusedError(again)

    def _begin(self, items: Sequence[StoreWrite]) -> _Unfinished:
        """On the encoder's thread: the requests for what is not confirmed yet, also by an earlier one of these."""
        confirmed = {item.source: self._logs[item.source].confirmed for item in items}
        known = {anomaly_id for source in confirmed for anomaly_id in self._logs[source].ticks}
        fresh = []
        for item in items:
            if (part := influx_requests.part_from(item, confirmed[item.source], known)) is not None:
                fresh.append(part)
                known.update(anomaly.id for anomaly in part.tick_anomalies)
            confirmed[item.source] = max(confirmed[item.source], item.next_offset)
        made = influx_requests.requests_of(fresh, self._section, self._heads)
        self._metrics.influxdb_refused_points.labels("event").inc(len(made.refusals))
        self._metrics.influxdb_refused_points.labels("anomaly").inc(len(made.unfit))
        _tell(made.unfit)
        return _Unfinished(items, sum(len(item.batch) for item in fresh), dict(enumerate(made.requests)), made.refusals)

    async def _send(self, work: _Unfinished) -> None:
        """Send what is left, several at once. Raises RetryableError once none is under way any more."""
        waiting = iter(list(work.requests))
        failures: list[RetryableError] = []

        async def send_on() -> None:
            for number in waiting:
                try:
                    await self._send_one(work, number)
                except RetryableError as error:
                    failures.append(error)
                if failures:
                    return

        if self._in_doubt:
            # One request finds out whether the server takes writes again: it must not be met by several each time.
            for number in waiting:
                await self._send_one(work, number)
                break
        await asyncio.gather(*(send_on() for _ in range(self._section.parallel_writes)))
        self._in_doubt = bool(failures)
        if failures:
            raise failures[0]

    async def _send_one(self, work: _Unfinished, number: int) -> None:
        """Send one request, and note that it is done. Refused anomalies are told and left out: their events are stored."""
        request = work.requests[number]
        sending = Sending(self._client, request.bucket, self._clock.now_ns(), self._metrics)
        bad = await asyncio.get_running_loop().run_in_executor(self._senders, sending.send, request.lines)
        del work.requests[number]
        self._metrics.influxdb_refused_points.labels(request.kind).inc(len(bad))
        refusals = [request.refusal(i, reason) for i, reason in bad]
        if request.kind == "event":
            work.refusals += refusals
            return
        self.anomalies += len(request.part) - len(bad)
        _tell(refusals)

    def _confirm(self, work: _Unfinished) -> None:
        self.events += work.events - len(work.refusals)
        for item in work.items:
            self._logs[item.source].remember(item)
        for refusal in work.refusals:
            self._logs[refusal.source].refused[Place(refusal.source, refusal.offset, refusal.sub)] = refusal

    def _move_positions(self, items: Sequence[StoreWrite]) -> None:
        """On a sender thread: record that everything up to here is stored. Raises RetryableError."""
        reached: dict[PartitionId, int] = {}
        for item in items:
            reached[item.source] = max(reached.get(item.source, self._logs[item.source].position), item.next_offset)
        moved = {source: offset for source, offset in reached.items() if offset > self._logs[source].position}
        if not moved:
            return
        now_ns = self._clock.now_ns()
        lines = [influx_points.position_line(source, offset, now_ns) for source, offset in moved.items()]
        reason = influx_sender.put(self._client, self._section.telemetry_bucket, "\n".join(lines).encode(), self._metrics)
        if reason is not None:
            raise RetryableError(f"the positions cannot be written: {reason}")
        for source, offset in moved.items():
            self._logs[source].move(offset)


def _check(items: Sequence[StoreWrite]) -> None:
    """An event beyond the position after it would be written again and again, or never."""
    for item in items:
        if len(item.batch) and (last := int(item.batch.offsets.max())) >= item.next_offset:
            raise PermanentError(f"a write of {item.source} holds offset {last}, beyond its next offset {item.next_offset}")


def _tell(refusals: Sequence[Refusal]) -> None:
    """Anomalies that will never be stored."""
    for refusal in refusals:
        log.error("anomaly refused", reason=refusal.reason, partition=str(refusal.source), offset=refusal.offset)
