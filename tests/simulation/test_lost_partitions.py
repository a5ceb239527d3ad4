"""Two stories that seeds seldom tell: work whose partition goes and comes back, and a checkpoint that the store has not reached."""

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

from simulated_kafka import Message
from simulated_replica import LoopClock, config, rules, state_of
from simulated_stores import SimulatedCheckpoints, SimulatedDeadLetters, SimulatedStore
from simulated_weather import Weather
from structlog.testing import capture_logs

from sentinel.core.batch import PartitionId
from sentinel.core.ports import StoreWrite
from sentinel.observability.metrics import Metrics
from sentinel.pipeline.restore import Checkpoints
from sentinel.pipeline.run import Pipeline
from sentinel.pipeline.sinks import Sinks
from sentinel.testing.fakes import ScriptedSource, Step
from sentinel.testing.virtual_loop import VirtualLoop

LOG = PartitionId("simulated", "script", 0)


class SlowStore(SimulatedStore):
    """Takes five seconds for a write."""

    async def write(self, items: Sequence[StoreWrite]) -> None:
        """Wait, then store."""
        await asyncio.sleep(5.0)
        await super().write(items)


async def calm() -> None:
    """Nobody is killed."""


def record(number: int) -> bytes:
    """An event."""
    event: dict[str, Any] = {"service_name": "chat", "model_name": "m", "latency_ms": 100 + number, "timestamp": "2023-11-14T22:13:20Z"}
    return json.dumps(event).encode()


def test_work_of_a_partition_that_went_and_came_back_is_dropped() -> None:
    """What waits for the store when the partition goes is neither written nor acked, even when the partition is ours again."""
    loop = VirtualLoop(1)
    weather = Weather(loop, 1)
    store, metrics, settings = SlowStore(weather, calm, atomic=True), Metrics(), config(2.5)
    keeper = Checkpoints(None, settings.detection, 100, metrics)
    sinks = Sinks(store, SimulatedDeadLetters(weather, calm))

    async def run() -> tuple[Pipeline, ScriptedSource]:
        pipeline = Pipeline(settings, rules().rules, sinks, keeper, metrics, LoopClock(), Executor())
        source = ScriptedSource([[record(0)], Step.WAIT, [record(1), b"bad"], Step.REVOKE], pipeline, LOG)
        await source.open()
        loop.call_later(1.0, source.go_on)  # the first record is on its way into the store by then
        await pipeline.run([source])
        return pipeline, source

    with capture_logs():
        pipeline, source = loop.run_until_complete(run())
    loop.close()
    assert list(store.rows[LOG]) == [(0, 0)]
    assert sinks.dead_letters.written == []  # type: ignore[attr-defined]
    assert source.positions == [1]
    total = pipeline.ledger.total()
    assert (total.received, total.stored, total.in_flight, total.imbalance) == (1, 1, 0, 0)


def test_a_checkpoint_that_the_store_has_not_reached_is_not_used() -> None:
    """A store that lost its last rows, or a replica that still writes: the state is what the rows say, whatever was saved."""
    loop = VirtualLoop(1)
    weather = Weather(loop, 1)
    store, metrics, disk = SimulatedStore(weather, calm, atomic=True), Metrics(), SimulatedCheckpoints(weather)
    keeper = Checkpoints(disk, config(2.5).detection, config(2.5).ingestion.dedupe.window_events, metrics)
    sinks = Sinks(store, SimulatedDeadLetters(weather, calm))

    async def run(records: int) -> None:
        pipeline = Pipeline(config(2.5), rules().rules, sinks, keeper, metrics, LoopClock(), Executor())
        source = ScriptedSource([[record(number) for number in range(records)]], pipeline, LOG)
        await source.open()
        await pipeline.run([source])

    with capture_logs():
        loop.run_until_complete(run(30))
        assert [int(key.split("/")[-1].split("-")[0]) for key in disk.blobs] == [30]
        store.positions[LOG] = 20
        shard = loop.run_until_complete(keeper.restore(LOG, 2, store, 20))
    loop.close()
    assert state_of(shard) == rules().replayed(LOG, [Message(number, 0.0, record(number)) for number in range(20)])
    assert metrics.checkpoint_errors.labels("load")._value.get() == 1
