"""Logs that do not hold what we expect: deleted records, another log under the same name, batches that cannot be unpacked."""

from collections.abc import Awaitable, Callable

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from kafka_bench import DONE, Owner, Reader, admin, committed, produce, section, until, until_committed

from sentinel.ingestion import kafka as kafka_source
from sentinel.ingestion import kafka_assignment
from tools.servers.kafka import Broker

Topic = Callable[..., Awaitable[str]]


def numbered(first: int, end: int) -> list[bytes]:
    """Values that say which they are."""
    return [f"v{i}".encode() for i in range(first, end)]


async def delete_before(broker: Broker, topic: str, offset: int) -> None:
    """Delete the records of partition 0 before an offset."""
    async with admin(broker) as client:
        await client.delete_records({TopicPartition(topic, 0): RecordsToDelete(offset)})


async def test_records_deleted_while_we_were_away_are_a_counted_gap(kafka: Broker, topic: Topic) -> None:
    """Committed at 10, the first left is 25: 15 are counted, and reading goes on at 25, not at the end."""
    config = section(kafka, await topic(partitions=1), auto_offset_reset="latest")
    async with Reader(config) as reader:
        await reader.until_restored(1)
        await produce(kafka, config.topic, numbered(0, 10))
        await reader.until_read(10)
    await produce(kafka, config.topic, numbered(10, 40))
    await delete_before(kafka, config.topic, 25)
    async with Reader(config) as reader:
        await reader.until_read(15)
        assert reader.offsets[0] == list(range(25, 40))
        assert reader.metric("kafka_offset_gap_total") == 15
        assert reader.source.faults == {}
        await until_committed(kafka, config, {0: 40})


async def test_records_deleted_under_a_reader_are_a_counted_gap(kafka: Broker, topic: Topic) -> None:
    """Paused at 10 while the log is cut to 30 and then to its end: both gaps are counted once, and committed although nothing follows."""
    config = section(kafka, await topic(partitions=1))
    await produce(kafka, config.topic, numbered(0, 10))
    async with Reader(config) as reader:
        await reader.until_read(10)
        reader.source.pause()
        await produce(kafka, config.topic, numbered(10, 40))
        await delete_before(kafka, config.topic, 30)
        reader.source.resume()
        await reader.until_read(20)
        assert reader.offsets[0] == [*range(10), *range(30, 40)]
        assert reader.metric("kafka_offset_gap_total") == 20
        reader.source.pause()
        await produce(kafka, config.topic, numbered(40, 50))
        await delete_before(kafka, config.topic, 50)
        reader.source.resume()
        await until_committed(kafka, config, {0: 50})
        assert reader.metric("kafka_offset_gap_total") == 30
    async with Reader(config) as reader:
        await reader.until_restored(1)
        assert reader.metric("kafka_offset_gap_total") == 0


async def test_a_gap_is_not_committed_before_what_lies_in_front_of_it(kafka: Broker, topic: Topic) -> None:
    """Deliveries before the gap are not acked yet: the commit waits for them."""
    config = section(kafka, await topic(partitions=1))
    await produce(kafka, config.topic, numbered(0, 10))
    async with Reader(config) as reader:
        reader.keeping = True
        await reader.until_read(10)
        reader.source.pause()
        await produce(kafka, config.topic, numbered(10, 20))
        await delete_before(kafka, config.topic, 20)
        reader.source.resume()
        await until(lambda: reader.metric("kafka_offset_gap_total") == 10)
        await reader.source._group.commit()
        assert await committed(kafka, config) == {0: 0}
        for delivery in reader.kept:
            await reader.source.ack(delivery, DONE)
        await until_committed(kafka, config, {0: 20})


async def test_a_position_beyond_the_end_pauses_its_partition(kafka: Broker, topic: Topic) -> None:
    """The store knows offset 1,000 of a log that has 10: nothing of it is read, skipped or committed; the other partition goes on."""
    config = section(kafka, await topic(partitions=2), auto_offset_reset="latest")
    await produce(kafka, config.topic, numbered(0, 10), partition=0)
    async with Reader(config, Owner({0: 1000})) as reader:
        await until(lambda: reader.source.faults)
        await until_committed(kafka, config, {1: 0})
        ((partition, reason),) = reader.source.faults.items()
        assert partition.endswith(f"/{config.topic}/0")
        assert "position 1000 is beyond the end 10" in reason
        reader.source.pause()
        reader.source.resume()
        await produce(kafka, config.topic, numbered(0, 10), partition=1)
        await reader.until_read(10)
        assert reader.offsets == {1: list(range(10))}
        await until_committed(kafka, config, {1: 10})


