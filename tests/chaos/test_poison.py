"""R22: records that cannot be events, while their dead letters cannot be written."""

import asyncio
from typing import Any

import pytest
from chaos_report import by_request, count, report

pytestmark = [pytest.mark.slow, by_request]

DOWN_S = count("DOWN_S", 5, 60)


async def test_dead_letters_that_cannot_be_written(worlds: Any) -> None:
    """R22: one record in a hundred is poison: each becomes a dead letter with its place and code; nothing overtakes those that wait."""
    async with worlds(seed=22, replicas=1) as world:
        (replica,) = world.replicas
        closed = world.servers.directory / "no-dead-letters"
        replica.start_failing("hold", "write dead letters", str(closed))
        async with world.traffic():
            await world.ready()
            await world.flows()
            closed.touch()
            await asyncio.sleep(DOWN_S)
            assert any("dead letters" in reason for reason in await asyncio.to_thread(world.reasons, replica))
            waiting = await asyncio.to_thread(world.points.count)
            await asyncio.sleep(1.0)
            assert await asyncio.to_thread(world.points.count) == waiting
            closed.unlink()
            await world.flows()
        verdict = await world.verdict()
    report("R22", f"dead letters down for {DOWN_S} s; {verdict.figures()}")
    assert not verdict.wrong
