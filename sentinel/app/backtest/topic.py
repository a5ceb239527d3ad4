"""A range of a Kafka topic as an input: read without a group, so nothing is committed and nobody's partitions move."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol, cast

import numpy as np
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from sentinel.app.backtest.inputs import BacktestError, Part, Span
from sentinel.config.schema import Kafka
from sentinel.core.batch import PartitionId
from sentinel.core.delivery import Delivery, weight_bytes
from sentinel.ingestion.kafka_client import Survey, client_options, starting, stop, survey

POLL_MS: Final = 1_000
PATIENCE: Final = 30
"""So many polls in a row without a record that is known to exist are told as a failure."""
STOP_LIMIT_S: Final = 5.0


class _Found(Protocol):
    """What the brokers say of a time: the first record that is not older."""

    offset: int


class _Times(Protocol):
    """The part of the consumer that finds offsets by time."""

    def offsets_for_times(self, times: Mapping[TopicPartition, int]) -> Awaitable[Mapping[TopicPartition, _Found | None]]:
        """The first record of each partition that is not older than a time in milliseconds, None where there is none."""
        ...


@dataclass(slots=True)
class Stretch:
    """What is read of one partition: offsets from `next` on and before `end`.

    Attributes:
        reached_ms: the log's time of the last record read; the partition that is furthest behind is read next.
    """

    tp: TopicPartition
    next: int
    end: int
    reached_ms: int = -1

    @property
    def left(self) -> int:
        """Offsets still to come."""
        return max(self.end - self.next, 0)


class TopicInput:
    """The records of a topic from one time to another by the log's own clock, its partitions side by side in order of time.

    Args:
        config: the `ingestion.kafka` section.
        span: log times; the range ends at the latest where the partitions end now.
        now_ns: stands for the time of receipt.
    """

    def __init__(self, config: Kafka, span: Span, now_ns: int) -> None:
        self._config = config
        self._span = span
        self._now_ns = now_ns
        self.rereadable = True
        self.lacks: str | None = None
        self.name = f"the Kafka topic {config.topic}"

    def parts(self) -> Iterator[Part]:
        """The records, with the share of offsets read. Raises StartupError when no broker answers or the topic is missing."""
        parts = self._parts()
        with asyncio.Runner() as runner:
            try:
                while (part := runner.run(_next(parts))) is not None:
                    yield part
            finally:
                runner.run(_closed(parts))

    async def _parts(self) -> AsyncGenerator[Part, None]:
        async with self._consumer() as (consumer, cluster, stretches):
            total, waiting = max(sum(stretch.left for stretch in stretches), 1), 0
            while unread := [stretch for stretch in stretches if stretch.left]:
                behind = min(unread, key=lambda stretch: (stretch.reached_ms, stretch.tp.partition))
                records = await self._records(consumer, behind)
                waiting = 0 if records else waiting + 1
                if waiting > PATIENCE:
                    raise BacktestError(
                        f"{self.name} does not give its records from offset {behind.next} of partition {behind.tp.partition} on. "
                        "Check that the brokers that lead its partitions are up, and try again."
                    )
                if records:
                    share = 1 - sum(stretch.left for stretch in stretches) / total
                    yield Part(self._delivery(PartitionId(cluster, *behind.tp), records), share)

    async def _records(self, consumer: AIOKafkaConsumer, stretch: Stretch) -> Sequence[ConsumerRecord]:
        """The next records of a stretch; none when none came, or when what is left of it holds none."""
        taken = await consumer.getmany(stretch.tp, timeout_ms=POLL_MS, max_records=self._config.max_poll_records)
        records = [record for record in taken.get(stretch.tp, ()) if record.offset < stretch.end]
        if records:
            stretch.reached_ms = max(stretch.reached_ms, records[-1].timestamp)
        # Transactions leave offsets that hold no record, so the client's position tells how far we are.
        stretch.next = await consumer.position(stretch.tp)
        return records

    def _delivery(self, source: PartitionId, records: Sequence[ConsumerRecord]) -> Delivery:
        values = [record.value for record in records]
        log_ns = np.array([record.timestamp for record in records], np.int64) * 1_000_000
        return Delivery(
            source=source,
            records=values,
            offsets=np.array([record.offset for record in records], np.int64),
            timestamps_ns=np.where(log_ns < 0, self._now_ns, log_ns),
            received_ns=self._now_ns,
            epoch=0,
            size_bytes=weight_bytes(values),
        )

    @asynccontextmanager
    async def _consumer(self) -> AsyncIterator[tuple[AIOKafkaConsumer, str, list[Stretch]]]:
        """A consumer without a group that stands at the beginning of the range, the cluster's id, and what is to be read."""
        config = self._config
        async with starting(config):
            found = await survey(config)
            consumer = AIOKafkaConsumer(
                group_id=None, enable_auto_commit=False, max_partition_fetch_bytes=config.fetch_max_bytes, **client_options(config)
            )
        try:
            async with starting(config):
                await consumer.start()
                stretches = await self._stretches(consumer, found)
            yield consumer, found.cluster, stretches
        except KafkaError as error:
            raise BacktestError(f"cannot read {self.name}: {error!r}. Check ingestion.kafka and the topic's ACLs.") from error
        finally:
            await stop(consumer, STOP_LIMIT_S)

    async def _stretches(self, consumer: AIOKafkaConsumer, found: Survey) -> list[Stretch]:
        partitions = [TopicPartition(self._config.topic, number) for number in range(found.partitions)]
        consumer.assign(partitions)
        first, end = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        stretches = []
        starts, ends = (
            await offsets_at(consumer, partitions, self._span.start_ns),
            await offsets_at(consumer, partitions, self._span.end_ns),
        )
        for tp in partitions:
            begin = first[tp] if self._span.start_ns is None else starts.get(tp, end[tp])
            stretches.append(Stretch(tp, max(begin, first[tp]), min(ends.get(tp, end[tp]), end[tp])))
            consumer.seek(tp, stretches[-1].next)
        return stretches


async def offsets_at(consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], time_ns: int | None) -> dict[TopicPartition, int]:
    """The offset of each partition's first record that is not older than a time; those without one are left out."""
    if time_ns is None:
        return {}
    times = cast("_Times", consumer)  # the stub of the library leaves it out
    found = await times.offsets_for_times(dict.fromkeys(partitions, -(-time_ns // 1_000_000)))
    return {tp: at.offset for tp, at in found.items() if at is not None}


async def _next(parts: AsyncGenerator[Part, None]) -> Part | None:
    return await anext(parts, None)


async def _closed(parts: AsyncGenerator[Part, None]) -> None:
    await parts.aclose()
