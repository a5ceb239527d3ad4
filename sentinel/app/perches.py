"""Where canaries are let go: the Kafka topic we read, or the queue of HTTP input."""

from typing import Final

from aiokafka.errors import KafkaError

from sentinel.config.schema import Kafka
from sentinel.core.batch import PartitionId
from sentinel.core.canary import CANARY
from sentinel.core.errors import RetryableError
from sentinel.ingestion.kafka_client import starting
from sentinel.ingestion.kafka_producer import ConfirmedProducer
from sentinel.ingestion.queue import QueueSource

_KEY: Final = CANARY.service.encode()


class TopicPerch:
    """The source topic: a canary goes into the very partition it is for, whatever its key.

    Args:
        config: the `ingestion.kafka` section.
    """

    def __init__(self, config: Kafka) -> None:
        self._config = config
        self._producer = ConfirmedProducer(config)

    async def open(self) -> None:
        """Connect. Raises StartupError."""
        async with starting(self._config):
            await self._producer.open()

    async def send(self, to: PartitionId, record: bytes) -> None:
        """Produce it and wait for the confirm. Raises RetryableError."""
        try:
            refused = await self._producer.produce(self._config.topic, [(_KEY, record)], to.partition)
        except KafkaError as error:
            raise RetryableError(
                f"Kafka did not confirm it: {type(error).__name__}; see that we may write to {self._config.topic}"
            ) from error
        if refused:
            raise RetryableError(f"{len(record)} bytes are more than the topic {self._config.topic} takes")

    async def close(self) -> None:
        """Disconnect. Twice is harmless."""
        await self._producer.close()


class QueuePerch:
    """The queue of HTTP input in embedded mode."""

    def __init__(self, queue: QueueSource) -> None:
        self._queue = queue

    async def open(self) -> None:
        """Nothing to open."""

    async def send(self, to: PartitionId, record: bytes) -> None:
        """Hand it in and wait until it is stored. Raises FullError, RetryableError."""
        del to
        await self._queue.submit([record])

    async def close(self) -> None:
        """Nothing to close."""
