"""A channel is a receiver and how it is to be treated; its status says how it does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from sentinel.alerting.backoff import Schedule
from sentinel.alerting.breaker import Circuit
from sentinel.core.alert import Notification
from sentinel.core.ports import Receiver

Kind = Literal["rabbitmq", "webhook", "canary"]


class SharingReceiver(Receiver, Protocol):
    """A `Receiver` that takes several alerts in one message too, and may be called from several tasks at once."""

    async def send_together(self, notifications: Sequence[Notification]) -> None:
        """Deliver all of them or none; otherwise as `send`."""
        ...


@dataclass(frozen=True, slots=True)
class Channel:
    """A receiver and how it is to be treated.

    Attributes:
        name: of the receiver in the outbox.
        kind: the label of metrics.
        receiver: where messages go.
        schedule: when failures are tried again.
        in_flight: most messages under way at the same time.
        together: most alerts in one message; max_wait_s: how long one waits for others, in seconds.
    """

    name: str
    kind: Kind
    receiver: SharingReceiver
    schedule: Schedule
    in_flight: int = 1
    together: int = 1
    max_wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """How a channel does, for people.

    Attributes:
        name, kind: as in the channel.
        state: `idle` before the first attempt, then by the last one; `gone` is out of use until a restart.
        circuit: of the breaker.
        sent, failed, refused: alerts since the start; an alert fails once for each attempt.
        last_error: in our own words, None when there was none; it stays when things go well again.
        last_error_ns, last_sent_ns: wall clock.
    """

    name: str
    kind: Kind
    state: Literal["idle", "ok", "failing", "gone"] = "idle"
    circuit: Circuit = Circuit.CLOSED
    sent: int = 0
    failed: int = 0
    refused: int = 0
    last_error: str | None = None
    last_error_ns: int | None = None
    last_sent_ns: int | None = None
