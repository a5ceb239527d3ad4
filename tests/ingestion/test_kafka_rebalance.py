"""Partitions that move between members: nothing lost, nothing of an old assignment counts, what fails is told."""

import asyncio
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import NewPartitions
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.protocol.group import LeaveGroupRequest
from kafka_bench import DONE, Owner, Reader, admin, committed, produce, section, until, until_committed

from sentinel.core.batch import PartitionId
from tools.servers.kafka import Broker

Topic = Callable[..., Awaitable[str]]


def numbered(first: int, end: int) -> list[bytes]:
    """Values that say which they are."""
    return [f"v{i}".encode() for i in range(first, end)]


def behind_acked(*readers: Reader) -> set[tuple[int, int]]:
    """All (partition, offset) that any of the readers got."""
    return {(partition, offset) for reader in readers for partition, offsets in reader.offsets.items() for offset in offsets}


async def test_partitions_move_and_nothing_is_lost_or_read_twice(kafka: Broker, topic: Topic) -> None:
    """A second member joins and leaves while records flow: every record is read, and, as all is acked, by one member once."""
    config = section(kafka, await topic())
    async with Reader(config) as one:
        await one.until_restored(4)
        await produce(kafka, config.topic, numbered(0, 400), partition=None)
        await one.until_read(400)
        async with Reader(config) as two:
            await one.until_restored(2)
            await two.until_restored(2)
            await produce(kafka, config.topic, numbered(400, 800), partition=None)
            await until(lambda: one.count + two.count >= 800)
        await one.until_restored(4)
        await produce(kafka, config.topic, numbered(800, 1200), partition=None)
        await until(lambda: one.count + two.count >= 1200)
        await until_committed(kafka, config, dict.fromkeys(range(4), 300))
    assert behind_acked(one, two) == {(partition, offset) for partition in range(4) for offset in range(300)}
    assert one.count + two.count == 1200
    assert two.count == 200
    assert one.owner.given_up[:4] == [0, 1, 2, 3]
    assert one.metric("kafka_consumer_lag", partition="0") == 0


async def test_acks_of_an_old_epoch_change_nothing(kafka: Broker, topic: Topic) -> None:
    """Deliveries of before a rebalance are acked after it, out of order: the commit stays where the new assignment is."""
    config = section(kafka, await topic(partitions=1), max_poll_records=10, linger_ms=0)
    await produce(kafka, config.topic, numbered(0, 30))
    async with Reader(config) as reader:
        reader.keeping = True
        await reader.until_read(30)
        old = list(reader.kept)
        await expel(kafka, reader)
        await until(lambda: reader.owner.given_up == [0])
        await reader.until_read(60)
        for delivery in old:
            await reader.source.ack(delivery, DONE)
        await reader.source._group.commit()
        assert await committed(kafka, config) == {0: 0}
        assert {delivery.epoch for delivery in old} == {1}
        assert {delivery.epoch for delivery in reader.kept[len(old) :]} == {2}
        for delivery in reader.kept[len(old) :]:
            await reader.source.ack(delivery, DONE)
        await until_committed(kafka, config, {0: 30})


async def test_what_waits_of_a_lost_partition_is_not_handed_over(kafka: Broker, topic: Topic) -> None:
    """Deliveries that wait behind a shut gate when their partition goes are dropped, and come again with the new epoch."""
    config = section(kafka, await topic(partitions=1), max_poll_records=5, linger_ms=0)
    async with Reader(config) as reader:
        await reader.until_restored(1)
        # Shut the gate and leave the client running: records are taken and must wait.
        reader.source._gate.shut()
        await produce(kafka, config.topic, numbered(0, 20))
        await until(lambda: reader.source._ready)
        await expel(kafka, reader)
        await until(lambda: reader.owner.given_up)
        await reader.until_restored(1)
        reader.source.resume()
        await reader.until_read(20)
        await until_committed(kafka, config, {0: 20})
        assert reader.offsets[0] == list(range(20))
        assert {delivery.epoch for delivery in reader.deliveries} == {2}


async def test_an_expelled_member_does_not_set_the_position_back(kafka: Broker, topic: Topic) -> None:
    """While we were away another member went on and left: our late commit must not pass, though the group is empty."""
    config = section(kafka, await topic(partitions=1), max_poll_records=10, linger_ms=0)
    await produce(kafka, config.topic, numbered(0, 30))
    async with Reader(config) as reader:
        reader.keeping = True
        await reader.until_read(30)
        await until_committed(kafka, config, {0: 0})
        await expel(kafka, reader, committing=20)
        await reader.source.ack(reader.kept[0], DONE)
        await until(lambda: reader.owner.given_up == [0])
        await reader.until_restored(1)
        assert reader.owner.assigned_to[-1][:2] == (0, 20)
        assert await committed(kafka, config) == {0: 20}


