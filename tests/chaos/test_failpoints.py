"""R2: a replica dies just before and just after every step it takes."""

import asyncio
import os
import random
from typing import Any

import pytest
from chaos_report import FULL, by_request, count, report
from failing_daemon import AT_REBALANCE, AT_STOP, DEAD, STEPS

pytestmark = [pytest.mark.slow, by_request]

SHORT = ("write points", "move positions", "mark as sent")
CHOSEN = [step for step in STEPS if step in os.environ.get("CHAOS_STEPS", "").split(",")] or (list(STEPS) if FULL else SHORT)
ROUNDS = count("ROUNDS_OF_FAILPOINTS", 1, 2)
MOST_CALLS = 3
RATE = 300.0


async def test_deaths_at_every_step(worlds: Any) -> None:
    """R2: whichever step it dies at, before or after: the next life goes on exactly there. Every step was really come to."""
    chance = random.Random(2)  # noqa: S311  a test's dice
    steps = [(step, when) for step in CHOSEN for when in ("before", "after")] * ROUNDS
    reached = 0
    async with worlds(seed=2, replicas=2, session_timeout_ms=3_000) as world:
        async with world.traffic(RATE):
            for number, (step, when) in enumerate(steps):
                reached += await _life(world, step, when, chance.randint(1, MOST_CALLS), number)
            await world.start()
        verdict = await world.verdict()
    report("R2", f"{reached} of {len(steps)} deaths at {len(steps) // ROUNDS} failpoints; {verdict.figures()}")
    assert reached == len(steps)
    assert not verdict.wrong


async def _life(world: Any, step: str, when: str, nth: int, number: int) -> bool:
    """One life that ends at a step; whether it did."""
    replica, other = world.replicas
    record = world.servers.directory / f"reached-{number}"
    replica.start_failing("die", step, when, str(1 if step in AT_STOP else nth), str(record))
    if step in AT_STOP or step in AT_REBALANCE:
        await world.ready(replica)
        await world.flows()
        if step in AT_STOP:
            replica.terminate()
        else:
            other.start()
    code = await asyncio.to_thread(replica.ended, 90.0)
    if other.running:
        other.kill()
    assert code == DEAD, f"{when} {step}: ended with {code}\n{replica.log()}"
    return bool(record.exists() and record.read_text() == f"{when} {step}")
