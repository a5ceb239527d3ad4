"""The records of letters: read again from the source topic by partition and offset, else the copies in complete letters."""

from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from sentinel.app.backtest.topic import PATIENCE, POLL_MS, STOP_LIMIT_S
from sentinel.app.dead_letters.fate import Original
from sentinel.app.dead_letters.letter import DeadLettersError, Letter
from sentinel.config.schema import Kafka
from sentinel.ingestion.kafka_client import client_options, starting, stop, survey

NEAR: Final = 1_000
"""So many offsets ahead are reached by reading on; further ones by a jump."""

Found = tuple[list[Letter], Original | str]
"""Letters of one record, and the record or why there is none."""


def by_record(letters: Sequence[Letter]) -> Iterator[list[Letter]]:
    """The letters of each record, by log and offset. One that a crash has doubled is taken once."""
    once = {letter.id: letter for letter in letters}
    for _, same in groupby(sorted(once.values(), key=lambda letter: letter.order), key=lambda letter: letter.order[:-1]):
        yield list(same)


def kept(letters: Sequence[Letter]) -> list[Found]:
    """The copies in letters whose record is in no topic, each of its own event, where they are complete."""
    return [([letter], letter.incomplete or Original(letter.record.encode(), letter.received_ns)) for letter in letters]


@dataclass(slots=True)
class _Reach:
    """What a partition holds, offsets from `first` on and before `end`, and how far it was read.

    Attributes:
        ahead: records that were read and not asked for yet.
        at: the offset after them.
    """

    tp: TopicPartition
    first: int
    end: int
    ahead: deque[ConsumerRecord] = field(default_factory=deque)
    at: int = -2 * NEAR


class SourceTopic:
    """Reads single records of the configured topic, without a group: nothing is committed and nobody's partitions move.

    Open it with `source_topic`.
    """

    def __init__(self, config: Kafka, consumer: AIOKafkaConsumer, cluster: str, reaches: Sequence[_Reach]) -> None:
        self._config = config
        self._consumer = consumer
        self._cluster = cluster
        self._reaches = {reach.tp.partition: reach for reach in reaches}
        self._current: _Reach | None = None

    async def originals(self, letters: list[Letter]) -> list[Found]:
        """The record of letters that come in the order of `by_record`. Raises DeadLettersError when the brokers do not give it."""
        here = (letters[0].cluster, letters[0].topic) == (self._cluster, self._config.topic)
        return [(letters, await self._original(letters[0]))] if here else kept(letters)

    async def _original(self, letter: Letter) -> Original | str:
        """The record, or why there is none."""
        reach = self._reaches.get(letter.partition)
        if reach is None or letter.offset >= reach.end:
            return f"the topic {letter.topic} has no such partition and offset: it was made anew"
        if letter.offset < reach.first or (record := await self._record(reach, letter.offset)) is None:
            return f"its record is no longer in {letter.topic}: retention or compaction deleted it"
        log_ns = record.timestamp * 1_000_000 if record.timestamp >= 0 else letter.received_ns
        return Original(record.value, log_ns, letter.partition, record.key, record.headers)

    async def _record(self, reach: _Reach, offset: int) -> ConsumerRecord | None:
        """The record at an offset, not below those asked for before; None when there is none."""
        if self._current is not reach:
            self._current = reach
            self._consumer.assign([reach.tp])  # one at a time: of the others nothing is fetched
        waited = 0
        while waited <= PATIENCE:
            while reach.ahead and reach.ahead[0].offset < offset:
                reach.ahead.popleft()
            if reach.ahead:
                return reach.ahead[0] if reach.ahead[0].offset == offset else None
            if reach.at > offset:
                return None
            waited = 0 if await self._read_on(reach, offset) else waited + 1
        raise DeadLettersError(
            f"the topic {reach.tp.topic} does not give the record at offset {offset} of partition {reach.tp.partition}. "
            "Check that the brokers that lead its partitions are up, and try again."
        )

    async def _read_on(self, reach: _Reach, offset: int) -> bool:
        """Read more, from the offset itself when it is far ahead; whether that led anywhere."""
        if offset - reach.at > NEAR:
            self._consumer.seek(reach.tp, offset)
            reach.at = offset
        taken = await self._consumer.getmany(reach.tp, timeout_ms=POLL_MS)
        reach.ahead.extend(taken.get(reach.tp, ()))
        # Transactions leave offsets that hold no record, so the client's position tells how far we are.
        before, reach.at = reach.at, await self._consumer.position(reach.tp)
        return reach.at > before


@asynccontextmanager
async def source_topic(config: Kafka) -> AsyncIterator[SourceTopic]:
    """The configured topic, open for reading. Raises StartupError or DeadLettersError with place and cure."""
    async with starting(config):
        found = await survey(config)
        consumer = AIOKafkaConsumer(
            group_id=None,
            enable_auto_commit=False,
            # Where retention deletes while we read, the next record tells that this one is gone.
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=config.fetch_max_bytes,
            **client_options(config),
        )
    try:
        async with starting(config):
            await consumer.start()
            partitions = [TopicPartition(config.topic, number) for number in range(found.partitions)]
            first, end = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        yield SourceTopic(config, consumer, found.cluster, [_Reach(tp, first[tp], end[tp]) for tp in partitions])
    except KafkaError as error:
        raise DeadLettersError(
            f"cannot read the Kafka topic {config.topic}: {error!r}. Check ingestion.kafka and the topic's ACLs."
        ) from error
    finally:
        await stop(consumer, STOP_LIMIT_S)
