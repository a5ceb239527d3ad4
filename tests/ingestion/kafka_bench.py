"""What the tests against a real broker share: producing, an owner that notes, a reader that acks, and a look at what is committed."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Self
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from sentinel.app.clock import SystemClock
from sentinel.config.schema import Kafka
from sentinel.core.batch import PartitionId
from sentinel.core.delivery import Delivery
from sentinel.core.ports import Outcome
from sentinel.ingestion.kafka import KafkaSource
from sentinel.observability.metrics import Metrics
from tools.servers.kafka import Broker

DONE = Outcome(0, (), 0, 0)
LIMIT_S = 30.0


def section(broker: Broker, topic: str, **settings: Any) -> Kafka:
    """The `ingestion.kafka` section for a topic, with a group of its own that starts at the beginning; members notice within a second."""
    mine = {"brokers": [broker.bootstrap], "topic": topic, "group_id": f"g-{uuid4().hex}", "dead_letter_topic": f"{topic}.dlq"}
    return Kafka(**mine | {"auto_offset_reset": "earliest", "session_timeout_ms": 3_000} | settings)


async def until(condition: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    """Wait for something that must come true."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110  most conditions are a broker's
            await asyncio.sleep(0.01)


class QuickClock(SystemClock):
    """The machine's clock, but waits of a second and more take a tenth."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds / 10 if seconds >= 1 else seconds)


@asynccontextmanager
async def admin(broker: Broker) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client."""
    client = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def produce(broker: Broker, topic: str, values: Iterable[bytes | None], partition: int | None = 0, **options: Any) -> None:
    """Write the values, all confirmed; with partition None they go around all four."""
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, **options) as producer:
        sent = [
            await producer.send(topic, value, b"k", partition=i % 4 if partition is None else partition) for i, value in enumerate(values)
        ]
        await asyncio.gather(*sent)


async def committed(broker: Broker, config: Kafka) -> dict[int, int]:
    """What the group has committed, by partition."""
    async with admin(broker) as client:
        found = await client.list_consumer_group_offsets(config.group_id)
    return {tp.partition: position.offset for tp, position in found.items() if tp.topic == config.topic}


async def until_committed(broker: Broker, config: Kafka, expected: dict[int, int]) -> None:
    """Wait for exactly these commits."""
    found: dict[int, int] = {}
    try:
        async with asyncio.timeout(LIMIT_S):
            while (found := await committed(broker, config)) != expected:  # noqa: ASYNC110  it is the broker's
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"committed {found}, expected {expected}") from None


async def dump(broker: Broker, topic: str, partitions: int = 1) -> list[tuple[bytes | None, bytes | None]]:
    """Everything a topic holds, as key and value."""
    tps = [TopicPartition(topic, partition) for partition in range(partitions)]
    found: list[tuple[bytes | None, bytes | None]] = []
    async with AIOKafkaConsumer(bootstrap_servers=broker.bootstrap) as consumer:
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        for tp, first in (await consumer.beginning_offsets(tps)).items():
            consumer.seek(tp, first)
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += [(record.key, record.value) for record in records]
    return found


class Owner:
    """A `PartitionOwner` that notes what it is told.

    Attributes:
        positions: what the store would know, by partition.
        failures: raised by the next calls of `assigned`.
        assigned_to, given_up: the calls, as (partition, committed, epoch) and partition.
    """

    def __init__(self, positions: dict[int, int] | None = None, failures: list[Exception] | None = None) -> None:
        self.positions = positions or {}
        self.failures = failures or []
        self.assigned_to: list[tuple[int, int | None, int]] = []
        self.given_up: list[int] = []

    async def assigned(self, source: PartitionId, committed: int | None, epoch: int, *, rereadable: bool = True) -> int | None:
        """Note it, and go on behind what is known."""
        assert rereadable
        self.assigned_to.append((source.partition, committed, epoch))
        if self.failures:
            raise self.failures.pop(0)
        known = [offset for offset in (self.positions.get(source.partition), committed) if offset is not None]
        return max(known) if known else None

    async def revoked(self, source: PartitionId) -> None:
        """Note it."""
        self.given_up.append(source.partition)


class Reader:
    """Reads a source in a task of its own and acks, unless told to keep the acks back.

    Attributes:
        values: what came, by partition; deliveries: all deliveries in order.
        kept: deliveries not acked, while `keeping`.
    """

    def __init__(self, config: Kafka, owner: Owner | None = None) -> None:
        self.config = config
        self.owner = owner or Owner()
        self.metrics = Metrics()
        self.source = KafkaSource(config, self.owner, QuickClock(), self.metrics)
        self.values: dict[int, list[bytes | None]] = defaultdict(list)
        self.offsets: dict[int, list[int]] = defaultdict(list)
        self.deliveries: list[Delivery] = []
        self.keeping = False
        self.kept: list[Delivery] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Join and read; what went wrong while joining closes the source again, as the daemon does."""
        try:
            await self.source.open()
        except BaseException:
            await self.source.close()
            raise
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop as the pipeline does: cancel the read, then close."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self.source.close()
        if self._task is not None and not self._task.cancelled():
            self._task.result()

    async def _read(self) -> None:
        while (delivery := await self.source.read()) is not None:
            self.deliveries.append(delivery)
            self.values[delivery.source.partition] += delivery.records
            self.offsets[delivery.source.partition] += delivery.offsets.tolist()
            if self.keeping:
                self.kept.append(delivery)
            else:
                await self.source.ack(delivery, DONE)

    @property
    def count(self) -> int:
        """Records read so far."""
        return sum(map(len, self.values.values()))

    async def until_read(self, count: int) -> None:
        """Wait until so many records came."""
        await until(lambda: self.count >= count)

    async def until_restored(self, partitions: int) -> None:
        """Wait until so many partitions are ours and read."""
        group = self.source._group
        await until(lambda: len(group.assignments) == partitions and all(a.is_readable for a in group.assignments.values()))

    def metric(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.metrics.registry.get_sample_value(f"sentinel_{name}", labels) or 0.0
