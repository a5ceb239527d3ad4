"""What the daemon says of its own event loop."""

import asyncio
from dataclasses import replace
from pathlib import Path

from daemon_run import config, running

from sentinel.app.housekeeping import Housekeeping
from sentinel.testing.fakes import ManualClock

LATE_S = 0.2


class LateClock(ManualClock):
    """A clock whose waits all take too long, as when something blocks the loop."""

    async def sleep(self, seconds: float) -> None:
        """Wait for longer than asked for."""
        self.advance(LATE_S)
        await super().sleep(seconds)


async def test_a_loop_that_is_late_shows(tmp_path: Path) -> None:
    """Every look that finds the loop late is counted where it belongs, and the gauge has the worst of the last second."""
    async with running(config(tmp_path)) as daemon:
        clock, registry = LateClock(daemon.clock.now_ns()), daemon.metrics.registry
        housekeeping = Housekeeping()
        housekeeping.start(replace(daemon.context, clock=clock), daemon.store)
        in_time = {"le": "0.1"}
        before = registry.get_sample_value("sentinel_event_loop_stall_seconds_count") or 0.0
        before -= registry.get_sample_value("sentinel_event_loop_stall_seconds_bucket", in_time) or 0.0
        async with asyncio.timeout(20):
            while not (registry.get_sample_value("sentinel_event_loop_lag_seconds") or 0.0) >= LATE_S:  # noqa: ASYNC110  looked at aside
                await asyncio.sleep(0)
        await housekeeping.close()
        late = registry.get_sample_value("sentinel_event_loop_stall_seconds_count") or 0.0
        late -= registry.get_sample_value("sentinel_event_loop_stall_seconds_bucket", in_time) or 0.0
        assert late > before


async def test_tasks_that_do_not_end_show(tmp_path: Path) -> None:
    """The gauge of tasks follows how many there are."""
    async with running(config(tmp_path)) as daemon:
        daemon._housekeeping._refresh(daemon.context)
        before = daemon.metrics.event_loop_tasks._value.get()
        waiting = [asyncio.create_task(asyncio.Event().wait()) for _ in range(10)]
        daemon._housekeeping._refresh(daemon.context)
        assert daemon.metrics.event_loop_tasks._value.get() >= before + len(waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
