"""The Kafka source against a real broker: what is read, what is committed, where it goes on, and that settings act."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from kafka_bench import DONE, Owner, Reader, admin, committed, produce, section, until, until_committed

from sentinel.app.clock import SystemClock
from sentinel.core.delivery import RECORD_BYTES
from sentinel.ingestion.kafka import KafkaSource
from sentinel.observability.metrics import Metrics
from tools.servers.kafka import Broker

Topic = Callable[..., Awaitable[str]]


def numbered(first: int, end: int) -> list[bytes]:
    """Values that say which they are."""
    return [f"v{i}".encode() for i in range(first, end)]


async def test_every_partition_is_read_in_order_and_once(kafka: Broker, topic: Topic) -> None:
    """Four partitions, 2,000 records: each partition's come in order without gap or repeat, and all are committed."""
    config = section(kafka, await topic())
    await produce(kafka, config.topic, numbered(0, 2000), partition=None)
    async with Reader(config) as reader:
        await reader.until_read(2000)
        await until_committed(kafka, config, dict.fromkeys(range(4), 500))
    for partition in range(4):
        assert reader.offsets[partition] == list(range(500))
        assert reader.values[partition] == numbered(0, 2000)[partition::4]
    assert reader.metric("kafka_messages_consumed_total") == 2000
    assert reader.source.faults == {}


async def test_commits_stay_behind_the_contiguous_watermark(kafka: Broker, topic: Topic) -> None:
    """Later deliveries are acked first: the committed offset waits for the earliest, then jumps behind the last."""
    config = section(kafka, await topic(partitions=1), max_poll_records=10, linger_ms=0)
    await produce(kafka, config.topic, numbered(0, 40))
    async with Reader(config) as reader:
        reader.keeping = True
        await reader.until_read(40)
        assert len(reader.kept) >= 4
        first, *later = reader.kept
        for delivery in later:
            await reader.source.ack(delivery, DONE)
        await reader.source._group.commit()
        assert await committed(kafka, config) == {0: 0}
        await reader.source.ack(first, DONE)
        await reader.source.ack(first, DONE)
        await until_committed(kafka, config, {0: 40})


@pytest.mark.parametrize(("policy", "start"), [("earliest", 0), ("latest", 50)])
async def test_a_new_group_decides_once_where_it_starts(kafka: Broker, topic: Topic, policy: str, start: int) -> None:
    """The start is committed before anything is read, so a second start does not decide again."""
    config = section(kafka, await topic(partitions=1), auto_offset_reset=policy)
    await produce(kafka, config.topic, numbered(0, 50))
    async with Reader(config) as reader:
        reader.keeping = True
        await until_committed(kafka, config, {0: start})
    await produce(kafka, config.topic, numbered(50, 60))
    async with Reader(config) as reader:
        await reader.until_read(60 - start)
        assert reader.offsets[0] == list(range(start, 60))
    assert reader.owner.assigned_to[0][:2] == (0, start)


async def test_a_restart_goes_on_behind_what_was_acked(kafka: Broker, topic: Topic) -> None:
    """What was handed over and not acked comes again, what was acked does not; closing commits at once."""
    config = section(kafka, await topic(partitions=1), max_poll_records=10, linger_ms=0)
    await produce(kafka, config.topic, numbered(0, 30))
    async with Reader(config) as reader:
        reader.keeping = True
        await reader.until_read(30)
        await reader.source.ack(reader.kept[0], DONE)
        end = reader.kept[0].next_offset
    assert await committed(kafka, config) == {0: end}
    async with Reader(config) as reader:
        await reader.until_read(30 - end)
        assert reader.offsets[0] == list(range(end, 30))


async def test_the_stores_position_counts_when_it_is_ahead(kafka: Broker, topic: Topic) -> None:
    """Stored but not committed: reading starts at the store's position, which is then committed."""
    config = section(kafka, await topic(partitions=1))
    await produce(kafka, config.topic, numbered(0, 30))
    async with Reader(config, Owner({0: 20})) as reader:
        await until_committed(kafka, config, {0: 30})
        assert reader.offsets[0] == list(range(20, 30))


async def test_a_cancelled_read_loses_nothing(kafka: Broker, topic: Topic) -> None:
    """`read` is cancelled while it lingers, with records already taken from the client: the next call hands them over."""
    config = section(kafka, await topic(partitions=1), linger_ms=1000)
    source = KafkaSource(config, Owner(), SystemClock(), Metrics())
    await source.open()
    try:
        reading = asyncio.create_task(source.read())
        await produce(kafka, config.topic, numbered(0, 7))
        await until(lambda: source._held)
        reading.cancel()
        await asyncio.wait({reading})
        assert reading.cancelled()
        async with asyncio.timeout(10):
            delivery = await source.read()
        assert delivery is not None
        assert delivery.records == numbered(0, 7)
    finally:
        await source.close()
    assert await source.read() is None