async def test_a_topic_made_anew_under_a_reader_is_told(kafka: Broker, topic: Topic) -> None:
    """Deleted and created again while we read: the store's position is beyond the new end, which is a fault and never a reset."""
    config = section(kafka, await topic(partitions=1))
    await produce(kafka, config.topic, numbered(0, 50))
    owner = Owner()
    async with Reader(config, owner) as reader:
        await reader.until_read(50)
        owner.positions[0] = 50
        async with admin(kafka) as client:
            await client.delete_topics([config.topic])  # the broker makes it anew as soon as somebody asks for it
        await until(lambda: any("position 50 is beyond the end 0" in reason for reason in reader.source.faults.values()))
        assert reader.count == 50


async def test_records_that_cannot_be_unpacked_keep_only_their_partition(
    kafka: Broker, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A codec is missing: records before it and other partitions are read, the partition is a fault with the cure, later it goes on."""
    monkeypatch.setattr(kafka_source, "UNREADABLE_RETRY_S", 0.5)
    config = section(kafka, await topic(partitions=2))
    await produce(kafka, config.topic, numbered(0, 5), partition=0)
    await produce(kafka, config.topic, numbered(5, 10), partition=0, compression_type="lz4")
    await produce(kafka, config.topic, numbered(10, 15), partition=0)
    await produce(kafka, config.topic, numbered(0, 5), partition=1)
    with monkeypatch.context() as missing:
        missing.setattr("aiokafka.codec.has_lz4", lambda: False)
        async with Reader(config) as reader:
            await until(lambda: reader.source.faults)
            await reader.until_read(10)
            ((partition, reason),) = reader.source.faults.items()
            assert partition.endswith(f"/{config.topic}/0")
            assert "records from offset 5 on" in reason
            assert "llm-sentinel[codecs]" in reason
            assert reader.offsets == {0: list(range(5)), 1: list(range(5))}
            missing.undo()
            await reader.until_read(20)
            assert reader.offsets[0] == list(range(15))
            assert reader.source.faults == {}


async def test_a_client_that_ended_itself_is_replaced(kafka: Broker, topic: Topic) -> None:
    """The client's coordination dies of an unexpected error: the source joins anew by itself, and nothing is lost or doubled."""
    config = section(kafka, await topic(partitions=2))
    await produce(kafka, config.topic, numbered(0, 10), partition=1)
    async with Reader(config) as reader:
        await reader.until_read(10)
        await until_committed(kafka, config, {0: 0, 1: 10})
        consumer = reader.source._group.consumer
        assert consumer is not None

        async def fail(*_: object) -> None:
            raise RuntimeError("planted")

        consumer._coordinator.ensure_active_group = fail  # type: ignore[attr-defined]  # a fault in the library
        consumer._coordinator.request_rejoin()  # type: ignore[attr-defined]
        await until(lambda: reader.source._group.consumer not in {consumer, None})
        await produce(kafka, config.topic, numbered(10, 20), partition=1)
        await reader.until_read(20)
        assert reader.offsets[1] == list(range(20))


async def test_a_client_that_stopped_fetching_is_replaced(kafka: Broker, topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's fetching ends without a word: records that wait and do not come show it."""
    monkeypatch.setattr(kafka_assignment, "STALLED_LOOKS", 2)
    config = section(kafka, await topic(partitions=1))
    async with Reader(config) as reader:
        await reader.until_restored(1)
        consumer = reader.source._group.consumer
        assert consumer is not None
        consumer._fetcher._fetch_task.cancel()  # type: ignore[attr-defined]  # a fault in the library
        await produce(kafka, config.topic, numbered(0, 10))
        await reader.until_read(10)  # by the request that was under way
        await produce(kafka, config.topic, numbered(10, 20))
        await reader.until_read(20)
        assert reader.offsets[0] == list(range(20))
        assert reader.source._group.consumer is not consumer
