"""R4: replicas that come back after they were given up, and two that are called the same."""

import asyncio
import random
from typing import Any

import pytest
from chaos_report import by_request, count, report
from fault_traffic import until

pytestmark = [pytest.mark.slow, by_request]

STOPS = count("STOPS", 1, 20)
TWINS = count("TWINS", 1, 5)
SESSION_MS = count("SESSION_MS", 3_000, 10_000)
WRITE_S = 0.5
"""How long the store takes for a write, so that some are under way when a replica is frozen."""


async def test_replicas_that_were_frozen(worlds: Any) -> None:
    """R4: SIGSTOP for three session timeouts, then SIGCONT: no commit goes back, and nothing that a stale owner does changes anything."""
    chance = random.Random(4)  # noqa: S311  a test's dice
    async with worlds(seed=4, session_timeout_ms=SESSION_MS) as world:
        await world.start()
        async with world.traffic():
            await world.flows()
            await asyncio.to_thread(world.points.fault, delay_s=WRITE_S)
            for _ in range(STOPS):
                frozen = chance.choice(world.replicas)
                frozen.freeze()
                await asyncio.sleep(3 * SESSION_MS / 1e3)
                frozen.thaw()
                await world.flows()
            await asyncio.to_thread(world.points.fault)
            await world.ready()
        verdict = await world.verdict()
    report("R4", f"{STOPS} stops, {len(world.commits.regressions)} stale commits in {world.commits.looks:,} looks; {verdict.figures()}")
    assert not verdict.wrong


async def test_two_processes_with_one_instance_id(worlds: Any) -> None:
    """R4: a second process with the same instance id puts the first one out of the group; whatever both do meanwhile changes nothing."""
    async with worlds(seed=5, replicas=2, session_timeout_ms=SESSION_MS) as world:
        world.add(1, instance="replica-0")
        first, other, twin = world.replicas
        await world.start(first, other)
        async with world.traffic():
            await world.flows()
            for _ in range(TWINS):
                await world.start(twin)
                await world.flows()
                twin.kill()
                if not first.running:
                    first.start()
                await world.flows()
            await until(lambda: asyncio.to_thread(lambda: first.is_ready and other.is_ready), "both are ready")
        verdict = await world.verdict()
    report("R4", f"{TWINS} twins, {len(world.commits.regressions)} stale commits in {world.commits.looks:,} looks; {verdict.figures()}")
    assert not verdict.wrong
