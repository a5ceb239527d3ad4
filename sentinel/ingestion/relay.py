"""HTTP input on a daemon with Kafka: sanitized, then produced to the topic, and only then acknowledged."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from sentinel.config.schema import Kafka
from sentinel.core.batch import CleanBatch, DeadLetter, Delivery, PartitionId
from sentinel.core.errors import FullError
from sentinel.core.ports import Clock, Outcome, Sink
from sentinel.ingestion.encode import flat
from sentinel.ingestion.kafka_client import client_options, starting

RELAY_LOG = PartitionId("embedded", "http", 0)

Clean = Callable[[Delivery], tuple[CleanBatch, list[DeadLetter], int]]


class KafkaRelay:
    """Takes records over HTTP and makes them durable in the topic. It keeps nothing: a crash loses only what was not answered.

    Args:
        config: the `ingestion.kafka` section.
        clean: decodes, validates and sanitizes a delivery: events, dead letters, number of spans left out.
        dead_letters: where the unusable go.
        clock: stamps records.
        max_bytes: bytes that may await their confirm; beyond them `submit` raises FullError.
    """

    def __init__(self, config: Kafka, clean: Clean, dead_letters: Sink[DeadLetter], clock: Clock, max_bytes: int) -> None:
        self._config = config
        self._clean = clean
        self._dead_letters = dead_letters
        self._clock = clock
        self._max_bytes = max_bytes
        self._producer: AIOKafkaProducer | None = None
        self.queue_bytes = 0

    async def open(self) -> None:
        """Connect. Raises StartupError."""
        async with starting(self._config):
            self._producer = AIOKafkaProducer(
                acks="all", enable_idempotence=True, linger_ms=int(self._config.linger_ms), **client_options(self._config)
            )
            await self._producer.start()

    async def submit(self, records: Sequence[bytes]) -> Outcome:
        """Produce what can be events, dead-letter the rest, and wait for both to be confirmed.

        Raises:
            FullError: no room, or the brokers do not confirm. What was produced before may be there: sending it again with the same
                event ids is harmless.
        """
        size = sum(map(len, records))
        if self._producer is None or (self.queue_bytes and self.queue_bytes + size > self._max_bytes):
            raise FullError("the ingest queue is full", 1.0)
        self.queue_bytes += size
        try:
            return await self._produce(self._producer, self._delivery(records, size))
        except KafkaError as error:
            raise FullError(f"Kafka did not confirm: {type(error).__name__}", 5.0) from error
        finally:
            self.queue_bytes -= size

    async def _produce(self, producer: AIOKafkaProducer, delivery: Delivery) -> Outcome:
        batch, letters, filtered = await asyncio.to_thread(self._clean, delivery)
        if letters:
            await self._dead_letters.write(letters)
        # An id of our own makes the producer's retries and a second reading of the topic harmless.
        batch = replace(batch, event_ids=[event_id or uuid.uuid4().hex for event_id in batch.event_ids])
        keys = [f"{key.service}:{key.model}".encode() for key in batch.names]
        series = batch.series.tolist()
        topic = self._config.topic
        confirms = [await producer.send(topic, event, keys[series[i]]) for i, event in enumerate(flat(batch))]
        await asyncio.gather(*confirms)
        return Outcome(len(batch), letters, 0, filtered)

    def _delivery(self, records: Sequence[bytes], size: int) -> Delivery:
        now_ns, n = self._clock.now_ns(), len(records)
        return Delivery(RELAY_LOG, records, np.arange(n, dtype=np.int64), np.full(n, now_ns, np.int64), now_ns, 0, size)

    async def close(self) -> None:
        """Send what is left and disconnect."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await producer.stop()
