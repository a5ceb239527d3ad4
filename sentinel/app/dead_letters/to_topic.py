"""Replayed records go back to the topic, and to the partition, they came from."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.structs import RecordMetadata

from sentinel.app.dead_letters.letter import DeadLettersError
from sentinel.app.dead_letters.target import Outgoing, Target
from sentinel.config.schema import Kafka
from sentinel.core.timestamp import rfc3339
from sentinel.ingestion.kafka_client import client_options, starting
from sentinel.ingestion.kafka_producer import CONFIRM_LIMIT_MS, GRACE_S, TOO_LARGE

REPLAY_OF: Final = "sentinel-replay-of"
REPLAY_CODE: Final = "sentinel-replay-code"
REPLAYED_AT: Final = "sentinel-replayed-at"
_ROOM_BYTES: Final = 65_536
"""Headers and framing on top of a record."""


class TopicTarget:
    """The source topic. A record keeps its partition, key, time and headers; three headers more say what it is a replay of.

    Open it with `topic_target`.
    """

    def __init__(self, config: Kafka, producer: AIOKafkaProducer, now_ns: int) -> None:
        self._config = config
        self._producer = producer
        self._now = rfc3339(now_ns).encode()

    def unfit(self, outgoing: Outgoing) -> str | None:
        """A record that was in no topic was not sanitized for one either: a daemon does that."""
        if outgoing.original.partition is None:
            return f"it did not come from the topic {self._config.topic}: send it to a daemon with --to URL"
        return None

    async def send(self, batch: Sequence[Outgoing]) -> list[str | None]:
        """Produce in order and wait for the confirms of all in-sync replicas."""
        try:
            async with asyncio.timeout(CONFIRM_LIMIT_MS / 1e3 + GRACE_S):
                told = await self._produced(batch)
        except (KafkaError, TimeoutError) as error:
            raise DeadLettersError(
                f"the topic {self._config.topic} did not confirm replayed records: {error!r}. Some of them may be there; once the brokers "
                "are well, replay the same letters again: what arrives twice has the same event_id."
            ) from error
        # A batch is refused as a whole: alone, a record may pass.
        if len(batch) > 1:
            for position in [position for position, why in enumerate(told) if why is not None]:
                told[position] = (await self.send([batch[position]]))[0]
        return told

    async def _produced(self, batch: Sequence[Outgoing]) -> list[str | None]:
        """Why each record was too large, None for those that are durable. Raises KafkaError."""
        confirms: list[asyncio.Future[RecordMetadata] | None] = []
        try:
            for outgoing in batch:
                confirms += [await self._enqueued(outgoing)]  # one by one: an interrupt must find those before
            results = await asyncio.gather(*filter(None, confirms), return_exceptions=True)
        finally:
            for confirm in filter(None, confirms):  # when interrupted, nobody will ask for these any more
                if not confirm.cancel() and not confirm.cancelled():
                    confirm.exception()
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, TOO_LARGE):
                raise result
        refused = {confirm for confirm in filter(None, confirms) if confirm.exception() is not None}
        return [
            f"{len(outgoing.value):,} bytes are more than the topic {self._config.topic} takes"
            if confirm is None or confirm in refused
            else None
            for outgoing, confirm in zip(batch, confirms, strict=True)
        ]

    async def _enqueued(self, outgoing: Outgoing) -> "asyncio.Future[RecordMetadata] | None":
        """What will tell that a record is durable; None when the client itself finds it too large."""
        original, letter = outgoing.original, outgoing.letter
        told = [(REPLAY_OF, letter.id.encode()), (REPLAY_CODE, letter.code.encode()), (REPLAYED_AT, self._now)]
        try:
            return await self._producer.send(
                self._config.topic,
                outgoing.value,
                original.key,
                partition=original.partition,
                timestamp_ms=original.log_ns // 1_000_000,
                headers=[*original.headers, *told],
            )
        except MessageSizeTooLargeError:
            return None


@asynccontextmanager
async def topic_target(config: Kafka, max_record_bytes: int, now_ns: int) -> AsyncIterator[Target]:
    """The source topic, open for writing. Raises StartupError.

    Args:
        config: the `ingestion.kafka` section.
        max_record_bytes: the largest record that can be an event.
        now_ns: the time of the replay.
    """
    async with starting(config):
        producer = AIOKafkaProducer(
            acks="all",
            request_timeout_ms=CONFIRM_LIMIT_MS,
            max_request_size=2 * max_record_bytes + _ROOM_BYTES,
            **client_options(config),
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
    try:
        yield TopicTarget(config, producer, now_ns)
    finally:
        await producer.stop()
