"""R3, R5: partitions that change hands again and again, also while their work is on its way."""

import asyncio
import random
import time
from typing import Any

import pytest
from chaos_report import by_request, count, report

pytestmark = [pytest.mark.slow, by_request]

STORM_S = count("STORM_S", 20, 300)
REVOKES = count("REVOKES", 2, 10)
SLOW_S = count("SLOW_S", 3, 5)
SESSION_MS = 3_000


async def test_rebalance_storm(worlds: Any) -> None:
    """R3: replicas join, leave and die every few seconds: nothing lost, nothing doubled, no commit goes back, and calm follows."""
    chance, joined, left, died = random.Random(3), 0, 0, 0  # noqa: S311  a test's dice
    async with worlds(seed=3, replicas=4, static=False, session_timeout_ms=SESSION_MS) as world:
        await world.start(world.replicas[0])
        async with world.traffic():
            await world.flows()
            ends_at = time.monotonic() + STORM_S
            while time.monotonic() < ends_at:
                replica = chance.choice(world.replicas)
                if not replica.running:
                    replica.start()
                    joined += 1
                elif chance.random() < 0.5:
                    replica.terminate()
                    await asyncio.to_thread(replica.ended)
                    left += 1
                else:
                    replica.kill()
                    died += 1
                await asyncio.sleep(chance.uniform(0.5, 6.0))
            for replica in world.replicas:
                if not replica.running:
                    replica.start()
        began = time.monotonic()
        await world.drained(300.0)
        calm_s = time.monotonic() - began
        verdict = await world.verdict()
    report(
        "R3",
        f"{STORM_S} s with {joined} joins, {left} leaves, {died} kills; all in place {calm_s:.0f} s after it; "
        f"{len(world.commits.regressions)} commits went back; {verdict.figures()}",
    )
    assert not verdict.wrong


async def test_partitions_that_go_and_come_back_with_work_on_its_way(worlds: Any) -> None:
    """R5: what waits for a slow store when its partition goes is not committed, even when the partition is soon ours again."""
    async with worlds(seed=6, replicas=2, static=False, session_timeout_ms=SESSION_MS) as world:
        first, other = world.replicas
        await world.start(first)
        async with world.traffic():
            await world.flows()
            for _ in range(REVOKES):
                await asyncio.to_thread(world.points.fault, delay_s=SLOW_S)
                await world.start(other)
                await asyncio.sleep(1.0)
                other.terminate()
                await asyncio.to_thread(other.ended)
                await asyncio.to_thread(world.points.fault)
                await world.flows()
        verdict = await world.verdict()
    report("R5", f"{2 * REVOKES} rebalances with a store that takes {SLOW_S} s; {verdict.figures()}")
    assert not verdict.wrong
