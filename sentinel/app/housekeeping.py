"""What runs beside the loop: gauges, rates, time marks, retention, and a look at the loop itself."""

import asyncio
import contextlib
from collections import deque
from typing import Protocol

from sentinel.api.context import Context
from sentinel.app.split_series import SplitSeries
from sentinel.core.batch import PartitionId
from sentinel.core.errors import SentinelError
from sentinel.observability.logs import get

TICK_S = 1.0
MARK_EVERY_S = 2.0
"""How often detectors are told that time has passed: silence is noticed so much later at most."""
PRUNE_EVERY_S = 60.0
RATE_TICKS = 10
PROBE_S = 0.05
"""How often it is looked how late the event loop runs a timer."""

log = get(__name__)


class Pruned(Protocol):
    """What keeps rows for a while."""

    async def prune(self, now_ns: int) -> int:
        """Delete what retention no longer covers; how many rows. Raises RetryableError."""
        ...


class Housekeeping:
    """Once a second: refresh gauges; once a tick: mark the time; once a minute: delete what is old enough, count split series."""

    def __init__(self) -> None:
        self._stored: deque[tuple[float, int]] = deque(maxlen=RATE_TICKS + 1)
        self._learned: dict[PartitionId, int] = {}
        self._split = SplitSeries()
        self._lag_s = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    def events_per_s(self) -> float:
        """Events stored per second over the last ticks."""
        if len(self._stored) < 2:
            return 0.0
        (first_at, first), (last_at, last) = self._stored[0], self._stored[-1]
        return (last - first) / max(last_at - first_at, 1e-9)

    def start(self, context: Context, store: Pruned) -> None:
        """Begin. What the shards have learned until now is restored state, not news."""
        self._learned = _learned(context)
        self._refresh(context)  # the first look at the metrics finds all of them
        self._tasks = [
            asyncio.create_task(self._run(context, store), name="housekeeping"),
            asyncio.create_task(self._probe(context), name="loop probe"),
        ]

    async def close(self) -> None:
        """End. Twice is harmless."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self, context: Context, store: Pruned) -> None:
        clock = context.clock
        pruned_at = marked_at = clock.monotonic()
        while True:
            await clock.sleep(TICK_S)
            self._refresh(context)
            if clock.monotonic() - marked_at >= MARK_EVERY_S:
                marked_at = clock.monotonic()
                await self._mark(context)
            if clock.monotonic() - pruned_at >= PRUNE_EVERY_S:
                pruned_at = clock.monotonic()
                await self._prune(context, store)
                await self._split.look(context)

    async def _probe(self, context: Context) -> None:
        """Sleep for a moment, see how late we wake, and begin anew: whatever blocks the loop for longer shows."""
        clock = context.clock
        while True:
            due = clock.monotonic() + PROBE_S
            await clock.sleep(PROBE_S)
            late_s = max(0.0, clock.monotonic() - due)
            self._lag_s = max(self._lag_s, late_s)
            context.metrics.event_loop_stall_seconds.observe(late_s)

    def _refresh(self, context: Context) -> None:
        metrics, pipeline = context.metrics, context.pipeline
        total = pipeline.ledger.total()
        self._stored.append((context.clock.monotonic(), total.stored))
        metrics.ready.set(0 if context.reasons() else 1)
        metrics.event_loop_lag_seconds.set(self._lag_s)
        self._lag_s = 0.0
        metrics.event_loop_tasks.set(len(asyncio.all_tasks()))
        metrics.ledger_imbalance.set(total.imbalance)
        metrics.events_in_flight.set(total.in_flight)
        metrics.queue_bytes.labels("pipeline").set(pipeline.in_flight_bytes)
        metrics.queue_bytes.labels("http").set(context.ingest.queue_bytes if context.ingest else 0)
        shards = list(pipeline.shards.values())
        metrics.baseline_series.set(sum(len(shard.baselines.names) for shard in shards))
        metrics.baseline_overflow_events.set(sum(shard.baselines.roster.overflow_events for shard in shards))
        self._count_learned(context)
        watermark = max((shard.watermark_ns for shard in shards), default=0)
        if watermark:
            metrics.watermark_age_seconds.set(max(0.0, (context.clock.now_ns() - watermark) / 1e9))

    def _count_learned(self, context: Context) -> None:
        """A partition that has come meanwhile is counted from the first look at it: what it had was learned elsewhere."""
        before, self._learned = self._learned, _learned(context)
        news = sum(samples - before.get(source, samples) for source, samples in self._learned.items())
        context.metrics.baseline_updates.inc(max(0, news))
        context.metrics.baseline_samples.set(sum(self._learned.values()))

    @staticmethod
    async def _mark(context: Context) -> None:
        try:
            await context.pipeline.mark()
        except SentinelError as error:
            log.error("a time mark could not be processed: silence goes unnoticed", error=str(error))  # noqa: TRY400  its cause may quote an event

    @staticmethod
    async def _prune(context: Context, store: Pruned) -> None:
        try:
            rows = await store.prune(context.clock.now_ns())
        except SentinelError as error:
            log.warning("retention could not run, will be tried again", error=str(error))
            return
        context.metrics.storage_pruned_rows.inc(rows)


def _learned(context: Context) -> dict[PartitionId, int]:
    """How many samples each partition's baselines have learned since their state began."""
    return {source: shard.baselines.samples_learned for source, shard in list(context.pipeline.shards.items())}
