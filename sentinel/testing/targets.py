"""Where simulated records are sent: standard output, the HTTP API or a Kafka topic."""

import asyncio
import os
from errno import errorcode
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol
from urllib.parse import urlsplit

import aiohttp
import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner

from sentinel.core.errors import PermanentError, RetryableError, StartupError
from sentinel.core.requests import in_requests
from sentinel.testing.simulator import Block

if TYPE_CHECKING:  # its place in the library is private
    from aiokafka import BatchBuilder

EVENTS_PATH: Final = "/api/v1/events"
REQUEST_RECORDS: Final = 1_000
REQUEST_BYTES: Final = 900_000
LONGEST_PAUSE_S: Final = 60.0

KAFKA_BATCH_BYTES: Final = 524_288
KAFKA_BATCHES_IN_FLIGHT: Final = 32
CONNECT_S: Final = 5.0


class Target(Protocol):
    """Takes blocks in order from one task: `open` once, `send` for each block, `close` once, also after a failure.

    Attributes:
        accepted, rejected: events confirmed and refused so far; final after `close`.
    """

    accepted: int
    rejected: int

    async def open(self) -> None:
        """Connect. Raises StartupError with place and cure."""
        ...

    async def send(self, block: Block) -> None:
        """Hand over the records. Raises RetryableError or PermanentError when the other side does not take them."""
        ...

    async def close(self) -> None:
        """Wait for what is still unconfirmed, then disconnect. Raises as `send`."""
        ...


