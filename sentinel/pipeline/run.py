"""The loop: read, process on the worker thread, write dead letters and rows, ack. One reader a source, one deliverer for all."""

import asyncio
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Final

from sentinel.alerting.sightings import alert_worthy
from sentinel.config.schema import Config
from sentinel.core.anomaly import DETECTORS, SEVERITIES, Anomaly
from sentinel.core.batch import PartitionId
from sentinel.core.command import Command
from sentinel.core.delivery import Delivery
from sentinel.core.errors import DrainError
from sentinel.core.ports import Clock, Outcome, Source
from sentinel.detection.snapshot import Copied
from sentinel.observability.logs import get
from sentinel.observability.metrics import Metrics
from sentinel.pipeline.deliver import GroupWriter, Work
from sentinel.pipeline.ledger import Ledger
from sentinel.pipeline.marks import Delays
from sentinel.pipeline.middle import Done, Job, Middle
from sentinel.pipeline.process import Processed, Rules
from sentinel.pipeline.progress import Progress
from sentinel.pipeline.reconfigure import adopt
from sentinel.pipeline.restore import Checkpoints
from sentinel.pipeline.save import AGAIN_AFTER_S, Saves
from sentinel.pipeline.shard import Shard
from sentinel.pipeline.sinks import Sinks

GROUP_EVENTS: Final = 20_000
"""Most events in one transaction of the store."""

ROUND_RECORDS: Final = 1_000
"""Deliveries that are ready are processed together until they hold so many records: larger ones gain nothing by it."""

log = get(__name__)