async def test_a_restore_that_fails_keeps_the_partition_paused_until_it_works(kafka: Broker, topic: Topic) -> None:
    """The owner raises for one partition: that one is a fault and not read, the other goes on; once it works all is read."""
    config = section(kafka, await topic(partitions=2))
    for partition in (0, 1):
        await produce(kafka, config.topic, numbered(0, 10), partition=partition)
    async with Reader(config, Owner(failures=[OSError("disk on fire")])) as reader:
        await reader.until_read(10)
        (fault,) = reader.source.faults.items()
        assert fault[0].endswith(f"/{config.topic}/0")
        assert fault[1] == "state not restored: disk on fire"
        assert 0 not in reader.values
        await reader.until_read(20)
        assert reader.source.faults == {}
        assert reader.offsets[0] == list(range(10))


class SlowOwner(Owner):
    """Takes its time to restore."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    async def assigned(self, source: PartitionId, committed: int | None, epoch: int, *, rereadable: bool = True) -> int | None:
        """Note it, and wait for the test."""
        start = await super().assigned(source, committed, epoch, rereadable=rereadable)
        await self.go_on.wait()
        return start


async def test_a_long_restore_costs_no_membership(kafka: Broker, topic: Topic) -> None:
    """Restoring for much longer than the session timeout: heartbeats go on, no rebalance, nothing is read before it is done."""
    config = section(kafka, await topic(partitions=1), session_timeout_ms=1000)
    await produce(kafka, config.topic, numbered(0, 10))
    owner = SlowOwner()
    async with Reader(config, owner) as reader:
        await asyncio.sleep(2)  # the time itself is what is tested
        assert owner.assigned_to == [(0, None, 1)]
        assert reader.count == 0
        assert reader.source.faults == {}
        owner.go_on.set()
        await reader.until_read(10)
        assert owner.given_up == []


async def test_a_rebalance_ends_a_restore_under_way(kafka: Broker, topic: Topic) -> None:
    """The partition goes while its state is being restored: the old restore ends, only the new one counts."""
    config = section(kafka, await topic(partitions=1))
    await produce(kafka, config.topic, numbered(0, 10))
    owner = SlowOwner()
    async with Reader(config, owner) as reader:
        await until(lambda: len(owner.assigned_to) == 1)
        await expel(kafka, reader)
        await until(lambda: len(owner.assigned_to) == 2)
        owner.go_on.set()
        await reader.until_read(10)
        assert {delivery.epoch for delivery in reader.deliveries} == {2}
        assert len(owner.assigned_to) == 2


async def test_a_forgetful_owner_does_not_stop_the_rebalance(kafka: Broker, topic: Topic) -> None:
    """`revoked` raises for a partition: the others are given up all the same, and all come back."""

    class Stubborn(Owner):
        async def revoked(self, source: PartitionId) -> None:
            await super().revoked(source)
            if source.partition == 0:
                raise OSError("no")

    config = section(kafka, await topic(partitions=2))
    async with Reader(config, Stubborn()) as reader:
        await reader.until_restored(2)
        await expel(kafka, reader)
        await until(lambda: reader.owner.given_up == [0, 1])
        await reader.until_restored(2)
        await produce(kafka, config.topic, numbered(0, 10), partition=1)
        await reader.until_read(10)


async def test_a_partition_added_later_is_read_from_its_first_record(kafka: Broker, topic: Topic) -> None:
    """The topic grows under a group that starts at `latest`: what was produced before we noticed is not skipped."""
    config = section(kafka, await topic(partitions=1), auto_offset_reset="latest")
    async with Reader(config) as reader:
        await reader.until_restored(1)
        async with admin(kafka) as client:
            await client.create_partitions({config.topic: NewPartitions(2)})
        await produce(kafka, config.topic, numbered(0, 10), partition=1)
        consumer = reader.source._group.consumer
        assert consumer is not None
        await consumer._client.force_metadata_update()  # type: ignore[attr-defined]  # by itself within METADATA_MAX_AGE_MS
        await reader.until_read(10)
        assert reader.offsets == {1: list(range(10))}
    async with admin(kafka) as client:
        await client.create_partitions({config.topic: NewPartitions(3)})
    await produce(kafka, config.topic, numbered(0, 5), partition=2)
    async with Reader(config) as reader:
        await reader.until_read(5)
        assert reader.offsets == {2: list(range(5))}


async def expel(broker: Broker, reader: Reader, committing: int | None = None) -> None:
    """Make the broker forget the member, as it does after a silence; it notices at its next heartbeat.

    Args:
        broker: the group's.
        reader: whose source is expelled.
        committing: a position of partition 0 that another member left behind meanwhile.
    """
    consumer = reader.source._group.consumer
    assert consumer is not None
    coordinator = consumer._coordinator
    client = AIOKafkaClient(bootstrap_servers=broker.bootstrap)
    await client.bootstrap()
    try:
        request = LeaveGroupRequest(reader.config.group_id, coordinator.member_id)
        answer = await client.send(coordinator.coordinator_id, request, group=ConnectionGroup.DEFAULT)
        assert answer.error_code == 0
    finally:
        await client.close()
    if committing is not None:
        other = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, group_id=reader.config.group_id, enable_auto_commit=False)
        other.assign([TopicPartition(reader.config.topic, 0)])
        await other.start()
        await other.commit({TopicPartition(reader.config.topic, 0): committing})
        await other.stop()
