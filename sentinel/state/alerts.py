"""Alerts as people see them: which there are, and what became of telling about one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, RowMapping, select

from sentinel.core.anomaly import SEVERITIES, Anomaly
from sentinel.core.timestamp import rfc3339
from sentinel.state.database import StateDatabase
from sentinel.state.tables import ALERTS, DELIVERY_ATTEMPTS, OUTBOX

MOST_DELIVERIES: Final = 100
"""Notifications and attempts shown with one alert, the newest."""
_IDS: Final = ("alert_id", "fingerprint", "tenant", "service", "model", "type", "metric")
_SAME: Final = (*_IDS, "status", "title", "description", "resolve_reason", "count")
"""Fields that are columns as they stand."""


@dataclass(frozen=True, slots=True)
class AlertQuery:
    """Which alerts; None = any."""

    status: str | None = None
    severity: str | None = None
    tenant: str | None = None
    service: str | None = None
    model: str | None = None
    type: str | None = None
    limit: int = 100


class AlertRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as it is now.

    Attributes:
        severity: the highest so far.
        started_at, last_seen_at, ended_at: event times, RFC 3339.
        notified_count: how often people were told of it.
        anomalies: the strongest few, strongest first; count: how many there were so far.
    """

    alert_id: str
    fingerprint: str
    status: str
    severity: str
    title: str
    description: str
    service: str
    model: str
    type: str
    metric: str
    started_at: str
    last_seen_at: str
    ended_at: str | None
    resolve_reason: str | None
    count: int
    notified_count: int
    anomalies: list[Anomaly]
    links: dict[str, str] = {}
    tenant: str = "default"


class NotificationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One message about an alert.

    Attributes:
        state: waiting, sent, refused or dropped.
        due_at: when a waiting one is tried next.
    """

    notification_id: str
    receiver: str
    severity: str
    state: str
    attempts: int
    created_at: str
    due_at: str | None
    settled_at: str | None


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one attempt to deliver: sent, deferred, refused or dropped, and why."""

    notification_id: str
    receiver: str
    at: str
    attempt: int
    outcome: str
    reason: str


class AlertDetail(AlertRecord, frozen=True, kw_only=True):
    """An alert with its messages and the attempts to deliver them, the newest first."""

    notifications: list[NotificationRecord]
    delivery_attempts: list[AttemptRecord]


class Alerts:
    """Questions about alerts.

    Args:
        database: open while questions are asked.
    """

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    async def find(self, query: AlertQuery) -> list[AlertRecord]:
        """Alerts by the time they began, newest first. Raises RetryableError."""
        return await self._database.read(lambda connection: find(connection, query))

    async def get(self, alert_id: str) -> AlertDetail | None:
        """One alert; None when there is none of this id. Raises RetryableError."""
        return await self._database.read(lambda connection: get(connection, alert_id))


def find(connection: Connection, query: AlertQuery) -> list[AlertRecord]:
    """Alerts by the time they began, newest first."""
    asked = select(ALERTS).order_by(ALERTS.c.started_ns.desc(), ALERTS.c.alert_id.desc()).limit(query.limit)
    for name in ("status", "tenant", "service", "model", "type"):
        value = getattr(query, name)
        if value is not None:
            asked = asked.where(ALERTS.c[name] == value)
    if query.severity is not None:
        asked = asked.where(ALERTS.c.severity == SEVERITIES.index(query.severity))
    return [AlertRecord(**_shown(row)) for row in connection.execute(asked).mappings()]


def get(connection: Connection, alert_id: str) -> AlertDetail | None:
    """One alert; None when there is none of this id."""
    row = connection.execute(select(ALERTS).where(ALERTS.c.alert_id == alert_id)).mappings().one_or_none()
    if row is None:
        return None
    messages = select(OUTBOX).where(OUTBOX.c.alert_id == alert_id).order_by(OUTBOX.c.seq.desc()).limit(MOST_DELIVERIES)
    log = DELIVERY_ATTEMPTS
    attempts = select(log).where(log.c.alert_id == alert_id).order_by(log.c.seq.desc()).limit(MOST_DELIVERIES)
    return AlertDetail(
        **_shown(row),
        notifications=[_message(message) for message in connection.execute(messages).mappings()],
        delivery_attempts=[_attempt(attempt) for attempt in connection.execute(attempts).mappings()],
    )


def _shown(row: RowMapping) -> dict[str, Any]:
    """The fields of an alert."""
    return {name: row[name] for name in _SAME} | {
        "severity": SEVERITIES[row["severity"]].value,
        "started_at": rfc3339(row["started_ns"]),
        "last_seen_at": rfc3339(row["last_seen_ns"]),
        "ended_at": _time(row["ended_ns"]),
        "notified_count": row["repeat"] + 1,
        "anomalies": msgspec.json.decode(row["strongest"], type=list[Anomaly]),
    }


def _message(row: Mapping[Any, Any]) -> NotificationRecord:
    return NotificationRecord(
        notification_id=row["notification_id"],
        receiver=row["receiver"],
        severity=SEVERITIES[row["severity"]].value,
        state=row["state"],
        attempts=row["attempts"],
        created_at=rfc3339(row["created_ns"]),
        due_at=rfc3339(row["due_ns"]) if row["state"] == "waiting" else None,
        settled_at=_time(row["settled_ns"]),
    )


def _attempt(row: Mapping[Any, Any]) -> AttemptRecord:
    return AttemptRecord(
        notification_id=row["notification_id"],
        receiver=row["receiver"],
        at=rfc3339(row["at_ns"]),
        attempt=row["attempt"],
        outcome=row["outcome"],
        reason=row["reason"],
    )


def _time(ns: int | None) -> str | None:
    return None if ns is None else rfc3339(ns)
