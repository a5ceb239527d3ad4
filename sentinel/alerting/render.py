"""What a notification looks like on the wire: the body of a webhook, the body and the headers of a RabbitMQ message."""

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from sentinel.core.alert import Alert, Notification
from sentinel.core.anomaly import SEVERITIES, Severity
from sentinel.core.timestamp import rfc3339

TEST_TYPE: Final = "test"
"""The `type` of an alert that only tries out a receiver."""

BATCH_TYPE: Final = "alert.batch"


class _Body(msgspec.Struct):
    type: str
    timestamp: str
    data: Alert


class _Alerts(msgspec.Struct):
    alerts: list[Alert]


class _BatchBody(msgspec.Struct):
    type: str
    timestamp: str
    data: _Alerts


_encode = msgspec.json.Encoder().encode


def webhook_body(notification: Notification) -> bytes:
    """One alert: the same bytes on every repeat."""
    alert = notification.alert
    kind = "alert.test" if alert.type == TEST_TYPE else f"alert.{alert.status}"
    return _encode(_Body(kind, rfc3339(notification.created_ns), alert))


def webhook_batch_body(notifications: Sequence[Notification]) -> bytes:
    """Several alerts in one message; each keeps its own `notification_id`."""
    newest_ns = max(notification.created_ns for notification in notifications)
    return _encode(_BatchBody(BATCH_TYPE, rfc3339(newest_ns), _Alerts([notification.alert for notification in notifications])))


def amqp_body(notification: Notification) -> bytes:
    """The alert itself."""
    return _encode(notification.alert)


def amqp_batch_body(notifications: Sequence[Notification]) -> bytes:
    """Several alerts in one message; each keeps its own `notification_id`."""
    return _encode(_Alerts([notification.alert for notification in notifications]))


def amqp_headers(notification: Notification) -> dict[str, str]:
    """Headers to filter by without looking into the body."""
    alert = notification.alert
    return {
        "service": alert.service,
        "model": alert.model,
        "metric": alert.metric,
        "severity": str(alert.severity),
        "status": str(alert.status),
    }


def batch_id(notifications: Sequence[Notification]) -> str:
    """The id of a message of several: the same when exactly these are sent together again.

    >>> batch_id([])
    'batch-e3b0c44298fc1c149afbf4c8'
    """
    digest = hashlib.sha256("\x1f".join(notification.id for notification in notifications).encode()).hexdigest()
    return f"batch-{digest[:24]}"


def highest_severity(notifications: Sequence[Notification]) -> Severity:
    """The one a message of several goes by."""
    return max((notification.alert.severity for notification in notifications), key=SEVERITIES.index)
