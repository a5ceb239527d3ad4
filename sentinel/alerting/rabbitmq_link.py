"""One connection to RabbitMQ with its exchange and queue declared, and what its errors mean to people."""

import asyncio
import ssl
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aio_pika
from aio_pika import exceptions
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange

from sentinel.alerting.errors import RefusedError
from sentinel.config.sections_alerting import RabbitMQ
from sentinel.core.anomaly import SEVERITIES
from sentinel.core.errors import RetryableError

HEARTBEAT_S: Final = 30
DEFAULT_PORTS: Final = {"amqp": 5672, "amqps": 5671}
LONGEST_REPLY: Final = 300
"""Characters kept of what the server says."""

FAILURES: Final = (*exceptions.CONNECTION_EXCEPTIONS, EOFError, ValueError)
"""What the library raises when the server or the network fails; some of it is no error of its own."""


class Link:
    """A connection that lives until something goes wrong with it; it is then closed, and the next one declares everything again.

    The library's own reconnecting is not used: a publish that waits for it has no end of its own, and says nothing about the reason.
    """

    def __init__(self, connection: AbstractConnection, channel: AbstractChannel, exchange: AbstractExchange) -> None:
        self._connection = connection
        self._channel = channel
        self._exchange = exchange

    @classmethod
    async def connect(cls, config: RabbitMQ, tls: ssl.SSLContext | None) -> "Link":
        """A link that is ready. Raises what the library raises; what was begun is then undone."""
        connection = await connect(config, tls)
        try:
            # A returned message must be an error: without that it looks like a success.
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            exchange = await _declare(channel, config)
        except BaseException:
            await _closed(connection)
            raise
        return cls(connection, channel, exchange)

    @property
    def usable(self) -> bool:
        """Nothing is known to be wrong with it."""
        return not (self._channel.is_closed or self._connection.is_closed)

    async def unblocked(self) -> None:
        """Wait while the server takes no messages because it is short of memory or disk."""
        if self._connection.transport is not None:
            await self._connection.transport.ready()

    async def is_blocked(self) -> bool:
        """Whether the server takes no messages now."""
        try:
            async with asyncio.timeout(0):
                await self.unblocked()
        except TimeoutError:
            return True
        return False

    async def publish(self, message: aio_pika.Message, routing_key: str) -> None:
        """Publish and wait for the confirm. Raises what the library raises when there is none."""
        result = await self._exchange.publish(message, routing_key, mandatory=True)
        if getattr(result, "name", None) != "Basic.Ack":
            raise exceptions.ChannelInvalidStateError("the message was not confirmed")

    async def close(self) -> None:
        """Disconnect."""
        await _closed(self._connection)


async def connect(config: RabbitMQ, tls: ssl.SSLContext | None, name: str = "llm-sentinel") -> AbstractConnection:
    """A bare connection, under a name that the server shows. Raises what the library raises; `in_words` says what that means.

    With amqps:// the certificate is verified, with the system's authorities when `tls` is None.
    """
    parts = urlsplit(config.url)
    return await aio_pika.connect(
        host=parts.hostname or "",
        port=parts.port or DEFAULT_PORTS[parts.scheme],
        virtualhost=unquote(parts.path[1:]) or "/",
        login=config.username or "guest",
        password=config.password.reveal() if config.password else "guest",
        ssl=parts.scheme == "amqps",
        ssl_context=tls,
        client_properties={"connection_name": name},
        heartbeat=HEARTBEAT_S,
    )


async def _closed(connection: AbstractConnection) -> None:
    try:
        await connection.close()
    except FAILURES:
        # It was broken, and that is why it is closed.
        return


async def _declare(channel: AbstractChannel, config: RabbitMQ) -> AbstractExchange:
    """The exchange, and the queue bound to it."""
    exchange = await channel.declare_exchange(config.exchange, config.exchange_type, durable=True)
    if config.queue is not None:
        queue = await channel.declare_queue(config.queue, durable=True, arguments=queue_arguments(config))
        for key in binding_keys(config):
            await queue.bind(exchange, key)
    return exchange


def queue_arguments(config: RabbitMQ) -> dict[str, Any]:
    """A full queue refuses what is new, so that we keep it, and nothing that was confirmed is thrown away."""
    return {} if config.queue_max_length is None else {"x-max-length": config.queue_max_length, "x-overflow": "reject-publish"}


def binding_keys(config: RabbitMQ) -> list[str]:
    """What binds a queue so that it gets every alert; fanout and headers exchanges do not look at it.

    >>> binding_keys(RabbitMQ()), binding_keys(RabbitMQ(exchange_type="direct"))
    (['alert.#'], ['alert.info', 'alert.warning', 'alert.critical'])
    """
    if config.exchange_type == "topic":
        return [f"{config.routing_key_prefix}.#"]
    if config.exchange_type == "direct":
        return [f"{config.routing_key_prefix}.{severity}" for severity in SEVERITIES]
    return [""]


_MEANINGS: Final[tuple[tuple[type[Exception], type[RetryableError], str], ...]] = (
    (
        exceptions.ChannelPreconditionFailed,
        RefusedError,
        "has exchange {exchange} or queue {queue} with other properties: {reply}. Delete it there, or make alerting.rabbitmq agree with it",
    ),
    (exceptions.AuthenticationError, RefusedError, "does not let us in: {reply}. Check alerting.rabbitmq.username and password"),
    (exceptions.ProbableAuthenticationError, RefusedError, "does not let us in: {reply}. Check alerting.rabbitmq.username and password"),
    # The library reports a refused virtual host as this, without what the server said.
    (
        exceptions.InvalidFrameError,
        RefusedError,
        "hung up. Check that alerting.rabbitmq.url has the port for AMQP, and a virtual host it knows",
    ),
    (exceptions.PublishError, RetryableError, "has no queue for {key} on exchange {exchange}. Bind one, or set alerting.rabbitmq.queue"),
    (exceptions.DeliveryError, RetryableError, "did not take the message: a queue on exchange {exchange} is full, or failed"),
    (
        ssl.SSLError,
        RefusedError,
        "cannot be trusted: {reply}. Check that it is the port for amqps://, the host name, and alerting.rabbitmq.ca_file",
    ),
    (Exception, RetryableError, "cannot be reached, or hung up: {reply}"),
)
"""The first that fits says what an error of the library means."""


def in_words(error: Exception, config: RabbitMQ, routing_key: str) -> RetryableError:
    """What an error of the library means: a RefusedError when somebody has to mend something. It never holds the password."""
    known = error.__cause__ if isinstance(error.__cause__, ssl.SSLError) else error
    outcome, words = next((outcome, words) for kind, outcome, words in _MEANINGS if isinstance(known, kind))
    if _reply(error).startswith("ACCESS_REFUSED") and isinstance(error, exceptions.ChannelClosed):
        outcome, words = RefusedError, "does not permit this: {reply}. Let the user configure, write and read {exchange} and {queue}"
    said = words.format(exchange=config.exchange, queue=config.queue, key=routing_key, reply=_reply(error))
    return outcome(f"RabbitMQ at {config.url} {said}")


def _reply(error: BaseException) -> str:
    """What the server or the system said, on one line."""
    text = " ".join(str(part) for part in error.args) or type(error).__name__
    return " ".join(text.split())[:LONGEST_REPLY]
