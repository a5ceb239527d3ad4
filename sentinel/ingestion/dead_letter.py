"""Where records go that cannot be events: a topic, or a file in embedded mode. Both take only redacted dead letters."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.structs import RecordMetadata

from sentinel.config.schema import Kafka
from sentinel.core.batch import DeadLetter
from sentinel.core.errors import RetryableError, StartupError
from sentinel.core.timestamp import rfc3339
from sentinel.ingestion.kafka_client import client_options, ensure_topic, starting


def encode(letter: DeadLetter) -> bytes:
    """One JSON object: what was wrong, where the record lies, and its redacted beginning."""
    return msgspec.json.encode(
        {
            "code": letter.code.value,
            "detail": letter.detail,
            "cluster": letter.source.cluster,
            "topic": letter.source.topic,
            "partition": letter.source.partition,
            "offset": letter.offset,
            "sub": letter.sub,
            "received_at": rfc3339(letter.received_ns),
            "record": letter.record,
            "record_bytes": letter.record_bytes,
        }
    )


class FileDeadLetters:
    """A `Sink` that appends JSON lines; at `max_bytes` the file becomes `<name>.1`, which replaces the one before."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._file: BinaryIO | None = None

    async def open(self) -> None:
        """Open for appending. Raises StartupError when the file cannot be written."""
        try:
            self._file = await asyncio.to_thread(self._path.open, "ab")
        except OSError as error:
            raise StartupError(
                f"cannot write {self._path}: {error.strerror}. Check ingestion.dead_letters.path and its permissions."
            ) from error

    async def write(self, items: Sequence[DeadLetter]) -> None:
        """Append and sync; raises RetryableError when the disk refuses."""
        await asyncio.to_thread(self._append, b"".join(encode(letter) + b"\n" for letter in items))

    def _append(self, lines: bytes) -> None:
        if self._file is None:
            raise RetryableError(f"{self._path} is not open")
        try:
            if self._file.tell() and self._file.tell() + len(lines) > self._max_bytes:
                self._file.close()
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                self._file = self._path.open("ab")
            self._file.write(lines)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise RetryableError(f"cannot write {self._path}: {error.strerror}. Free space or check its permissions.") from error

    async def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class KafkaDeadLetters:
    """A `Sink` on the dead-letter topic, keyed by where the record lies, so that repeats are told by key."""

    def __init__(self, config: Kafka) -> None:
        self._config = config
        self._producer: AIOKafkaProducer | None = None

    async def open(self) -> None:
        """Connect; the topic is created when it is missing. Raises StartupError."""
        async with starting(self._config):
            await ensure_topic(self._config, self._config.dead_letter_topic)
            self._producer = AIOKafkaProducer(acks="all", enable_idempotence=True, **client_options(self._config))
            await self._producer.start()

    async def write(self, items: Sequence[DeadLetter]) -> None:
        """Send and wait for the confirms; raises RetryableError when one is missing."""
        if self._producer is None:
            raise RetryableError("the dead-letter producer is not open")
        try:
            sent = [await self._send(self._producer, letter) for letter in items]
            await asyncio.gather(*sent)
        except KafkaError as error:
            raise RetryableError(f"dead-letter topic {self._config.dead_letter_topic}: {error!r}") from error

    async def _send(self, producer: AIOKafkaProducer, letter: DeadLetter) -> "asyncio.Future[RecordMetadata]":
        key = f"{letter.source}/{letter.offset}/{letter.sub}".encode()
        try:
            return await producer.send(self._config.dead_letter_topic, encode(letter), key)
        except MessageSizeTooLargeError:
            # Only the quoted record can be long; what was wrong and where it lies always fit.
            return await producer.send(self._config.dead_letter_topic, encode(replace(letter, record="")), key)

    async def close(self) -> None:
        """Send what is left and disconnect."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await producer.stop()
