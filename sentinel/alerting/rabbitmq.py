"""Alerts to RabbitMQ: persistent, mandatory, and done only when the server confirmed."""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Final

import aio_pika
from aio_pika.exceptions import DeliveryError, PublishError

from sentinel.alerting import render
from sentinel.alerting.rabbitmq_link import FAILURES, Link, in_words
from sentinel.alerting.tls import client_context
from sentinel.config.sections_alerting import RabbitMQ as RabbitMQConfig
from sentinel.core.alert import Notification
from sentinel.core.anomaly import Severity
from sentinel.core.errors import RetryableError
from sentinel.observability.logs import get
from sentinel.observability.metrics import Metrics

CLOSE_LIMIT_S: Final = 5.0

log = get(__name__)


class RabbitMQ:
    """A `Receiver`. The routing key is `<prefix>.<severity>`, the `message_id` the notification's id: the same on every repeat.

    It may be called from `max_in_flight` tasks at once: their messages are under way together, on one connection. That is made by the
    first send, and again by the next one after something went wrong with it.

    Args:
        config: the `alerting.rabbitmq` section.
        metrics: where confirmed messages are counted.
    """

    def __init__(self, config: RabbitMQConfig, metrics: Metrics) -> None:
        self._config = config
        self._metrics = metrics
        self._tls: ssl.SSLContext | None = None
        self._connecting: asyncio.Task[Link] | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Read what TLS needs; the server need not be up. Raises StartupError."""
        if self._config.url.startswith("amqps:"):
            self._tls = client_context(self._config.ca_file, "alerting.rabbitmq.ca_file")

    async def send(self, notification: Notification) -> None:
        """Publish one alert. Returns when it is confirmed, raises RetryableError, both within `timeout_secs`."""
        alert = notification.alert
        message = self._message(render.amqp_body(notification), notification.id, alert.type, render.amqp_headers(notification))
        await self._publish(message, alert.severity)

    async def send_together(self, notifications: Sequence[Notification]) -> None:
        """Publish several alerts in one message, by the highest severity among them. Otherwise as `send`."""
        body, severity = render.amqp_batch_body(notifications), render.highest_severity(notifications)
        headers = {"severity": str(severity)}
        await self._publish(self._message(body, render.batch_id(notifications), render.BATCH_TYPE, headers), severity)

    async def close(self) -> None:
        """Disconnect, within bounds. Twice is harmless."""
        self._let_go()
        if self._leaving:
            await asyncio.wait(self._leaving)

    def _message(self, body: bytes, message_id: str, kind: str, headers: dict[str, str]) -> aio_pika.Message:
        mode = aio_pika.DeliveryMode.PERSISTENT if self._config.persistent else aio_pika.DeliveryMode.NOT_PERSISTENT
        return aio_pika.Message(
            body,
            message_id=message_id,
            type=kind,
            headers=dict(headers),
            content_type="application/json",
            delivery_mode=mode,
            app_id="llm-sentinel",
        )

    async def _publish(self, message: aio_pika.Message, severity: Severity) -> None:
        routing_key = f"{self._config.routing_key_prefix}.{severity}"
        stage, link = "did not let us in", None
        try:
            async with asyncio.timeout(self._config.timeout_secs):
                link = await self._linked()
                stage = "takes no messages, because it is short of memory or disk; see its alarms"
                await link.unblocked()
                stage = "did not confirm the message"
                await link.publish(message, routing_key)
        except TimeoutError as error:
            raise await self._too_late(link, stage) from error
        except FAILURES as error:
            if self._breaks_link(error):
                self._let_go(link)
            raise in_words(error, self._config, routing_key) from error
        except asyncio.CancelledError as error:
            if _cancelled():
                raise
            # The library ends waiting publishes like this when it loses the connection.
            self._let_go(link)
            raise RetryableError(f"RabbitMQ at {self._config.url} hung up") from error
        self._metrics.rabbitmq_publishes.labels(severity).inc()

    async def _too_late(self, link: Link | None, stage: str) -> RetryableError:
        """The error of a publish that took too long. A connection that is silent is given up; one that is blocked is not its fault."""
        blocked = link is not None and link.usable and await link.is_blocked()
        if link is not None and not blocked:
            self._let_go(link)
        if blocked:
            stage = "takes no messages, because it is short of memory or disk; see its alarms"
        return RetryableError(f"RabbitMQ at {self._config.url} {stage} (within {self._config.timeout_secs:g} s)")

    def _breaks_link(self, error: BaseException) -> bool:
        """Whether the next send should connect and declare anew: our queue may be gone, but a message that was not taken says nothing."""
        if isinstance(error, PublishError):
            return self._config.queue is not None
        return not isinstance(error, DeliveryError)

    async def _linked(self) -> Link:
        """The connection, made by whoever comes first; all who wait for it share its failure."""
        task = self._connecting
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None or not task.result().usable)):
            self._let_go()
            task = self._connecting = asyncio.create_task(self._connect())
        return await asyncio.shield(task)

    async def _connect(self) -> Link:
        async with asyncio.timeout(self._config.timeout_secs):
            return await Link.connect(self._config, self._tls)

    def _let_go(self, link: Link | None = None) -> None:
        """Close the connection behind our back; only if it is still this one, when one is given."""
        task = self._connecting
        if task is None or (link is not None and not (task.done() and not task.cancelled() and task.result() is link)):
            return
        self._connecting = None
        leaving = asyncio.create_task(_left(task))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)


def _cancelled() -> bool:
    """Whether somebody cancelled us."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _left(connecting: "asyncio.Task[Link]") -> None:
    """Close what a task connects, or has connected."""
    connecting.cancel()
    try:
        link = await connecting
    except (*FAILURES, asyncio.CancelledError):
        return  # Nothing came of it, so there is nothing to close.
    try:
        async with asyncio.timeout(CLOSE_LIMIT_S):
            await link.close()
    except TimeoutError:
        log.warning("RabbitMQ did not answer a goodbye", limit_s=CLOSE_LIMIT_S)