class StreamTarget:
    """One record a line to an open binary file. A line that is written counts as accepted."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.accepted = 0
        self.rejected = 0

    async def open(self) -> None:
        """Nothing to do."""

    async def send(self, block: Block) -> None:
        """Write the lines and hand them to the reader at once."""
        if block.records:
            self._stream.write(b"\n".join(block.records) + b"\n")
            self._stream.flush()
            self.accepted += len(block.records)

    async def close(self) -> None:
        """Leave the stream open: it belongs to the caller."""


class HttpTarget:
    """NDJSON requests to `/api/v1/events`, one at a time so that events arrive in order.

    An answer of 429 or 503 is obeyed: the same records are sent again after the time the server names.

    Args:
        url: `http://host:port`, with or without the path.
        stop: set when the user wants to end; ends a wait for a busy server.
        api_key: sent as `X-API-Key`.
    """

    def __init__(self, url: str, stop: asyncio.Event, api_key: str | None = None) -> None:
        parts = urlsplit(url)
        path = parts.path.rstrip("/")
        host = parts.netloc.rpartition("@")[2]
        self._url = f"{parts.scheme}://{host}{path if path.endswith(EVENTS_PATH) else path + EVENTS_PATH}"
        self._stop = stop
        self._headers = {"Content-Type": "application/x-ndjson"} | ({"X-API-Key": api_key} if api_key else {})
        self._session: aiohttp.ClientSession | None = None
        self.accepted = 0
        self.rejected = 0

    async def open(self) -> None:
        """Prepare the connection; the first request shows whether there is a server."""
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=aiohttp.ClientTimeout(total=60, sock_connect=CONNECT_S))

    async def send(self, block: Block) -> None:
        """Post the records in requests of bounded size; gives up what is left once `stop` is set and the server is busy."""
        if self._session is None:
            raise RuntimeError("send before open")
        for records in in_requests(block.records, REQUEST_RECORDS, REQUEST_BYTES):
            while (pause_s := await self._post(self._session, records)) is not None:
                if await _set_within(self._stop, pause_s):
                    return

    async def close(self) -> None:
        """Disconnect. Twice is harmless."""
        if self._session is not None:
            await self._session.close()

    async def _post(self, session: aiohttp.ClientSession, records: list[bytes]) -> float | None:
        """Post once and count; returns how many seconds to wait before the same must be sent again, None when it was taken."""
        try:
            async with session.post(self._url, data=b"\n".join(records), allow_redirects=False) as response:
                if response.status in (429, 503):
                    return _retry_after_s(response.headers.get("Retry-After"))
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RetryableError(
                f"no answer from {self._url} ({_reason(error)}). Start the daemon with `sentinel run`, or check the address after --to."
            ) from error
        self._count(response.status, body, len(records))
        return None

    def _count(self, status: int, body: bytes, sent: int) -> None:
        """Take the numbers from the answer; a server that gives none accepted all or nothing, by its status."""
        if status in (401, 403):
            raise PermanentError(f"{self._url} answered {status}: it wants an API key that may write events. Give one with --api-key.")
        answer = _json_object(body)
        accepted, rejected = answer.get("accepted", 0), answer.get("rejected")
        if isinstance(accepted, int) and isinstance(rejected, int):
            self.accepted += accepted
            self.rejected += rejected
        elif 200 <= status < 300:
            self.accepted += sent
        else:
            raise PermanentError(f"{self._url} answered {status} and took nothing. Check that --to names an LLM-Sentinel daemon.")


class KafkaTarget:
    """Whole batches to a topic, keyed by `service:model` and confirmed by all in-sync replicas, each written exactly once.

    Batches are built here, one per partition and block, which costs half of handing over single records. A record carries its event's time.

    Args:
        brokers: `host:port` of one or more bootstrap brokers.
        topic: where to; it must exist or be creatable by the broker.
    """

    def __init__(self, brokers: list[str], topic: str) -> None:
        self._brokers = brokers
        self._topic = topic
        self._place = f"kafka://{','.join(brokers)}/{topic}"
        self._producer: AIOKafkaProducer | None = None
        self._partitions: list[int] = []
        self._partition_of: dict[bytes, int] = {}
        self._unconfirmed: dict[asyncio.Future[Any], int] = {}
        self.accepted = 0
        self.rejected = 0

    async def open(self) -> None:
        """Connect and learn the topic's partitions."""
        await self._require_broker()
        producer = self._producer = AIOKafkaProducer(
            bootstrap_servers=self._brokers, acks="all", enable_idempotence=True, max_batch_size=KAFKA_BATCH_BYTES, linger_ms=0
        )
        try:
            await producer.start()
            self._partitions = sorted(await asyncio.wait_for(producer.partitions_for(self._topic), CONNECT_S))
        except TimeoutError as error:
            raise StartupError(f"{self._place}: there is no such topic and the broker does not create it. Create it first.") from error
        except KafkaError as error:
            raise StartupError(f"{self._place} refused us: {error!r}. Check the topic's name and its access rules.") from error

    async def send(self, block: Block) -> None:
        """Build and enqueue the batches; waits for confirms only when too many are outstanding."""
        if self._producer is None:
            raise RuntimeError("send before open")
        producer = self._producer
        builders: dict[int, BatchBuilder] = {}
        try:
            for record, key, ts_ms in zip(block.records, block.keys, (block.ts_ns // 1_000_000).tolist(), strict=True):
                partition = self._partition_of.get(key)
                if partition is None:
                    partition = self._partition_of[key] = DefaultPartitioner()(key, self._partitions, self._partitions)
                builder = builders.get(partition)
                if builder is None:
                    builder = builders[partition] = producer.create_batch()
                if builder.append(key=key, value=record, timestamp=ts_ms) is None:
                    await self._enqueue(producer, builder, partition)
                    builder = builders[partition] = producer.create_batch()
                    builder.append(key=key, value=record, timestamp=ts_ms)
            for partition, builder in builders.items():
                await self._enqueue(producer, builder, partition)
        except KafkaError as error:
            raise self._failure(error) from error

    async def close(self) -> None:
        """Wait for every confirm, then disconnect."""
        if self._producer is None:
            return
        try:
            await self._confirm(outstanding=0)
        except KafkaError as error:
            raise self._failure(error) from error
        finally:
            producer, self._producer = self._producer, None
            await asyncio.gather(*self._unconfirmed, return_exceptions=True)  # after a failure the others have failed or will
            await producer.stop()

    async def _require_broker(self) -> None:
        """Try a plain connection first: a refused one is told at once and in one line."""
        reason = "no broker given"
        for broker in self._brokers:
            host, _, port = broker.rpartition(":")
            try:
                _, writer = await asyncio.wait_for(asyncio.open_connection(host.strip("[]"), int(port)), CONNECT_S)
            except (OSError, TimeoutError) as error:
                reason = _reason(error)
                continue
            writer.close()
            return
        raise StartupError(f"no Kafka broker at {self._place} ({reason}). Start one, or check the address given with --to.")

    async def _enqueue(self, producer: AIOKafkaProducer, builder: "BatchBuilder", partition: int) -> None:
        count = builder.record_count()
        confirm = await producer.send_batch(builder, self._topic, partition=partition)
        self._unconfirmed[confirm] = count
        await self._confirm(outstanding=KAFKA_BATCHES_IN_FLIGHT)

    async def _confirm(self, outstanding: int) -> None:
        """Await the oldest confirms until no more than `outstanding` are left."""
        while len(self._unconfirmed) > outstanding:
            oldest = next(iter(self._unconfirmed))
            count = self._unconfirmed.pop(oldest)
            await oldest
            self.accepted += count

    def _failure(self, error: KafkaError) -> RetryableError:
        return RetryableError(f"{self._place} confirmed {self.accepted} events, then failed: {error!r}. Check the broker and its log.")


def _retry_after_s(header: str | None) -> float:
    """The wait in seconds that the header asks for, bounded; one second where it gives no number."""
    try:
        seconds = float(header) if header is not None else 1.0
    except ValueError:
        return 1.0
    return min(max(seconds, 0.0), LONGEST_PAUSE_S) if seconds == seconds else 1.0  # noqa: PLR0124  a NaN is the only number unlike itself


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for the event, at most so long; whether it is set."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _reason(error: BaseException) -> str:
    """Why a connection failed, in the system's words where it has some."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno in errorcode:
        return os.strerror(cause.errno)
    return str(cause) or type(cause).__name__
