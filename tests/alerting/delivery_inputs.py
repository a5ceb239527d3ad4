"""Notifications and receivers for the tests of delivery."""

import asyncio
from collections.abc import Callable, Sequence

from sentinel.alerting.backoff import Schedule
from sentinel.alerting.channel import Channel
from sentinel.core.alert import Alert, AlertStatus, Notification
from sentinel.core.anomaly import Severity
from sentinel.core.errors import SentinelError
from sentinel.testing.fakes import START_NS


def notification(
    number: int,
    *,
    severity: Severity = Severity.WARNING,
    alert: str | None = None,
    receiver: str = "webhook",
    status: AlertStatus = AlertStatus.FIRING,
    attempts: int = 0,
    text: str = "Latency is 4 times its usual value",
) -> Notification:
    """The message with this number; each is a nanosecond younger than the one before, and of an alert of its own unless one is named."""
    name = f"ntf-{number:06d}"
    about = Alert(
        notification_id=name,
        alert_id=alert or f"alert-{number}",
        fingerprint=f"fp-{alert or number}",
        status=status,
        severity=severity,
        title=text,
        description="",
        service="chat",
        model="gpt-4",
        type="latency_spike",
        metric="latency_ms",
        started_at="2026-01-15T10:30:00.000Z",
        labels={"team": "search"},
    )
    return Notification(id=name, receiver=receiver, alert=about, created_ns=START_NS + number, attempts=attempts)


class ScriptedReceiver:
    """A receiver that raises the next of `errors` at each attempt, and else keeps what it gets.

    Attributes:
        tried: ids of each message, in order of the attempts; taken: those it accepted.
        gate: closed, a send waits for it.
        running, most_running: sends under way now, and at most so far.
    """

    def __init__(self, errors: Sequence[SentinelError | Exception | None] = ()) -> None:
        self.errors = list(errors)
        self.tried: list[list[str]] = []
        self.taken: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.running = 0
        self.most_running = 0
        self.closed = 0
        self.verdict: Callable[[Notification], SentinelError | None] = lambda _: None

    async def open(self) -> None:
        """Nothing to open."""

    async def send(self, notification: Notification) -> None:
        """One message of one."""
        await self.send_together([notification])

    async def send_together(self, notifications: Sequence[Notification]) -> None:
        """One message of several."""
        self.tried.append([one.id for one in notifications])
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            await asyncio.sleep(0)
            await self.gate.wait()
        finally:
            self.running -= 1
        error = self.errors.pop(0) if self.errors else next((self.verdict(one) for one in notifications if self.verdict(one)), None)
        if error is not None:
            raise error
        self.taken += [one.id for one in notifications]

    async def close(self) -> None:
        """Count it."""
        self.closed += 1


def channel(receiver: ScriptedReceiver, name: str = "webhook", **changes: object) -> Channel:
    """A channel to it."""
    return Channel(**({"name": name, "kind": "webhook", "receiver": receiver, "schedule": Schedule()} | changes))
