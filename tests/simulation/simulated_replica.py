"""One life of one replica: the real Kafka source, pipeline, checkpoints and alerts on the ports of a simulated world."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from simulated_kafka import CLUSTER, TOPIC, Message
from simulated_oracle import LEAST, QUIET_NS, RECEIVER, WINDOW
from simulated_stores import SimulatedStore

from sentinel.alerting.intake import AlertIntake
from sentinel.config.schema import Baseline, Config, Detection, Ingestion, Kafka, Zscore
from sentinel.config.schema import Pipeline as PipelineSection
from sentinel.config.sections_alerting import Alerting, Deduplication
from sentinel.config.sections_ticks import Ticks
from sentinel.config.sections_usage import Abuse, Drift, Leaks
from sentinel.core.alert import Worth
from sentinel.core.batch import PartitionId
from sentinel.core.delivery import Delivery
from sentinel.core.errors import DrainError, StartupError
from sentinel.core.ports import Outcome
from sentinel.ingestion.kafka import KafkaSource
from sentinel.ingestion.sanitize import Sanitizer
from sentinel.observability.metrics import Metrics
from sentinel.pipeline.process import Rules, process
from sentinel.pipeline.restore import Checkpoints
from sentinel.pipeline.run import Pipeline
from sentinel.pipeline.shard import Shard
from sentinel.pipeline.sinks import Sinks
from sentinel.testing.fakes import START_NS

if TYPE_CHECKING:
    from simulated_world import World

QUEUE_BYTES: Final = 24_576
"""Less than a configuration may say: a small world has small queues."""


class LoopClock:
    """The `Clock` of the running loop.

    Args:
        steps: when somebody sets the wall clock, in seconds of the loop, and by how many seconds.
    """

    def __init__(self, steps: Sequence[tuple[float, float]] = ()) -> None:
        self._steps = steps

    def now_ns(self) -> int:
        """Wall-clock time."""
        time_s = asyncio.get_running_loop().time()
        return START_NS + round((time_s + sum(by_s for at_s, by_s in self._steps if at_s <= time_s)) * 1e9)

    def monotonic(self) -> float:
        """Seconds of the loop."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


@cache
def detection(save_every_s: float) -> Detection:
    """One detector that the oracle knows as well."""
    off = {"drift": Drift(enabled=False), "abuse": Abuse(enabled=False), "leaks": Leaks(enabled=False)}
    baseline = Baseline(window_size=WINDOW, min_samples=LEAST, update_interval_secs=save_every_s, metrics=["latency_ms"], max_series=8)
    return Detection(
        enabled_detectors=["zscore"],
        baseline=baseline,
        zscore=Zscore(metrics=["latency_ms"]),
        ticks=Ticks(enabled=False, max_series=8),
        **off,
    )


@cache
def config(save_every_s: float) -> Config:
    """The configuration of every replica."""
    kafka = Kafka(brokers=["127.0.0.1:9092"], auto_offset_reset="earliest", max_poll_records=16, session_timeout_ms=4_000)
    made = Config(
        ingestion=Ingestion(kafka=kafka),
        detection=detection(save_every_s),
        pipeline=PipelineSection(drain_timeout_secs=3.0),
        alerting=Alerting(
            enabled=True, event_anomalies=True, costly_event_usd=None, deduplication=Deduplication(window_secs=QUIET_NS / 1e9)
        ),
    )
    small = made.pipeline.model_copy(update={"queue_max_bytes": QUEUE_BYTES})
    return made.model_copy(update={"pipeline": small})


class Means:
    """What steps go by, made once: it costs as much as a short run."""

    def __init__(self) -> None:
        parts = config(2.5).ingestion, config(2.5).privacy
        sanitizer = Sanitizer(parts[0].parsing, parts[0].validation, parts[1], parts[0].dead_letters, b"k" * 32)
        self.rules = Rules(parts[0].parsing, parts[0].validation, sanitizer)

    def replayed(self, source: PartitionId, messages: Sequence[Message]) -> dict[str, object]:
        """The state after the whole log in one go, by the functions of the product."""
        shard = Shard(source, 0, detection(2.5), config(2.5).ingestion.dedupe.window_events)
        if messages:
            offsets = np.array([message.offset for message in messages])
            times = np.array([message.timestamp for message in messages]) * 1_000_000
            delivery = Delivery(source, [message.value for message in messages], offsets, times, START_NS, 0, 1)
            process(delivery, shard, self.rules)
        return state_of(shard)


