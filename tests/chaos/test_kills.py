"""R1: replicas are killed at random moments under load."""

import asyncio
import random
from typing import Any

import pytest
from chaos_report import count, report

pytestmark = pytest.mark.slow

KILLS = count("KILLS", 3, 50)


async def test_kills_at_random_moments(worlds: Any) -> None:
    """R1: whenever replicas are killed: nothing lost, nothing stored twice, windows equal to the bit, every repeat with its first id."""
    chance, under_load = random.Random(1), 0  # noqa: S311  a test's dice
    async with worlds(seed=1) as world:
        await world.start()
        async with world.traffic():
            await world.flows()
            for _ in range(KILLS):
                await asyncio.sleep(chance.uniform(0.2, 2.5))
                replica = chance.choice(world.replicas)
                under_load += await asyncio.to_thread(lambda replica=replica: replica.is_ready)
                replica.kill()
                await asyncio.sleep(chance.uniform(0.0, 0.5))
                replica.start()
            await world.ready()
        verdict = await world.verdict()
    report("R1", f"{KILLS} kills, {under_load} of ready replicas; {verdict.figures()}; longest pause {world.commits.longest_s:.1f} s")
    assert not verdict.wrong
    assert under_load >= KILLS // 3
