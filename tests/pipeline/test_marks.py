"""Time marks and commands: what is found where nothing comes goes the way of events."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from test_pipeline import EVER, LOG, Bench, NotedAlerts, event

from sentinel.config.schema import Config, Detection
from sentinel.config.sections_ticks import Ticks
from sentinel.config.sections_usage import ThresholdRule
from sentinel.core.anomaly import Anomaly
from sentinel.core.command import AcceptRegime
from sentinel.core.query import AnomalyQuery
from sentinel.testing.fakes import ScriptedSource, Step

RULE = ThresholdRule(name="slow", metric="latency_ms", warning=50.0)
"""Every event of `event` is beyond it; a window of five minutes has to close before it is told."""
CONFIG = Config(detection=Detection(thresholds=[RULE], ticks=Ticks(enabled=False)))
FIVE_MINUTES_S = 300.0


@asynccontextmanager
async def running(bench: Bench, script: list[object]) -> AsyncIterator[ScriptedSource]:
    """A pipeline that has settled the first deliveries of a script and goes on with it."""
    await bench.store.open()
    source = await bench.source(script)
    task = asyncio.create_task(bench.pipeline.run([source]))
    await source.first_ack.wait()
    yield source
    source.go_on()
    await task
    await bench.store.close()


async def told(bench: Bench) -> list[Anomaly]:
    """What the store has of time windows, once everything is written."""
    await bench.pipeline._queue.join()
    return await bench.store.anomalies(AnomalyQuery(range=EVER, kind="window"))


async def test_a_mark_closes_what_no_event_closes(tmp_path: Path) -> None:
    """Caught up, and time goes on: the window closes, its anomaly is stored and told, and no position moves."""
    alerts = NotedAlerts()
    bench = Bench(tmp_path, CONFIG, alerts=alerts)
    async with running(bench, [[event(i) for i in range(20)], Step.WAIT]) as source:
        await bench.pipeline.mark()
        assert await told(bench) == []  # the window is open
        bench.clock.advance(2 * FIVE_MINUTES_S)
        await bench.pipeline.mark()
        (found,) = await told(bench)
        assert (found.detector, found.metric, found.severity, found.offset) == ("threshold", "latency_ms_mean", "warning", 20)
        assert [one.id for item in alerts.written for one in item.anomalies] == [found.id]
        await bench.pipeline.mark()
        assert len(await told(bench)) == 1
        assert await bench.store.position(LOG) == 20
        assert source.positions == [20]
        assert bench.pipeline.ledger.accounts[LOG].imbalance == 0


async def test_no_mark_while_records_wait(tmp_path: Path) -> None:
    """A log that is not caught up is told nothing about time: its silence may be ours."""
    bench = Bench(tmp_path, CONFIG)
    script: list[object] = [[event(i) for i in range(20)], Step.WAIT]
    async with running(bench, script) as source:
        source._script.insert(0, [event(20)])
        bench.clock.advance(2 * FIVE_MINUTES_S)
        await bench.pipeline.mark()
        assert await told(bench) == []


async def test_a_late_log_is_marked_by_its_own_time(tmp_path: Path) -> None:
    """Events that come an hour late: the time they tell goes on from theirs, not from the clock."""
    bench = Bench(tmp_path, CONFIG)
    late = "2026-01-15T09:30:00Z"  # an hour before the clock
    async with running(bench, [[event(i, timestamp=late) for i in range(20)], Step.WAIT]):
        bench.clock.advance(10.0)
        await bench.pipeline.mark()
        assert await told(bench) == []
        bench.clock.advance(2 * FIVE_MINUTES_S)
        await bench.pipeline.mark()
        assert len(await told(bench)) == 1


async def test_what_a_mark_found_is_the_same_after_a_restart(tmp_path: Path) -> None:
    """The state is lost after the mark: another process finds the same anomaly, and the store has it once."""
    first = Bench(tmp_path, CONFIG)
    async with running(first, [[event(i) for i in range(20)], Step.WAIT]):
        first.clock.advance(2 * FIVE_MINUTES_S)
        await first.pipeline.mark()
        (before,) = await told(first)
    for checkpoint in (tmp_path / "checkpoints").rglob("*.ckpt"):
        checkpoint.unlink()
    second = Bench(tmp_path, CONFIG)
    second.clock.advance(2 * FIVE_MINUTES_S)
    async with running(second, [[event(i) for i in range(20)], [event(20)], Step.WAIT]):
        second.clock.advance(FIVE_MINUTES_S)
        await second.pipeline.mark()
        assert await told(second) == [before]


async def test_a_command_reaches_every_log(tmp_path: Path) -> None:
    """A command that changes nothing leaves nothing in the queue, and does not disturb what runs."""
    bench = Bench(tmp_path, CONFIG)
    async with running(bench, [[event(i) for i in range(20)], Step.WAIT]):
        await bench.pipeline.submit(AcceptRegime())
        assert await told(bench) == []
