"""HTTP input on a daemon with Kafka: sanitized, then produced to the topic, and only then acknowledged."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from aiokafka.errors import KafkaError

from sentinel.config.schema import Kafka
from sentinel.core.batch import CleanBatch, PartitionId
from sentinel.core.delivery import Delivery
from sentinel.core.errors import FullError, RejectCode, RetryableError
from sentinel.core.ports import Clock, Outcome, Sink
from sentinel.core.reject import DeadLetter
from sentinel.ingestion.encode import flat
from sentinel.ingestion.kafka_client import starting
from sentinel.ingestion.kafka_producer import ConfirmedProducer, Keyed

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
        self._producer = ConfirmedProducer(config, config.linger_ms)
        self._next_offset = clock.now_ns() // 1_000
        """Numbers the records of all requests; from the time in microseconds on, so that no number comes again after a restart."""
        self.queue_bytes = 0

    async def open(self) -> None:
        """Connect. Raises StartupError."""
        async with starting(self._config):
            await self._producer.open()

    async def submit(self, records: Sequence[bytes]) -> Outcome:
        """Produce what can be events, dead-letter the rest, and wait for both to be confirmed.

        Raises:
            FullError: no room.
            RetryableError: the brokers do not confirm. What was produced before may be there: sending it again with the same event ids
                is harmless.
        """
        size = sum(map(len, records))
        if not self._producer.is_open or (self.queue_bytes and self.queue_bytes + size > self._max_bytes):
            raise FullError("the ingest queue is full", 1.0)
        self.queue_bytes += size
        try:
            return await self._produce(self._delivery(records, size))
        except KafkaError as error:
            raise RetryableError(f"Kafka did not confirm: {type(error).__name__}", 5.0) from error
        finally:
            self.queue_bytes -= size

    async def _produce(self, delivery: Delivery) -> Outcome:
        batch, letters, filtered = await asyncio.to_thread(self._clean, delivery)
        if letters:  # first: a letter that is written twice harms less than an event that got another id
            await self._dead_letters.write(letters)
        # An id of our own makes the producer's retries and a second reading of the topic harmless.
        batch = replace(batch, event_ids=[event_id or uuid.uuid4().hex for event_id in batch.event_ids])
        records = _keyed(batch)
        refused = await self._producer.produce(self._config.topic, records) if records else []
        too_large = [self._too_large(batch, position, records[position][1]) for position in refused]
        if too_large:
            await self._dead_letters.write(too_large)
        return Outcome(len(batch) - len(refused), [*letters, *too_large], 0, filtered)

    def _delivery(self, records: Sequence[bytes], size: int) -> Delivery:
        now_ns, n = self._clock.now_ns(), len(records)
        offsets = np.arange(self._next_offset, self._next_offset + n, dtype=np.int64)
        self._next_offset += n
        return Delivery(RELAY_LOG, records, offsets, np.full(n, now_ns, np.int64), now_ns, 0, size)

    @staticmethod
    def _too_large(batch: CleanBatch, position: int, value: bytes) -> DeadLetter:
        """An event the topic does not take. It is named by its size alone: its texts would be as long."""
        return DeadLetter(
            source=batch.source,
            offset=int(batch.offsets[position]),
            sub=int(batch.subs[position]),
            index=int(batch.index[position]),
            code=RejectCode.TOO_LARGE,
            detail=f"{len(value)} bytes, more than the topic takes",
            received_ns=batch.received_ns,
            record="",
            record_bytes=len(value),
        )

    async def close(self) -> None:
        """Send what is left and disconnect. Twice is harmless."""
        await self._producer.close()


def _keyed(batch: CleanBatch) -> list[Keyed]:
    """The events as records, keyed by series, so that one series stays in one partition and in order."""
    keys = [f"{key.service}:{key.model}".encode() for key in batch.names]
    return list(zip((keys[code] for code in batch.series.tolist()), flat(batch), strict=True))
