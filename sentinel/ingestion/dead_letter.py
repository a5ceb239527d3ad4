"""Where records go that cannot be events: a topic, or a file in embedded mode. Both take only redacted dead letters."""

import asyncio
import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from io import FileIO
from pathlib import Path

import msgspec
from aiokafka.errors import KafkaError

from sentinel.config.schema import Kafka
from sentinel.core.errors import RetryableError, StartupError
from sentinel.core.reject import DeadLetter
from sentinel.core.timestamp import rfc3339
from sentinel.ingestion.kafka_client import ensure_topic, starting
from sentinel.ingestion.kafka_producer import ConfirmedProducer, Keyed


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
        self._is_open = False
        self._file: FileIO | None = None
        """None also after a rotation that failed half-way: the next write opens it."""

    async def open(self) -> None:
        """Open for appending. Raises StartupError when the file cannot be written."""
        try:
            self._file = await asyncio.to_thread(_appending, self._path)
        except OSError as error:
            raise StartupError(
                f"cannot write {self._path}: {error.strerror}. Check ingestion.dead_letters.path and its permissions."
            ) from error
        self._is_open = True

    async def write(self, items: Sequence[DeadLetter]) -> None:
        """Append and sync; raises RetryableError when the disk refuses."""
        await asyncio.to_thread(self._append, b"".join(encode(letter) + b"\n" for letter in items))

    def _append(self, lines: bytes) -> None:
        if not self._is_open:
            raise RetryableError(f"{self._path} is not open")
        try:
            _write_whole(self._with_room(len(lines)), lines)
        except BlockingIOError as error:
            raise RetryableError(f"another program holds {self._path}, such as `sentinel dlq purge`. Let it end.") from error
        except OSError as error:
            raise RetryableError(f"cannot write {self._path}: {error.strerror}. Free space or check its permissions.") from error
        finally:
            if self._file is not None:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _with_room(self, size: int) -> FileIO:
        """The file, locked, and rotated when it would grow too large."""
        file = self._locked()
        if not file.tell() or file.tell() + size <= self._max_bytes:
            return file
        self._path.replace(self._path.with_name(self._path.name + ".1"))
        return self._locked()

    def _locked(self) -> FileIO:
        """The file that bears the name now, held against a purge, which puts another in its place; BlockingIOError while one does."""
        while True:
            file = self._file = self._file or _appending(self._path)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), self._path.stat()):
                    return file
            self._file = None
            file.close()

    async def close(self) -> None:
        """Close the file. Twice is harmless."""
        self._is_open = False
        if self._file is not None:
            self._file.close()
            self._file = None


def _appending(path: Path) -> FileIO:
    """The file at its end, unbuffered. A line that a crash cut off is ended, so that it spoils only itself."""
    file = FileIO(path, "a+")
    if (end := file.seek(0, os.SEEK_END)) and os.pread(file.fileno(), 1, end - 1) != b"\n":
        file.write(b"\n")
    return file


def _write_whole(file: FileIO, lines: bytes) -> None:
    """Write and sync everything or, where the disk allows, leave nothing behind: half a line would spoil the next."""
    start, left = file.tell(), memoryview(lines)
    try:
        while left:
            left = left[file.write(left) :]
        os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            file.truncate(start)
            file.seek(start)
        raise


class KafkaDeadLetters:
    """A `Sink` on the dead-letter topic, keyed by where the record lies, so that repeats are told by key."""

    def __init__(self, config: Kafka) -> None:
        self._config = config
        self._producer = ConfirmedProducer(config)

    async def open(self) -> None:
        """Connect; the topic is created when it is missing. Raises StartupError."""
        async with starting(self._config):
            await ensure_topic(self._config, self._config.dead_letter_topic)
            await self._producer.open()

    async def write(self, items: Sequence[DeadLetter]) -> None:
        """Send and wait for the confirms; raises RetryableError when one is missing. What is too long goes without its record."""
        topic = self._config.dead_letter_topic
        try:
            refused = await self._producer.produce(topic, [_keyed(letter) for letter in items])
            # Only the quoted record can be long; what was wrong and where it lies always fit.
            shortened = [_keyed(replace(items[position], record="")) for position in refused]
            if shortened and await self._producer.produce(topic, shortened):
                raise RetryableError(f"dead-letter topic {topic} takes not even a letter without its record: raise its max.message.bytes")
        except KafkaError as error:
            raise RetryableError(f"dead-letter topic {topic}: {error!r}") from error

    async def close(self) -> None:
        """Send what is left and disconnect. Twice is harmless."""
        await self._producer.close()


def _keyed(letter: DeadLetter) -> Keyed:
    return f"{letter.source}/{letter.offset}/{letter.sub}".encode(), encode(letter)
