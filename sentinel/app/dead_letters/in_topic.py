"""Dead letters in their Kafka topic: read without a group, deleted by offset."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaError

from sentinel.app.backtest.inputs import Span
from sentinel.app.backtest.topic import STOP_LIMIT_S, TopicInput, offsets_at
from sentinel.app.dead_letters.letter import DeadLettersError, Letter, read_letter
from sentinel.config.schema import Kafka
from sentinel.core.delivery import Delivery
from sentinel.ingestion.kafka_client import client_options, starting, stop, survey

REQUEST_LIMIT_MS: Final = 30_000


class LetterTopic:
    """The letters of all daemons that write to one dead-letter topic.

    Args:
        config: the `ingestion.kafka` section.
    """

    def __init__(self, config: Kafka) -> None:
        self._config = config.model_copy(update={"topic": config.dead_letter_topic})
        self.name = f"the Kafka topic {config.dead_letter_topic}"

    def read(self, start_ns: int | None) -> Iterator[tuple[Letter | None, float]]:
        """The letters up to where the topic ends now. A letter is written after its record was received, never before."""
        for part in TopicInput(self._config, Span(start_ns), time.time_ns()).parts():
            if isinstance(part.events, Delivery):
                for value in part.events.records:
                    yield None if value is None else read_letter(value), part.read

    def purge(self, before_ns: int | None) -> int:
        """Let the brokers delete from the beginning of each partition, by the log's own times."""
        try:
            return asyncio.run(self._purge(before_ns))
        except KafkaError as error:
            raise DeadLettersError(
                f"the brokers let nothing be deleted in {self.name}: {error!r}. "
                "Check the ACL Delete on the topic, and that its cleanup.policy holds `delete`."
            ) from error

    async def _purge(self, before_ns: int | None) -> int:
        config = self._config
        async with AsyncExitStack() as opened:
            async with starting(config):
                found = await survey(config)
                options = client_options(config)
                consumer = AIOKafkaConsumer(group_id=None, enable_auto_commit=False, **options)
                opened.push_async_callback(stop, consumer, STOP_LIMIT_S)
                await consumer.start()
                admin = AIOKafkaAdminClient(request_timeout_ms=REQUEST_LIMIT_MS, **options)
                opened.push_async_callback(admin.close)
                await admin.start()
            partitions = [TopicPartition(config.topic, number) for number in range(found.partitions)]
            first, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
            if before_ns is not None:
                ends |= await offsets_at(consumer, partitions, before_ns)
            gone = {tp: ends[tp] - first[tp] for tp in partitions if ends[tp] > first[tp]}
            if gone:
                await admin.delete_records({tp: RecordsToDelete(ends[tp]) for tp in gone})
            return sum(gone.values())
