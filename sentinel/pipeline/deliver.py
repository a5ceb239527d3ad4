"""Making processed deliveries durable: dead letters, alerts, rows, each until its sink has confirmed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from sentinel.core.alert import AlertWrite
from sentinel.core.anomaly import Anomaly
from sentinel.core.delivery import Delivery
from sentinel.core.errors import CredentialsError, RetryableError
from sentinel.core.ports import Clock, Source, StoreWrite
from sentinel.core.refusal import RefusedError
from sentinel.core.reject import DeadLetter
from sentinel.detection.snapshot import Copied
from sentinel.observability.logs import get
from sentinel.observability.metrics import Metrics
from sentinel.pipeline.process import Processed
from sentinel.pipeline.progress import Progress
from sentinel.pipeline.refused import without_refused
from sentinel.pipeline.retry import until_written
from sentinel.pipeline.shard import Shard
from sentinel.pipeline.sinks import Sinks

GROUP_LETTERS: Final = 1_000
"""Most dead letters of one write: it is repeated as a whole when one is not confirmed."""

log = get(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """A processed delivery on its way to the sinks.

    Attributes:
        origin: who is told when it is safe; None for what a time mark or a command has brought to light.
        worthy: the anomalies that are to become alerts.
        checkpoint: the state just after it, when it is time to save.
    """

    origin: Source | None
    delivery: Delivery
    shard: Shard
    processed: Processed
    worthy: Sequence[Anomaly]
    checkpoint: Copied | None


class GroupWriter:
    """Writes groups of processed deliveries to all sinks. Used from one task.

    Args:
        sinks: where to.
        progress: told what holds a sink up.
        metrics: counts writes and failures.
        clock: waits between attempts.
    """

    def __init__(self, sinks: Sinks, progress: Progress, metrics: Metrics, clock: Clock) -> None:
        self._store = sinks.store
        self._dead_letters = sinks.dead_letters
        self._alerts = sinks.alerts
        self._shared_ids = sinks.shared_ids
        self._progress = progress
        self._metrics = metrics
        self._clock = clock

    async def write(self, group: Sequence[Work]) -> Sequence[Work]:
        """Write a group of processed deliveries, in order.

        Dead letters and alerts first: once the store's position has moved, these records are never read again.

        Returns the group as it was stored: what the store refuses for good is among the dead letters now.
        """
        started = self._clock.monotonic()
        await self._bury([letter for work in group for letter in work.processed.dead_letters])
        await self._alert(group)
        group = await self._store_all(group)
        if self._shared_ids is not None:
            for work in group:
                await self._shared_ids.remember(work.processed.batch)
        elapsed = self._clock.monotonic() - started
        self._metrics.storage_writes.inc()
        self._metrics.storage_write_seconds.observe(elapsed)
        self._metrics.pipeline_stage_seconds.labels("write").observe(elapsed)
        return group

    async def _store_all(self, group: Sequence[Work]) -> Sequence[Work]:
        """Write until the store has taken everything that it will ever take."""
        while True:
            writes = [
                StoreWrite(
                    work.processed.batch,
                    work.processed.anomalies,
                    work.delivery.source,
                    work.delivery.next_offset,
                    work.processed.tick_anomalies,
                )
                for work in group
            ]
            try:
                await until_written(partial(self._store.write, writes), "store", self._clock, self._failed("store"))
            except RefusedError as error:
                log.warning("the store refuses events, they become dead letters", events=len(error.refusals), first=str(error))
                left = [without_refused(work.processed, error.refusals) for work in group]
                letters = [letter for _, refused in left for letter in refused]
                if not letters:
                    raise
                await self._bury(letters)
                group = [replace(work, processed=processed) for work, (processed, _) in zip(group, left, strict=True)]
            else:
                return group

    async def _bury(self, letters: Sequence[DeadLetter]) -> None:
        """Write dead letters."""
        for start in range(0, len(letters), GROUP_LETTERS):
            part = letters[start : start + GROUP_LETTERS]
            await until_written(partial(self._dead_letters.write, part), "dead letters", self._clock, self._failed("dead letters"))

    async def _alert(self, group: Sequence[Work]) -> None:
        """Make alerts of what is worth one; others deliver them. This waits only when the outbox is full of critical ones."""
        if self._alerts is None:
            return
        items = [
            AlertWrite(work.delivery.source, work.delivery.epoch, work.delivery.next_offset, work.worthy) for work in group if work.worthy
        ]
        if items:
            await until_written(partial(self._alerts.write, items), "alerts", self._clock, self._failed("alerts"))

    def _failed(self, sink: str) -> "Failed":
        return Failed(self._progress, self._metrics, sink)


class Failed:
    """Told by the retry loop how a sink is doing: counts failures and holds the reason for readiness."""

    def __init__(self, progress: Progress, metrics: Metrics, sink: str) -> None:
        self._progress = progress
        self._metrics = metrics
        self._sink = sink

    def __call__(self, error: RetryableError | None) -> None:
        """Note a failure, or with None that it is over."""
        self._progress.held(self._sink, None if error is None else str(error), credentials=isinstance(error, CredentialsError))
        if error is not None:
            self._metrics.storage_errors.labels(self._sink.replace(" ", "_")).inc()
