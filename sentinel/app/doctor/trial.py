"""A test alert to every configured receiver, by the daemon's own senders."""

import secrets
from collections.abc import Sequence
from typing import Final

from sentinel.alerting.rabbitmq import RabbitMQ
from sentinel.alerting.trial import trial
from sentinel.alerting.webhook import Webhook
from sentinel.app.clock import SystemClock
from sentinel.app.doctor.check import Check, Finding, ok
from sentinel.config.schema import Config
from sentinel.core.ports import Receiver
from sentinel.observability.metrics import Metrics

LIMIT_S: Final = 15.0


async def _to_rabbitmq(config: Config) -> Sequence[Finding]:
    section = config.alerting.rabbitmq
    return [] if section is None else [await _send("rabbitmq", RabbitMQ(section, Metrics()))]


async def _to_webhook(config: Config) -> Sequence[Finding]:
    section = config.alerting.webhook
    return [] if section is None else [await _send("webhook", Webhook(section, SystemClock(), Metrics()))]


async def _send(name: str, receiver: Receiver) -> Finding:
    """Raises RetryableError, in our words, when it was not taken."""
    notification = trial(name, f"doctor-{secrets.token_hex(8)}", SystemClock().now_ns())
    try:
        await receiver.open()
        await receiver.send(notification)
    finally:
        await receiver.close()
    return ok(f"test alert to {name}", f"sent and confirmed, notification {notification.id}")


TEST_ALERTS: Final = (
    Check("test alert to rabbitmq", _to_rabbitmq, lambda config: config.alerting.rabbitmq is not None, LIMIT_S),
    Check(
        "test alert to webhook",
        _to_webhook,
        lambda config: config.alerting.webhook is not None and config.alerting.webhook.enabled,
        LIMIT_S,
    ),
)