class Pipeline:
    """Moves deliveries from sources to sinks. It is the `PartitionOwner` its sources report to.

    The worker is one thread: what is given to it runs in order. A constructor starts nothing; `run` returns when every source has ended
    or `stop` was called, after draining.
    """

    def __init__(
        self,
        config: Config,
        rules: Rules,
        sinks: Sinks,
        checkpoints: Checkpoints,
        metrics: Metrics,
        clock: Clock,
        worker: Executor,
    ) -> None:
        self.shards: dict[PartitionId, Shard] = {}
        self.ledger = Ledger()
        self.progress = Progress(clock, config.pipeline.stall_secs)
        self.in_flight_bytes = 0
        self._config = config
        self._store = sinks.store
        self._alerts = sinks.alerts
        self._canaries = sinks.canaries
        self._checkpoints = checkpoints
        self._metrics = metrics
        self._clock = clock
        self._middle = Middle(rules, sinks.shared_ids, metrics, clock, worker)
        self._writer = GroupWriter(sinks, self.progress, metrics, clock)
        self._worker = worker
        self._ended = False
        self._queue: asyncio.Queue[Work] = asyncio.Queue()
        self._stopping = asyncio.Event()
        self._in_worker: set[PartitionId] = set()
        self.paused = False
        self._saved_at: dict[PartitionId, float] = {}
        self._saves = Saves(metrics, clock)
        self._delays = Delays()
        self._sources: Sequence[Source] = ()

    # ------------------------------------------------------------------------------------------------------ ownership

    async def assigned(self, source: PartitionId, committed: int | None, epoch: int, *, rereadable: bool = True) -> int | None:
        """Restore the partition's state and say where to start: behind what is stored here or, by the group, elsewhere.

        What others stored is read again from the state's own place on, when that lies before.
        """
        position = await self._store.position(source)
        if self._alerts is not None and (not rereadable or (position is None and committed is None)):
            await self._alerts.rewind(source, position or 0)
        shard = await self._checkpoints.restore(source, epoch, self._store, position, committed)
        if shard.rules != self._config.detection:  # they have changed meanwhile
            adopt([shard], self._config.detection)
        self.shards[source] = shard
        self._saved_at[source] = self._clock.monotonic()
        return None if position is None and committed is None else shard.next_offset

    async def revoked(self, source: PartitionId) -> None:
        """Forget the partition; its work in flight is dropped before it is written, its new owner reads it again."""
        self.shards.pop(source, None)
        self._in_worker.discard(source)
        self._saved_at.pop(source, None)
        self._delays.forget(source)

    @property
    def unsaved(self) -> Mapping[PartitionId, str]:
        """Partitions of ours whose last state could not be saved, and why."""
        return {source: reason for source, reason in list(self._checkpoints.unsaved.items()) if source in self.shards}

    def stale(self, delivery: Delivery) -> bool:
        """Whether the delivery belongs to an assignment that has ended."""
        shard = self.shards.get(delivery.source)
        return shard is None or shard.epoch != delivery.epoch

    # ------------------------------------------------------------------------------------------------------------ run

    async def run(self, sources: Sequence[Source]) -> None:
        """Walk deliveries until the sources end or `stop`; then drain within the configured time.

        Raises what a source, a sink or the pure middle raised for good: nothing is acked that is not safe, so a restart goes on from
        there.
        """
        self._sources = sources
        reading = asyncio.create_task(self._read_all(), name="read")
        deliverer = asyncio.create_task(self._deliver(), name="deliver")
        try:
            await asyncio.wait({reading, deliverer}, return_when=asyncio.FIRST_COMPLETED)
            if deliverer.done() or reading.exception() is not None:
                self.stop()
            await self._drain(reading, deliverer)
            await reading
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        finally:
            for task in (reading, deliverer):
                task.cancel()
            await asyncio.gather(reading, deliverer, return_exceptions=True)
            await self._saves.close()
            self._ended = True

    def stop(self) -> None:
        """Read nothing more; `run` drains and returns. Twice is harmless."""
        self._stopping.set()

    async def reconfigure(self, config: Config, rules: Rules, checkpoints: Checkpoints) -> None:
        """Go by a new configuration from the next delivery on, in all partitions at once. Baselines and what is under way are kept.

        Deliveries that the worker has already are finished by the old one. The state is saved with the next delivery of each partition,
        so that a restart learns what follows by the rules it was judged by.

        Raises ValueError, and changes no shard, when the windows cannot be carried over.
        """
        shards = list(self.shards.values())
        self._config, self._middle.rules, self._checkpoints = config, rules, checkpoints
        self._saved_at = dict.fromkeys(self._saved_at, -math.inf)
        if self._ended:
            adopt(shards, config.detection)
        else:  # in line behind the deliveries it was given before
            await asyncio.get_running_loop().run_in_executor(self._worker, adopt, shards, config.detection)

    async def _drain(self, reading: "asyncio.Task[None]", deliverer: "asyncio.Task[None]") -> None:
        """Finish what was read and save the state. Inputs that ended by themselves have all the time they need; a stop has its limit."""
        finished = asyncio.create_task(self._finish(reading), name="drain")
        stopping = asyncio.create_task(self._stopping.wait(), name="stopping")
        limit = self._config.pipeline.drain_timeout_secs
        try:
            await asyncio.wait({finished, deliverer, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({finished, deliverer}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            if not finished.done():
                finished.cancel()
        if deliverer.done():
            await deliverer
        if not finished.done() or finished.cancelled():
            left = self.ledger.total().in_flight
            raise DrainError(f"{left} events were not stored within {limit:g} s of the stop; they were not acked")
        try:
            async with asyncio.timeout(limit):
                await self._save()
        except TimeoutError:
            log.warning("not every state was saved, the next start takes longer", limit_s=limit)

    async def _save(self) -> None:
        """Save every state that stands where the store does; one that an interrupted delivery has touched does not.

        One that cannot be saved ends it: for the others it would take as long to fail.
        """
        if not self._checkpoints.is_saving:
            return
        await self._saves.end()
        for source, shard in list(self.shards.items()):
            if source in self._in_worker:
                continue
            state = await asyncio.get_running_loop().run_in_executor(self._worker, _copied, shard)
            if not await self._saves.save(partial(self._checkpoints.save, source, shard.next_offset, state)):
                return

    async def _finish(self, reading: "asyncio.Task[None]") -> None:
        await asyncio.wait({reading})
        await self._queue.join()

    # ----------------------------------------------------------------------------------------------------------- read

    async def _read_all(self) -> None:
        async with asyncio.TaskGroup() as readers:
            for source in self._sources:
                readers.create_task(self._read(source), name=f"read {type(source).__name__}")

    async def _read(self, source: Source) -> None:
        """One source: read, process, queue. Past the limit on bytes in flight every source is paused, and waits inside its `read`."""
        while (first := await self._next(source)) is not None:
            together = self._round(source, first)
            for work in await self._process(source, together):
                self._queue.put_nowait(work)
            if self.in_flight_bytes > self._config.pipeline.queue_max_bytes and not self.paused:
                self._pause(paused=True)

    def _round(self, source: Source, first: Delivery) -> list[Delivery]:
        """A delivery and what else is ready, as long as they are small and there is room for more. None of an old assignment."""
        together: list[Delivery] = []
        records, delivery = 0, first
        while True:
            records += len(delivery.records)
            if not self.stale(delivery):
                self.in_flight_bytes += delivery.size_bytes
                together.append(delivery)
            if records >= ROUND_RECORDS or self.in_flight_bytes > self._config.pipeline.queue_max_bytes:
                return together
            more = source.ready()
            if more is None:
                return together
            delivery = more

    async def _next(self, source: Source) -> Delivery | None:
        """The next delivery; None when the source has ended or we are told to stop."""
        read = asyncio.create_task(source.read())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({read, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if read.done():
            return read.result()
        read.cancel()
        await asyncio.wait({read})
        return None

    def _pause(self, *, paused: bool) -> None:
        """Back-pressure: paused sources keep their connections and hand over nothing."""
        self.paused = paused
        self._metrics.backpressure_paused.set(int(paused))
        for source in self._sources:
            if paused:
                source.pause()
            else:
                source.resume()

    async def _process(self, source: Source, deliveries: Sequence[Delivery]) -> list[Work]:
        jobs = [Job(delivery, self.shards[delivery.source], checkpoint=self._checkpoint_due(delivery.source)) for delivery in deliveries]
        for delivery in deliveries:
            self.progress.started()
            self._in_worker.add(delivery.source)  # and stays there when this does not end well: its state is not to be trusted
        done = await self._middle.process(jobs)
        self._in_worker.difference_update(delivery.source for delivery in deliveries)
        return [self._work(source, job, one) for job, one in zip(jobs, done, strict=True)]

    def _work(self, source: Source, job: Job, done: Done) -> Work:
        processed, delivery = done.processed, job.delivery
        self.ledger.received(delivery.source, processed.received)
        self._metrics.events_received.inc(processed.received)
        if len(processed.batch):  # a canary, a repeat and a dead letter say nothing about how late events are
            self._delays.seen(delivery.source, delivery.received_ns, job.shard.watermark_ns)
        return Work(source, delivery, job.shard, processed, self._worthy(processed), done.checkpoint)

    def _worthy(self, processed: Processed) -> Sequence[Anomaly]:
        """What is to become alerts."""
        if self._alerts is None:
            return ()
        return alert_worthy(processed.batch, processed.anomalies, processed.tick_anomalies, self._alerts.worth)

    # ---------------------------------------------------------------------------------------------------------- aside

    async def mark(self) -> None:
        """Tell the detectors of every log that is caught up how far event time has come: only so can they notice silence."""
        for source in self._sources:
            for log in source.caught_up():
                shard = self.shards.get(log)
                if shard is not None and log not in self._in_worker:
                    self._put_aside(shard, await self._middle.mark(shard, self._delays.event_time(log, self._clock.now_ns())))

    async def submit(self, command: Command) -> None:
        """Give a command its place in every log that is read here."""
        for shard in list(self.shards.values()):
            self._put_aside(shard, await self._middle.command(shard, command))

    def _put_aside(self, shard: Shard, processed: Processed) -> None:
        """Have what was found stored and told, in line with what the log brought before."""
        if processed.tick_anomalies:
            delivery = Delivery.mark(shard.source, shard.next_offset, self._clock.now_ns(), shard.epoch)
            self.progress.started()
            self._queue.put_nowait(Work(None, delivery, shard, processed, self._worthy(processed), None))

    def _checkpoint_due(self, source: PartitionId) -> bool:
        if not self._config.detection.baseline.enable_persistence:
            return False
        now = self._clock.monotonic()
        interval_s = self._config.detection.baseline.update_interval_secs
        if source in self._checkpoints.unsaved:
            interval_s = min(interval_s, AGAIN_AFTER_S)
        if now - self._saved_at[source] < interval_s or not self._saves.claim():
            return False
        self._saved_at[source] = now
        return True

    # -------------------------------------------------------------------------------------------------------- deliver

    async def _deliver(self) -> None:
        """Make everything processed durable, in order, then ack."""
        while True:
            group = await self._next_group()
            current = [work for work in group if not self.stale(work.delivery)]
            written = dict(zip(map(id, current), await self._writer.write(current) if current else (), strict=True))
            for work in group:
                await self._settle(written.get(id(work), work), live=id(work) in written)
                self._queue.task_done()

    async def _next_group(self) -> list[Work]:
        group = [await self._queue.get()]
        events = group[0].processed.received
        while events < GROUP_EVENTS and not self._queue.empty():
            group.append(self._queue.get_nowait())
            events += group[-1].processed.received
        return group

    async def _settle(self, work: Work, *, live: bool) -> None:
        """The delivery's end: account for it, ack it, save the state that goes with it."""
        processed, delivery = work.processed, work.delivery
        self.in_flight_bytes -= delivery.size_bytes
        if self.paused and self.in_flight_bytes <= self._config.pipeline.queue_max_bytes // 2:
            self._pause(paused=False)
        self.progress.finished()
        if not live:
            self.ledger.released(delivery.source, processed.received)
            self._metrics.events_released.inc(processed.received)
            if work.checkpoint is not None:
                self._saves.drop()
            return
        batch = processed.batch
        outcome = Outcome(len(batch), processed.dead_letters, processed.duplicates, processed.filtered, batch.index)
        self.ledger.settled(delivery.source, processed.received, outcome)
        self._count(processed)
        if processed.canaries and self._canaries is not None:
            self._canaries.stored(processed.canaries)
        if work.origin is not None:
            await work.origin.ack(delivery, outcome)
            self._metrics.end_to_end_latency_seconds.observe(max(0.0, (self._clock.now_ns() - delivery.received_ns) / 1e9))
        if work.checkpoint is not None:
            self._saves.put(partial(self._checkpoints.save, delivery.source, delivery.next_offset, work.checkpoint))

    def _count(self, processed: Processed) -> None:
        metrics = self._metrics
        metrics.events_processed.inc(len(processed.batch))
        metrics.duplicates.inc(processed.duplicates)
        metrics.events_filtered.inc(processed.filtered)
        for letter in processed.dead_letters:
            metrics.dead_letters.labels(letter.code.value).inc()
            metrics.validation_failures.labels(letter.code.value).inc()
        for kind, count in processed.batch.findings.items():
            metrics.pii_redactions.labels(kind).inc(count)
        kinds = Counter(zip(processed.anomalies.severity.tolist(), processed.anomalies.detector.tolist(), strict=True))
        for (severity, detector), count in kinds.items():
            metrics.anomalies_detected.labels(SEVERITIES[severity], DETECTORS[detector]).inc(count)
        for anomaly in processed.tick_anomalies:
            metrics.anomalies_detected.labels(anomaly.severity, anomaly.detector).inc()


def _copied(shard: Shard) -> Copied:
    with shard.lock:
        return shard.copied()
