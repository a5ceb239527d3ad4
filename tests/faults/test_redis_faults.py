"""Redis killed, emptied, slow under load: nothing is lost or doubled, and nothing is held up."""

import asyncio
from typing import Any

import pytest
import redis as redis_client
from fault_points import FaultyPoints
from fault_traffic import configuration, flowing, until
from fault_watch import watching
from infrastructure import TOKEN

from tests.e2e.conftest import Sentinel

pytestmark = pytest.mark.slow

RATE = 1_500.0


async def test_nothing_depends_on_redis(
    kafka: Any, topic: Any, own_redis: Any, points: FaultyPoints, make_sentinel: Any, fault_s: float, tmp_path: Any
) -> None:
    """Killed and started again, then emptied, then answering nothing: events are stored all the time, each once."""
    name, token = await topic(4), tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    storage = {
        "influxdb": {"url": points.url, "token_file": str(token)},
        "cache": {},
        "redis": {"enabled": True, "url": own_redis.url, "dedupe": True},
    }
    sentinel = make_sentinel(
        configuration(kafka.bootstrap, name, storage=storage, privacy={"pseudonym_key": "a key for this test alone, long enough"})
    )
    sentinel.start()
    await asyncio.to_thread(sentinel.wait_ready)
    client = redis_client.Redis(port=own_redis.port)
    async with flowing(kafka.bootstrap, name, rate=RATE) as known:
        await until(lambda: asyncio.to_thread(lambda: points.count() > 1_000 and client.dbsize() > 1_000), "ids are shared")
        async with watching(sentinel) as watched:
            await asyncio.to_thread(own_redis.kill)
            sent = known.sent
            await asyncio.sleep(fault_s)
            assert await asyncio.to_thread(points.count) > sent
            assert not await asyncio.to_thread(_answers, sentinel)
            await asyncio.to_thread(own_redis.start)
            await until(lambda: asyncio.to_thread(_answers, sentinel), "Redis is used again")
            await asyncio.to_thread(client.flushall)
            await until(lambda: asyncio.to_thread(lambda: client.dbsize() > 1_000), "ids are shared again")
            await asyncio.to_thread(client.execute_command, "CLIENT", "PAUSE", int(fault_s * 1_000), "ALL")
            sent = known.sent
            await asyncio.sleep(fault_s - 0.5)
            assert await asyncio.to_thread(points.count) > sent
            assert not await asyncio.to_thread(_answers, sentinel)
        assert watched.always_ready()
        await until(lambda: asyncio.to_thread(_answers, sentinel), "Redis is used once more")
    await until(lambda: asyncio.to_thread(lambda: points.count() >= len(known.good)), "everything is stored")
    assert await asyncio.to_thread(points.sums) == known.sums()
    ledger = await asyncio.to_thread(sentinel.get, "/api/v1/ledger")
    assert ledger["balanced"]
    assert await asyncio.to_thread(sentinel.stop) == 0
    client.close()


def _answers(sentinel: Sentinel) -> bool:
    """Whether the daemon's Redis answers, by its own metric."""
    return "sentinel_redis_up 1.0" in sentinel.text("/metrics")
