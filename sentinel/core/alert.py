"""Alerts: what people are told. An anomaly is a fact about one event; an alert is an episode of them in one series."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from sentinel.core.anomaly import Anomaly, Severity
from sentinel.core.batch import PartitionId


class AlertStatus(StrEnum):
    """Where an episode stands."""

    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert as receivers and the API get it.

    Attributes:
        notification_id: id of the message that carries it: the same on every repeat of that message.
        alert_id: the episode; fingerprint: the series and type, the same for all its episodes.
        severity: the highest so far.
        started_at, ended_at: event times, RFC 3339; None = not over.
        resolve_reason: why it ended; None while it has not.
        anomalies: the strongest few, strongest first; count: how many there were so far.
        labels, links: for routing and for people.
    """

    notification_id: str
    alert_id: str
    fingerprint: str
    status: AlertStatus
    severity: Severity
    title: str
    description: str
    service: str
    model: str
    type: str
    metric: str
    started_at: str
    ended_at: str | None = None
    resolve_reason: str | None = None
    anomalies: Sequence[Anomaly] = ()
    count: int = 1
    labels: dict[str, str] = {}
    links: dict[str, str] = {}
    tenant: str = "default"


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one receiver, as it waits in the outbox.

    Attributes:
        id: deterministic; AMQP `message_id` and `webhook-id`.
        receiver: name of the receiver it is for.
        alert: what it says; `created_ns`: when it was put into the outbox, wall clock.
        attempts: how often it was tried before.
    """

    id: str
    receiver: str
    alert: Alert
    created_ns: int
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Worth:
    """Which anomalies become alerts. Those of time windows do; those of single events are facts, and fire all day on healthy traffic.

    Attributes:
        min_severity: the least severe that counts.
        events: whether anomalies of single events count too.
        costly_usd: a critical cost anomaly of an event that cost at least this counts in any case; None for none.
    """

    min_severity: str
    events: bool
    costly_usd: float | None


@dataclass(frozen=True, slots=True)
class AlertWrite:
    """The alert-worthy anomalies of one delivery, and the position after it; applying it twice changes nothing.

    Attributes:
        source, epoch, next_offset: as in the delivery.
        anomalies: in log order, those below the configured severity left out.
    """

    source: PartitionId
    epoch: int
    next_offset: int
    anomalies: Sequence[Anomaly]
