"""The pure middle on its worker thread: what is ready together goes there and back together."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

from msgspec import to_builtins

from sentinel.core.anomaly import Anomaly
from sentinel.core.batch import Bool
from sentinel.core.command import Command
from sentinel.core.delivery import Delivery
from sentinel.core.errors import PermanentError
from sentinel.core.ports import Clock
from sentinel.detection.snapshot import Copied
from sentinel.observability.logs import frames, get
from sentinel.observability.metrics import Metrics
from sentinel.pipeline.process import Cleaned, Processed, Rules, clean_together, score
from sentinel.pipeline.shard import Shard
from sentinel.pipeline.sinks import SharedIds

log = get(__name__)

TOGETHER_RECORDS: Final = 1_000
"""Records that are cleaned at once: from here on what a step costs by itself is less than a hundredth."""


@dataclass(frozen=True, slots=True)
class Job:
    """A delivery and the state of its partition; `checkpoint` asks for the state just after it."""

    delivery: Delivery
    shard: Shard
    checkpoint: bool


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a delivery, and the state just after it where it was asked for."""

    processed: Processed
    checkpoint: Copied | None


def small_together(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """The jobs in order, in groups that are cleaned at once: few records each, received at one time."""
    group: list[Job] = []
    records = 0
    for job in jobs:
        n, received_ns = len(job.delivery.records), job.delivery.received_ns
        if group and (records + n > TOGETHER_RECORDS or received_ns != group[0].delivery.received_ns):
            yield group
            group, records = [], 0
        group.append(job)
        records += n
    if group:
        yield group


class Middle:
    """Runs deliveries through the middle, in order.

    Args:
        rules: what the steps go by; replaced by a reload.
        shared_ids: asked who has stored an event; None when ids are not shared.
        metrics: get the time of each delivery, and failures.
        clock: measures.
        worker: one thread.
    """

    def __init__(self, rules: Rules, shared_ids: SharedIds | None, metrics: Metrics, clock: Clock, worker: Executor) -> None:
        self.rules = rules
        self._shared_ids = shared_ids
        self._metrics = metrics
        self._clock = clock
        self._worker = worker

    async def process(self, jobs: Sequence[Job]) -> list[Done]:
        """Decode, clean and score several deliveries. One call of the worker for all: handing over costs more than a small delivery.

        Raises PermanentError when a delivery cannot be processed: none of them is to be stored then.
        """
        run, rules = asyncio.get_running_loop().run_in_executor, self.rules
        if self._shared_ids is None:
            return await run(self._worker, self._whole, jobs, rules)
        cleaned = await run(self._worker, self._clean, jobs, rules)
        unseen = [await self._shared_ids.unseen(one.batch) for one in cleaned]
        return await run(self._worker, self._score, jobs, rules, cleaned, unseen)

    async def mark(self, shard: Shard, event_time_ns: int) -> Processed:
        """Tell a partition's detectors that nothing older than `event_time_ns` is still to come."""
        return await self._aside(shard, lambda: shard.over_time.mark(event_time_ns, shard.next_offset))

    async def command(self, shard: Shard, command: Command) -> Processed:
        """Give a command its place behind all that was processed so far."""
        return await self._aside(shard, lambda: shard.over_time.command(command, shard.next_offset))

    async def _aside(self, shard: Shard, work: Callable[[], list[Anomaly]]) -> Processed:
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._found, shard, work)

    # ----------------------------------------------------------------------------------------------- on the worker thread

    def _found(self, shard: Shard, work: Callable[[], list[Anomaly]]) -> Processed:
        delivery = Delivery.mark(shard.source, shard.next_offset, self._clock.now_ns(), shard.epoch)
        try:
            with shard.lock:
                found = Processed.of_mark(delivery, shard, work())
                self._tell_failures(shard)
                return found
        except Exception as error:  # noqa: BLE001  see `_failure`
            raise self._failure(delivery, error) from None

    def _whole(self, jobs: Sequence[Job], rules: Rules) -> list[Done]:
        return [self._scored(job, rules, cleaned, None) for job, cleaned in zip(jobs, self._clean(jobs, rules), strict=True)]

    def _clean(self, jobs: Sequence[Job], rules: Rules) -> list[Cleaned]:
        started = self._clock.monotonic()
        cleaned = [one for group in small_together(jobs) for one in self._cleaned(group, rules)]
        self._metrics.pipeline_stage_seconds.labels("clean").observe(self._clock.monotonic() - started)
        return cleaned

    def _score(self, jobs: Sequence[Job], rules: Rules, cleaned: Sequence[Cleaned], unseen: Sequence[Bool]) -> list[Done]:
        return [self._scored(job, rules, one, new) for job, one, new in zip(jobs, cleaned, unseen, strict=True)]

    def _cleaned(self, jobs: Sequence[Job], rules: Rules) -> list[Cleaned]:
        try:
            return clean_together([job.delivery for job in jobs], rules)
        except Exception as error:  # noqa: BLE001  see `_failure`
            if len(jobs) > 1:
                return [one for job in jobs for one in self._cleaned([job], rules)]  # one of them is to blame
            raise self._failure(jobs[0].delivery, error) from None

    def _scored(self, job: Job, rules: Rules, cleaned: Cleaned, unseen: Bool | None) -> Done:
        started = self._clock.monotonic()
        try:
            with job.shard.lock:
                processed = score(cleaned, job.shard, rules.validation, unseen)
                job.shard.next_offset = job.delivery.next_offset
                checkpoint = job.shard.copied() if job.checkpoint else None
                self._tell_failures(job.shard)
        except Exception as error:  # noqa: BLE001  see `_failure`
            raise self._failure(job.delivery, error) from None
        elapsed = self._clock.monotonic() - started
        self._metrics.detection_latency_seconds.observe(elapsed)
        self._metrics.pipeline_stage_seconds.labels("score").observe(elapsed)
        return Done(processed, checkpoint)

    def _tell_failures(self, shard: Shard) -> None:
        """Detectors of others that failed for the first time: they hold nothing up."""
        for failure in shard.over_time.plugins.news():
            self._metrics.plugin_failures.labels(failure.kind).inc()
            log.error("a detector of others failed", partition=str(shard.source), **to_builtins(failure))

    def _failure(self, delivery: Delivery, error: Exception) -> PermanentError:
        """The error to end with. The text of the cause may quote an event, so it goes no further."""
        self._metrics.detection_errors.inc()
        where, kind = f"{delivery.source} from offset {delivery.offsets[0]} on", type(error).__name__
        log.error("processing failed", where=where, error=kind, frames=frames(error))
        return PermanentError(f"cannot process {where}: {kind}, a defect of ours; the log has its place")