@cache
def rules() -> Means:
    """The same for all runs."""
    return Means()


def state_of(shard: Shard) -> dict[str, object]:
    """The windows of every series in bytes, the ids that are remembered, and the place in the log."""
    windows = {
        (metric, row): [table.tobytes().hex() for table in kept.export(len(shard.baselines.names))]
        for row, (metric, kept) in enumerate(shard.baselines.windows.items())
    }
    return {
        "place": shard.next_offset,
        "series": shard.baselines.names,
        "windows": windows,
        "ids": shard.recent.export(),
        "watermark": shard.watermark_ns,
    }


class AlertSink:
    """The real intake, without couriers behind it."""

    def __init__(self, intake: AlertIntake) -> None:
        self.worth = Worth("warning", events=True, costly_usd=None)
        self.write = intake.write
        self.rewind = intake.rewind

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""


class WatchedSource(KafkaSource):
    """The real source, whose acks are counted to the unit."""

    world: "World"

    def pause(self) -> None:
        """Note that it is held back."""
        self.world.weather.struck["back-pressure"] += 1
        super().pause()

    async def ack(self, delivery: Delivery, outcome: Outcome) -> None:
        """Compare what became of a delivery with what must become of its records."""
        self.world.check_ack(delivery, outcome)
        await super().ack(delivery, outcome)


class Replica:
    """One process from its start to its end.

    Args:
        world: what it can reach.
        process: its name.
    """

    def __init__(self, world: "World", process: str) -> None:
        self._world = world
        self._process = process
        self._metrics = Metrics()
        self._source: WatchedSource | None = None
        self.pipeline: Pipeline | None = None

    async def live(self) -> None:
        """Until it is stopped; or killed, from outside."""
        world, clock = self._world, LoopClock(self._world.clock_steps)
        settings = config(2.5)
        database: Any = world.database
        intake = AlertIntake(database, settings.alerting, [(RECEIVER, "info")], self._metrics, clock, self._process)
        store: SimulatedStore = world.store
        sinks = Sinks(store, world.letters, AlertSink(intake))
        self.pipeline = Pipeline(settings, rules().rules, sinks, self._checkpoints(settings), self._metrics, clock, Executor())
        assert settings.ingestion.kafka is not None
        self._source = WatchedSource(settings.ingestion.kafka, self.pipeline, clock, self._metrics)
        self._source.world = world
        try:
            await self._source.open()
            await intake.open()
            await self.pipeline.run([self._source])
        except (DrainError, StartupError) as error:
            world.weather.note(f"{type(error).__name__}")
        finally:
            await self._source.close()
            await intake.close()

    def _checkpoints(self, settings: Config) -> Checkpoints:
        return Checkpoints(self._world.checkpoints, settings.detection, settings.ingestion.dedupe.window_events, self._metrics)

    def stop(self) -> None:
        """As a signal does."""
        if self.pipeline is not None:
            self.pipeline.stop()

    async def reload(self, save_every_s: float) -> None:
        """Another configuration, as far as verdicts do not depend on it."""
        assert self.pipeline is not None
        settings = config(save_every_s)
        await self.pipeline.reconfigure(settings, rules().rules, self._checkpoints(settings))

    def shard(self, partition: int) -> Shard | None:
        """The state of a partition that is read here."""
        return None if self.pipeline is None else self.pipeline.shards.get(PartitionId(CLUSTER, TOPIC, partition))

    def state(self, partition: int) -> dict[str, object] | None:
        """The state of a partition that can be compared."""
        shard = self.shard(partition)
        return None if shard is None else state_of(shard)

    def faults(self) -> dict[str, str]:
        """Why partitions are not read."""
        return {} if self._source is None else self._source.faults

    @property
    def in_flight(self) -> int:
        """Events that were read and have not come to their end."""
        return 0 if self.pipeline is None else self.pipeline.ledger.total().in_flight

    def unbalanced(self) -> list[str]:
        """Where the ledger does not add up."""
        if self.pipeline is None:
            return []
        return [f"{self._process} {log}: {account}" for log, account in self.pipeline.ledger.accounts.items() if account.imbalance]
