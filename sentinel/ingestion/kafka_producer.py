"""A producer that returns when all in-sync replicas have every record, and says which records a topic cannot take."""

import asyncio
from collections.abc import Sequence
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError, RecordListTooLargeError
from aiokafka.structs import RecordMetadata

from sentinel.config.schema import Kafka
from sentinel.ingestion.kafka_client import client_options
from sentinel.observability.logs import get

CONFIRM_LIMIT_MS: Final = 10_000
"""Records that are not confirmed by then are given up, and told to the caller."""

GRACE_S: Final = 5.0
"""On top of it: the client looks at its deadline only now and then."""

BATCH_BYTES: Final = 131_072

TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)

Keyed = tuple[bytes, bytes]
"""A record's key and value."""

log = get(__name__)


class ConfirmedProducer:
    """Produces and waits for the confirms.

    It is not idempotent in Kafka's sense: the client would then retry without end, and neither a write nor a stop could give up while
    the brokers are away. What we produce carries an id or a key by which a repeat is told.

    Args:
        config: the `ingestion.kafka` section.
        linger_ms: how long records wait for others to share a request, in milliseconds.
    """

    def __init__(self, config: Kafka, linger_ms: float = 0.0) -> None:
        self._config = config
        self._linger_ms = linger_ms
        self._producer: AIOKafkaProducer | None = None

    @property
    def is_open(self) -> bool:
        """Whether it was opened and not closed."""
        return self._producer is not None

    async def open(self) -> None:
        """Connect. Raises KafkaError or StartupError."""
        self._producer = AIOKafkaProducer(
            acks="all",
            linger_ms=self._linger_ms,
            max_batch_size=BATCH_BYTES,
            request_timeout_ms=CONFIRM_LIMIT_MS,
            **client_options(self._config),
        )
        await self._producer.start()

    async def produce(self, topic: str, records: Sequence[Keyed], partition: int | None = None) -> list[int]:
        """Produce all records and wait until they are confirmed.

        Args:
            topic: where to.
            records: keys and values.
            partition: the one all of them go to; None = by their keys.

        Returns:
            The positions of records that are too large for the topic; the others are durable.

        Raises:
            KafkaError: a confirm is missing; some of the records may be durable.
        """
        if self._producer is None:
            raise KafkaError("the producer is not open")
        try:
            async with asyncio.timeout(CONFIRM_LIMIT_MS / 1e3 + GRACE_S):
                results = await self._send_all(self._producer, topic, records, partition)
        except TimeoutError as error:
            raise KafkaTimeoutError(f"not confirmed within {CONFIRM_LIMIT_MS / 1e3 + GRACE_S:g} s") from error
        refused = []
        for position, result in enumerate(results):
            if isinstance(result, TOO_LARGE):
                refused.append(position)
            elif isinstance(result, BaseException):
                raise result
        # A batch is refused as a whole: alone, a record may pass.
        return [position for position in refused if len(records) == 1 or await self.produce(topic, [records[position]], partition)]

    async def _send_all(
        self, producer: AIOKafkaProducer, topic: str, records: Sequence[Keyed], partition: int | None
    ) -> list[RecordMetadata | BaseException]:
        """What became of each record, in order."""
        confirms: list[asyncio.Future[RecordMetadata]] = []
        try:
            for key, value in records:
                confirms.append(await self._send(producer, topic, key, value, partition))
            return await asyncio.gather(*confirms, return_exceptions=True)
        finally:
            for confirm in confirms:  # when interrupted, nobody will ask for these any more
                if not confirm.cancel() and not confirm.cancelled():
                    confirm.exception()

    @staticmethod
    async def _send(
        producer: AIOKafkaProducer, topic: str, key: bytes, value: bytes, partition: int | None
    ) -> "asyncio.Future[RecordMetadata]":
        try:
            return await producer.send(topic, value, key, partition)
        except MessageSizeTooLargeError as error:
            refused: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
            refused.set_exception(error)
            return refused

    async def close(self) -> None:
        """Send what is left and disconnect, within bounds. Twice is harmless."""
        if self._producer is None:
            return
        producer, self._producer = self._producer, None
        try:
            async with asyncio.timeout(CONFIRM_LIMIT_MS / 1e3 + GRACE_S):
                await producer.stop()
        except TimeoutError:
            log.warning("the producer did not stop in time", brokers=self._config.brokers)
