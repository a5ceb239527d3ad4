"""Kafka seen from beside: all records of a topic, all dead letters, and what the group has committed at every moment."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

LOOK_EVERY_S = 0.1


class Message(NamedTuple):
    """One record as it lies in the log."""

    offset: int
    timestamp_ms: int
    value: bytes | None


Log = dict[int, list[Message]]
"""By partition its records, in order."""


async def cluster_of(bootstrap: str) -> str:
    """The cluster's id."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        return str((await admin.describe_cluster())["cluster_id"])
    finally:
        await admin.close()


async def dump(bootstrap: str, topic: str) -> Log:
    """Every record of a topic that nobody writes to any more."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=None)
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        log: Log = {place.partition: [] for place in sorted(ends)}
        while any((log[place.partition][-1].offset + 1 if log[place.partition] else 0) < end for place, end in ends.items()):
            for place, records in (await consumer.getmany(timeout_ms=500)).items():
                log[place.partition] += [Message(record.offset, record.timestamp, record.value) for record in records]
        return log
    finally:
        await consumer.stop()


async def dead_letters(bootstrap: str, topic: str) -> Counter[tuple[int, int, str]]:
    """Partition, offset and code of every dead letter, and how often it is there."""
    log = await dump(bootstrap, topic)
    letters = (json.loads(message.value or b"") for messages in log.values() for message in messages)
    return Counter((letter["partition"], letter["offset"], letter["code"]) for letter in letters)


@dataclass
class Commits:
    """What a group has committed, looked at again and again.

    Attributes:
        latest: by partition, the offset.
        regressions: partition, offset before, lower offset after.
        longest_s: the longest time in which a partition that had records waiting did not move, in seconds.
        looks: how often it was looked.
    """

    latest: dict[int, int] = field(default_factory=dict)
    regressions: list[tuple[int, int, int]] = field(default_factory=list)
    longest_s: float = 0.0
    looks: int = 0
    _moved_at: dict[int, float] = field(default_factory=dict)

    def see(self, now: float, found: dict[int, int]) -> None:
        """One look."""
        self.looks += 1
        for partition, offset in found.items():
            before = self.latest.get(partition)
            if before is not None and offset < before:
                self.regressions.append((partition, before, offset))
            if before is None or offset != before:
                if before is not None:
                    self.longest_s = max(self.longest_s, now - self._moved_at[partition])
                self._moved_at[partition] = now
        self.latest |= found


@asynccontextmanager
async def watched(bootstrap: str, group: str) -> AsyncIterator[Commits]:
    """Looks at a group's committed offsets while the block runs."""
    commits = Commits()
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()

    async def go_on() -> None:
        while True:
            try:
                found = await admin.list_consumer_group_offsets(group)
            except KafkaError:
                found = {}
            commits.see(time.monotonic(), {place.partition: told.offset for place, told in found.items() if told.offset >= 0})
            await asyncio.sleep(LOOK_EVERY_S)

    looking = asyncio.create_task(go_on())
    try:
        yield commits
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await admin.close()
