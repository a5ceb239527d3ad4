"""Event ids shared through Redis: repeats are found between partitions and replicas, and no event is ever lost to that."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentinel.config.schema import Redis
from sentinel.core.batch import CleanBatch, PartitionId, SeriesKey
from sentinel.observability.metrics import Metrics
from sentinel.storage.redis_link import FAILURES_IN_A_ROW, PAUSE_S, RedisLink
from sentinel.storage.shared_ids import IDS_AT_ONCE, SharedRecentIds
from sentinel.testing.fakes import ManualClock
from sentinel.testing.store_events import CHAT, events
from tools.servers.redis import Redis as Server

SECRET = b"a secret of all replicas"
FIRST, SECOND = PartitionId("kafka", "llm.telemetry", 0), PartitionId("kafka", "llm.telemetry", 1)


@asynccontextmanager
async def sharing(
    server: Server, prefix: str = "", *, secret: bytes = SECRET, metrics: Metrics | None = None, **keys: Any
) -> AsyncIterator[SharedRecentIds]:
    """One replica's view; replicas with the same prefix share."""
    section = Redis(url=server.url, **{"key_prefix": prefix or f"test-{uuid4().hex}:", "timeout_secs": 10.0} | keys)
    metrics = metrics or Metrics()
    link = RedisLink(section, ManualClock(), metrics)
    await link.open()
    try:
        yield SharedRecentIds(link, section, secret, metrics)
    finally:
        await link.close()


def batch(ids: Sequence[str | None], source: PartitionId = FIRST, first: int = 0, name: SeriesKey = CHAT) -> CleanBatch:
    """Events with these ids, at consecutive offsets of a log."""
    return replace(events(len(ids), source=source, first=first, names=(name,)), event_ids=list(ids))


def bad_values(metrics: Metrics) -> float:
    """How many were counted."""
    return metrics.registry.get_sample_value("sentinel_cache_errors_total", {"kind": "bad_value"}) or 0


async def test_a_stored_event_is_known_in_every_partition_and_replica(redis: Server) -> None:
    """Sent again to another partition, read by another replica, it is a repeat; other ids and none at all are not."""
    async with sharing(redis, "replicas:") as one, sharing(redis, "replicas:") as other:
        await one.remember(batch(["a", None, "b"]))
        assert (await other.unseen(batch(["c", "a", None, "b"], SECOND))).tolist() == [True, False, True, False]
        assert (await one.unseen(batch(["b"], FIRST, first=9))).tolist() == [False]


async def test_a_record_is_no_repeat_of_itself(redis: Server) -> None:
    """Read again after a crash, by whichever replica, the same record of the same log is judged as before."""
    async with sharing(redis, "same:") as one, sharing(redis, "same:") as other:
        stored = batch(["a", "b", "c"], first=100)
        await one.remember(stored)
        assert (await other.unseen(stored)).all()
        assert (await other.unseen(batch(["b", "c"], first=101))).all()
        assert not (await other.unseen(batch(["b", "c"], first=102))).any()
        assert not (await other.unseen(batch(["a"], PartitionId("kafka", "other", 0), first=100))).any()


async def test_looking_claims_nothing(redis: Server) -> None:
    """A replica that looked and died before its write holds nobody back: the event sent again is stored, from any record."""
    async with sharing(redis, "crash:") as one, sharing(redis, "crash:") as other:
        assert (await one.unseen(batch(["a"], first=7))).all()
        assert (await other.unseen(batch(["a"], SECOND))).all()
        assert (await one.unseen(batch(["a"], first=8))).all()


async def test_the_first_record_stays_the_owner(redis: Server) -> None:
    """Of two stored at the same time, the first that was remembered may be read again; the other is a repeat from then on."""
    async with sharing(redis) as ids:
        await ids.remember(batch(["a"], FIRST))
        await ids.remember(batch(["a"], SECOND))
        assert (await ids.unseen(batch(["a"], FIRST))).all()
        assert not (await ids.unseen(batch(["a"], SECOND))).any()


async def test_tenants_do_not_meet(redis: Server) -> None:
    """The same id of another tenant is another event; of another service of the tenant, it is not."""
    async with sharing(redis) as ids:
        await ids.remember(batch(["a"]))
        assert (await ids.unseen(batch(["a"], SECOND, name=SeriesKey("other", "chat-api", "gpt-4")))).all()
        assert not (await ids.unseen(batch(["a"], SECOND, name=SeriesKey("default", "search", "gpt-4")))).any()


@pytest.mark.parametrize("seconds", [20.0, 200.0])
async def test_dedupe_secs_limits_the_memory(own_redis: Server, seconds: float) -> None:
    """Every remembered id has a time to live, and nothing of the id can be read in Redis."""
    async with sharing(own_redis, "ours:", dedupe_secs=seconds) as ids:
        await ids.remember(batch(["customer-4711"]))
        (name,) = await ids._link.run(lambda client: client.keys("*"), [])
        left_ms = await ids._link.run(lambda client: client.pttl(name), -1)
        assert (seconds - 20.0) * 1_000 < left_ms <= seconds * 1_000
        value = await ids._link.run(lambda client: client.get(name), None)
        assert name.startswith(b"ours:")
        assert b"4711" not in name + value