async def test_deliveries_are_no_larger_than_asked_for(kafka: Broker, topic: Topic) -> None:
    """`max_poll_records` bounds a delivery; `fetch_max_bytes` below a record's size still lets it through."""
    config = section(kafka, await topic(partitions=1), max_poll_records=3, fetch_max_bytes=1024)
    await produce(kafka, config.topic, [b"x" * 50_000, *numbered(1, 20)])
    async with Reader(config) as reader:
        await reader.until_read(20)
    assert max(len(delivery.records) for delivery in reader.deliveries) == 3
    assert reader.offsets[0] == list(range(20))


class LingeringClock(SystemClock):
    """A clock whose short waits last until the test ends them."""

    def __init__(self) -> None:
        self.lingering = asyncio.Event()
        self.enough = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """A linger waits for the test, anything else for its time."""
        if seconds == 0.25:
            self.lingering.set()
            await self.enough.wait()
        else:
            await super().sleep(seconds)


async def test_lingering_fills_a_delivery(kafka: Broker, topic: Topic) -> None:
    """Records that arrive while a delivery lingers for `linger_ms` are part of it."""
    config, clock = section(kafka, await topic(partitions=1), linger_ms=250), LingeringClock()
    await produce(kafka, config.topic, numbered(0, 1))
    source = KafkaSource(config, Owner(), clock, Metrics())
    await source.open()
    try:
        reading = asyncio.create_task(source.read())
        await clock.lingering.wait()
        await produce(kafka, config.topic, numbered(1, 5))
        client = source._group.consumer
        assert client is not None
        await until(lambda: client._fetcher._records)  # type: ignore[attr-defined]  # the client's own buffer
        clock.enough.set()
        delivery = await reading
        assert delivery is not None
        assert delivery.offsets.tolist() == [0, 1, 2, 3, 4]
    finally:
        await source.close()


async def test_tombstones_and_times_are_handed_over_as_they_are(kafka: Broker, topic: Topic) -> None:
    """A tombstone is None, the record's own time is kept, sizes count what is there."""
    config = section(kafka, await topic(partitions=1))
    await produce(kafka, config.topic, [None, b"abc"])
    async with Reader(config) as reader:
        await reader.until_read(2)
    assert reader.values[0] == [None, b"abc"]
    first = reader.deliveries[0]
    assert first.timestamps_ns[0] % 1_000_000 == 0
    assert abs(int(first.timestamps_ns[0]) - first.received_ns) < 60e9
    assert sum(delivery.size_bytes for delivery in reader.deliveries) == 3 + 2 * RECORD_BYTES


async def test_a_paused_source_stays_a_member_and_hands_over_nothing(kafka: Broker, topic: Topic) -> None:
    """Paused for longer than the session timeout and several polls: no record, no rebalance; resumed, everything comes."""
    config = section(kafka, await topic(partitions=2), session_timeout_ms=1000)
    async with Reader(config) as reader:
        await reader.until_restored(2)
        reader.source.pause()
        await produce(kafka, config.topic, numbered(0, 20), partition=1)
        await asyncio.sleep(2)  # the time itself is what is tested
        assert reader.count == 0
        assert reader.metric("rebalances_total", kind="revoked") == 0
        assert await members(kafka, config.group_id) == 1
        reader.source.resume()
        await reader.until_read(20)
        await until_committed(kafka, config, {0: 0, 1: 20})
    assert reader.metric("rebalances_total", kind="assigned") == 2


async def test_a_static_member_comes_back_without_a_rebalance(kafka: Broker, topic: Topic) -> None:
    """With `group_instance_id` a restart within the session timeout moves no partition of the other member."""
    config = section(kafka, await topic(partitions=2), session_timeout_ms=6_000)
    await produce(kafka, config.topic, numbered(0, 10), partition=0)
    await produce(kafka, config.topic, numbered(0, 10), partition=1)
    one, two = (config.model_copy(update={"group_instance_id": name}) for name in ("one", "two"))
    async with Reader(one) as stays:
        async with Reader(two) as goes:
            await stays.until_restored(1)
            await goes.until_restored(1)
            await until(lambda: stays.count + goes.count >= 20)
        moved = len(stays.owner.given_up)
        async with Reader(two) as back:
            await back.until_restored(1)
            assert len(stays.owner.given_up) == moved
            assert list(back.source._group.assignments) == list(goes.source._group.assignments)


async def members(broker: Broker, group: str) -> int:
    """How many members the broker counts."""
    async with admin(broker) as client:
        (answer,) = await client.describe_consumer_groups([group])
    return len(answer.groups[0][5])
