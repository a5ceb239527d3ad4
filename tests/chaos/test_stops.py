"""R19, R20: replicas are told to stop under load, alone and one after the other."""

import asyncio
import random
import time
from typing import Any

import pytest
from chaos_report import by_request, count, report

pytestmark = [pytest.mark.slow, by_request]

TERMS = count("TERMS", 2, 50)
ROUNDS = count("ROUNDS", 1, 3)
LONGEST_STOP_S = 15.0


async def test_stops_under_load(worlds: Any) -> None:
    """R19: after SIGTERM it exits 0 with everything stored and committed, so that the next start reads no record again."""
    chance, took, again = random.Random(19), [], 0  # noqa: S311  a test's dice
    async with worlds(seed=19, replicas=1) as world:
        (replica,) = world.replicas
        async with world.traffic():
            for _ in range(TERMS):
                await world.start()
                await world.flows()
                await asyncio.sleep(chance.uniform(0.0, 1.0))
                began = time.monotonic()
                assert await world.stop() == [0], replica.log()
                took.append(time.monotonic() - began)
                await asyncio.sleep(0.5)  # the last commit is seen
                positions = await asyncio.to_thread(world.positions)
                again += sum(abs(positions[partition] - offset) for partition, offset in world.commits.latest.items())
            await world.start()
        verdict = await world.verdict()
    took.sort()
    report(
        "R19",
        f"{TERMS} SIGTERM under load, exit 0 after {took[len(took) // 2]:.1f} s (longest {took[-1]:.1f} s), "
        f"{again} events to be read again; {verdict.figures()}",
    )
    assert not again
    assert not verdict.wrong
    assert took[-1] <= LONGEST_STOP_S


async def test_rolling_restart(worlds: Any) -> None:
    """R20: replicas that restart one after the other lose and double nothing, and the others keep their partitions."""
    moved, pauses = 0.0, []
    async with worlds(seed=20) as world:
        await world.start()
        async with world.traffic():
            for _ in range(ROUNDS):
                for replica in world.replicas:
                    await world.flows()
                    others = [other for other in world.replicas if other is not replica]
                    before = await asyncio.to_thread(lambda others=others: sum(other.rebalances() for other in others))
                    replica.terminate()
                    began = time.monotonic()
                    assert await asyncio.to_thread(replica.ended) == 0
                    await world.start(replica)
                    pauses.append(time.monotonic() - began)
                    moved += await asyncio.to_thread(lambda others=others: sum(other.rebalances() for other in others)) - before
        verdict = await world.verdict()
    report(
        "R20",
        f"{len(pauses)} restarts of 3 replicas, each away for {min(pauses):.1f} to {max(pauses):.1f} s, "
        f"{moved:.0f} partitions of others moved; {verdict.figures()}",
    )
    assert not verdict.wrong
