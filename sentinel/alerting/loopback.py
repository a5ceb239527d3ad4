"""The receiver of canaries, inside the process: it tells which have come back. No real receiver gets one."""

from collections.abc import Callable, Sequence
from typing import Final

from sentinel.alerting.backoff import Schedule
from sentinel.alerting.channel import Channel
from sentinel.core.alert import Notification
from sentinel.core.canary import Canary, canary_alert

IN_FLIGHT: Final = 64


class Loopback:
    """A `SharingReceiver` that confirms at once.

    Args:
        arrived: told the event id of each canary.
    """

    def __init__(self, arrived: Callable[[str], None]) -> None:
        self._arrived = arrived

    async def open(self) -> None:
        """Nothing to open."""

    async def send(self, notification: Notification) -> None:
        """Tell which one came."""
        for anomaly in notification.alert.anomalies:
            self._arrived(anomaly.event_id or "")

    async def send_together(self, notifications: Sequence[Notification]) -> None:
        """Tell which ones came."""
        for notification in notifications:
            await self.send(notification)

    async def close(self) -> None:
        """Nothing to close."""


def loopback_channel(instance: str, arrived: Callable[[str], None]) -> Channel:
    """The channel of one daemon's canaries: where several share an outbox, each gets its own."""
    return Channel(f"canary {instance}", "canary", Loopback(arrived), Schedule(3, 0.1, 2.0), in_flight=IN_FLIGHT)


def canary_notification(canary: Canary, receiver: str, now_ns: int) -> Notification:
    """The message that a canary becomes."""
    alert = canary_alert(canary, receiver)
    return Notification(id=alert.notification_id, receiver=receiver, alert=alert, created_ns=now_ns)