async def test_many_ids_go_in_parts(redis: Server) -> None:
    """More ids than one command takes are all remembered and all found."""
    many = [f"event {number}" for number in range(2 * IDS_AT_ONCE + 1)]
    async with sharing(redis) as ids:
        await ids.remember(batch(many))
        assert not (await ids.unseen(batch(many, SECOND))).any()
        assert (await ids.unseen(batch([f"{each}!" for each in many], SECOND))).all()


async def test_an_empty_batch_asks_nothing(redis: Server) -> None:
    """Without events, or without ids, there is nothing to look for."""
    async with sharing(redis) as ids:
        assert (await ids.unseen(batch([]))).tolist() == []
        assert (await ids.unseen(batch([None, None]))).tolist() == [True, True]
        await ids.remember(batch([None]))


async def test_without_redis_every_event_is_fresh(own_redis: Server) -> None:
    """Down, everything is stored; empty after its restart, everything is stored; then repeats are found again."""
    clock = ManualClock()
    section = Redis(url=own_redis.url, timeout_secs=10.0)
    link = RedisLink(section, clock, Metrics())
    ids = SharedRecentIds(link, section, SECRET, Metrics())
    assert (await ids.unseen(batch(["a"]))).all()
    await link.open()
    await ids.remember(batch(["a"]))
    assert not (await ids.unseen(batch(["a"], SECOND))).any()
    await asyncio.to_thread(own_redis.kill)
    for _ in range(FAILURES_IN_A_ROW + 1):
        assert (await ids.unseen(batch(["a"], SECOND))).all()
        await ids.remember(batch(["b"]))
    await asyncio.to_thread(own_redis.start)
    clock.advance(PAUSE_S)
    assert (await ids.unseen(batch(["a", "b"], SECOND))).all()
    await ids.remember(batch(["a"]))
    assert not (await ids.unseen(batch(["a"], SECOND))).any()
    await link.run(lambda client: client.flushall(), None)
    await link.run(lambda client: client.script_flush(), None)
    assert (await ids.unseen(batch(["a"], SECOND))).all()
    await ids.remember(batch(["a"]))
    assert not (await ids.unseen(batch(["a"], SECOND))).any()
    await link.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.binary(max_size=64), cut=st.integers(0, 30))
def test_whatever_stands_there_no_event_is_left_out(redis: Server, value: bytes, cut: int) -> None:
    """A value that we did not write, or only a part of one, never makes an event a repeat."""

    async def plant() -> None:
        metrics = Metrics()
        async with sharing(redis, metrics=metrics) as ids:
            own = batch(["a"])
            await ids.remember(own)
            (event,) = ids._identified(own)
            good = await ids._link.run(lambda client: client.get(event.key), None)
            assert isinstance(good, bytes)
            for planted in (value, good[: min(cut, len(good) - 1)], bytes([good[0] ^ 1]) + good[1:], good[:-1] + bytes([good[-1] ^ 1])):
                await ids._link.run(lambda client, wrong=planted: client.set(event.key, wrong, px=60_000), None)
                assert (await ids.unseen(batch(["a"], SECOND))).all()
            assert bad_values(metrics) == 4

    asyncio.run(plant())


async def test_a_list_under_our_key_is_no_repeat(redis: Server) -> None:
    """Another type of value is like none."""
    async with sharing(redis) as ids:
        (event,) = ids._identified(batch(["a"]))
        await ids._link.run(lambda client: client.rpush(event.key, "x"), None)
        assert (await ids.unseen(batch(["a"], SECOND))).all()
        await ids._link.run(lambda client: client.delete(event.key), None)


async def test_a_value_moved_to_another_id_is_no_repeat(redis: Server) -> None:
    """Somebody who can write, and copies what we wrote, still cannot have an event left out."""
    metrics = Metrics()
    async with sharing(redis, metrics=metrics) as ids:
        first, second = ids._identified(batch(["a", "b"]))
        await ids.remember(batch(["a"]))
        await ids._link.run(lambda client: client.copy(first.key, second.key), None)
        assert (await ids.unseen(batch(["b"], SECOND))).all()
        assert bad_values(metrics) == 1


async def test_replicas_with_another_secret_do_not_see_ours(redis: Server) -> None:
    """Keys are made with the secret: who does not have it cannot find or make them."""
    async with sharing(redis, "secret:") as ours, sharing(redis, "secret:", secret=b"another secret here") as theirs:
        await theirs.remember(batch(["a"]))
        assert (await ours.unseen(batch(["a"], SECOND))).all()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 5), st.sampled_from(["store", "crash"])), max_size=30))
def test_no_id_is_left_out_before_it_is_stored(redis: Server, steps: list[tuple[int, int, int, str]]) -> None:
    """Whatever replicas look, store and crash in whatever order: an event is left out only when one with its id is stored."""

    async def play() -> None:
        stored: set[str] = set()
        async with sharing(redis) as ids:
            for number, partition, offset, end in steps:
                one = batch([f"event {number}"], PartitionId("kafka", "llm.telemetry", partition), first=offset)
                fresh = bool((await ids.unseen(one))[0])
                assert fresh or f"event {number}" in stored
                if fresh and end == "store":
                    stored.add(f"event {number}")
                    await ids.remember(one)

    asyncio.run(play())
