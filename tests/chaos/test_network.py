"""R10, R15, R17: what stands between the replicas and their servers fails (R11 to R14 and R16 are in `tests/faults`)."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from chaos_report import by_request, count, report

from tools.servers.toxiproxy import Proxy

pytestmark = [pytest.mark.slow, by_request]

FAULT_S = count("FAULT_S", 4, 60)
SEEDS = count("SEEDS", 2, 20)
LATENCY_MS = 2_000

Fault = Callable[[Proxy], None]


def slow(proxy: Proxy) -> None:
    """Answers take long."""
    proxy.slow(LATENCY_MS)


@pytest.mark.parametrize("fault", [Proxy.cut, Proxy.swallow, Proxy.reset, slow], ids=["down", "half-open", "resets", "slow"])
async def test_kafka_behind_a_bad_network(proxied: Any, fault: Fault) -> None:
    """R10: while the brokers are down, silent, resetting or slow the API answers; afterwards all goes on by itself."""
    async with proxied(seed=10, replicas=2) as made:
        world = made.world
        await world.start()
        async with world.traffic():
            await world.flows()
            await asyncio.to_thread(fault, made.proxies["kafka"])
            await asyncio.sleep(FAULT_S)
            alive = [await asyncio.to_thread(replica.status_of, "/health/live") for replica in world.replicas]
            await asyncio.to_thread(made.proxies["kafka"].heal)
            await world.flows()
        verdict = await world.verdict()
    report("R10", f"Kafka {fault.__name__} for {FAULT_S} s, live all the time: {alive == [200, 200]}; {verdict.figures()}")
    assert alive == [200, 200]
    assert not verdict.wrong


async def test_rabbitmq_half_open(proxied: Any) -> None:
    """R15: a RabbitMQ that swallows everything loses no alert and holds up no event."""
    async with proxied(seed=15, replicas=2) as made:
        world = made.world
        await world.start()
        async with world.traffic():
            await world.flows()
            await asyncio.to_thread(made.proxies["rabbitmq"].swallow)
            before = sum(world.commits.latest.values())
            await asyncio.sleep(FAULT_S)
            moved = sum(world.commits.latest.values()) - before
            await asyncio.to_thread(made.proxies["rabbitmq"].heal)
        verdict = await world.verdict()
    report("R15", f"RabbitMQ half-open for {FAULT_S} s, {moved:,} records committed meanwhile; {verdict.figures()}")
    assert moved > 0
    assert not verdict.wrong


async def test_swizzle_clog(proxied: Any) -> None:
    """R17: five servers go one after the other in random order and come back in another: everything drains, nothing hangs."""
    async with proxied(seed=17, replicas=2) as made:
        world = made.world
        await world.start()
        async with world.traffic():
            for seed in range(SEEDS):
                await world.flows()
                await _clog(random.Random(seed), list(made.proxies.values()))  # noqa: S311  a test's dice
                await world.ready()
        verdict = await world.verdict()
    report("R17", f"{SEEDS} seeds; {verdict.figures()}")
    assert not verdict.wrong


async def _clog(chance: random.Random, proxies: list[Proxy]) -> None:
    """Clog all, each in its own way, and release them."""
    for proxy in chance.sample(proxies, len(proxies)):
        await asyncio.to_thread(chance.choice([Proxy.cut, Proxy.swallow, Proxy.reset, slow]), proxy)
        await asyncio.sleep(chance.uniform(0.0, 2.0))
    for proxy in chance.sample(proxies, len(proxies)):
        await asyncio.to_thread(proxy.heal)
        await asyncio.sleep(chance.uniform(0.0, 2.0))
