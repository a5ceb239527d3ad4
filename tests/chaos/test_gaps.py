"""R9: the topic is not what it was: records are gone, partitions are added, another topic has its name."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.errors import KafkaError
from chaos_report import by_request, report
from chaos_topic import dump
from chaos_traffic import fleet_of
from chaos_world import PARTITIONS, World
from fault_traffic import until
from infrastructure import metric

pytestmark = [pytest.mark.slow, by_request]

MORE = 2 * PARTITIONS
AWAY_S = 10.0
GONE = 50
"""Records of each partition that are deleted before they could be read."""


async def test_records_deleted_while_all_were_away(worlds: Any) -> None:
    """R9: what was deleted below the committed offset is a gap with its exact ends in the log and in the metric, and all else is stored."""
    async with worlds(seed=90, replicas=2) as world:
        await world.start()
        async with world.traffic():
            await world.flows(5_000)
        await world.drained()
        assert set(await world.stop()) == {0}
        read = await dump(world.direct, world.servers.topic)
        ends = {partition: messages[-1].offset + 1 for partition, messages in read.items()}
        world.seed += 1
        async with world.traffic():
            await asyncio.sleep(AWAY_S)
        written = await dump(world.direct, world.servers.topic)
        cut = [partition for partition, end in ends.items() if written[partition][-1].offset >= end + GONE]
        async with _admin(world) as admin:
            deleted = {TopicPartition(world.servers.topic, partition): RecordsToDelete(ends[partition] + GONE) for partition in cut}
            await admin.delete_records(deleted)
        await world.start()
        await world.drained()
        counted, told = await asyncio.to_thread(_counted, world), _gaps(world)
        verdict = await world.verdict(before={partition: read[partition] for partition in cut})
    report("R9", f"{GONE} records deleted in {len(cut)} partitions: {counted:.0f} counted, {len(told)} gaps told; {verdict.figures()}")
    assert cut
    assert counted == GONE * len(cut)
    assert told == {(partition, ends[partition], ends[partition] + GONE) for partition in cut}
    assert not verdict.wrong


async def test_a_topic_that_grows(worlds: Any) -> None:
    """R9: from twelve partitions to twenty-four under load: all are read from their first record on, by whoever gets them."""
    async with worlds(seed=92, replicas=2) as world:
        await world.start()
        async with world.traffic():
            await world.flows()
            async with _admin(world) as admin:
                await admin.create_partitions({world.servers.topic: NewPartitions(MORE)})
            await world.flows()
        world.seed += 1
        # Its producer knows all of them. Other series: one in two partitions is one alert, told in the order in which they are read.
        async with world.traffic(fleet_of("later")):
            await until(lambda: len(world.commits.latest) == MORE, "new partitions are read", 180.0)
            await world.flows(2_000)
        verdict = await world.verdict()
        log = await dump(world.direct, world.servers.topic)
    used = [partition for partition, messages in log.items() if partition >= PARTITIONS and messages]
    report("R9", f"{PARTITIONS} to {len(log)} partitions under load, {len(used)} of the new ones with records; {verdict.figures()}")
    assert len(log) == MORE
    assert used
    assert {log[partition][0].offset for partition in used} == {0}
    assert not verdict.wrong


async def test_another_topic_of_the_same_name(worlds: Any) -> None:
    """R9: deleted and made anew under load: replicas live on and say why they are not ready; nothing is skipped or stored again."""
    async with worlds(seed=93, replicas=2) as world:
        await world.start()
        async with world.traffic():
            await world.flows(2_000)
        await world.drained()
        stored = await asyncio.to_thread(world.points.count)
        positions = await asyncio.to_thread(world.positions)
        async with _admin(world) as admin:
            await admin.delete_topics([world.servers.topic])
            with suppress(KafkaError):  # a replica that asks for it is enough for the broker to make it anew
                await admin.create_topics([NewTopic(world.servers.topic, PARTITIONS, 1)])
        await until(lambda: asyncio.to_thread(_told, world), "somebody says so", 120.0)
        alive = [await asyncio.to_thread(replica.status_of, "/health/live") for replica in world.replicas]
        after = await asyncio.to_thread(world.positions)
        codes = await world.stop()
        report("R9", f"another topic of the same name: live {alive}, told, {stored:,} points stay, exit codes {codes}")
        assert alive == [200, 200]
        assert after == positions
        assert await asyncio.to_thread(world.points.count) == stored
        assert codes == [0, 0]


@asynccontextmanager
async def _admin(world: World) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client."""
    client = AIOKafkaAdminClient(bootstrap_servers=world.direct)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


def _gaps(world: World) -> set[tuple[int, int, int]]:
    """Partition, first offset and the one behind the last of every gap that a replica told of in its log."""
    lines = [line for replica in world.replicas for line in (replica.file.parent / "sentinel.log").read_text().splitlines()]
    told = [json.loads(line) for line in lines if '"from_offset"' in line]
    return {(int(gap["partition"].rpartition("/")[2]), gap["from_offset"], gap["to_offset"]) for gap in told}


def _counted(world: World) -> float:
    """Records that replicas counted as gone."""
    return sum(metric(replica.text("/metrics"), "sentinel_kafka_offset_gap_total") for replica in world.replicas)


def _told(world: World) -> bool:
    """Whether a replica says that the log is another one."""
    return any("is beyond the end" in reason for replica in world.replicas for reason in world.reasons(replica))
