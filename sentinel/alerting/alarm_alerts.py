"""Alarms about the daemon as alerts: the same document, rows, outbox and receivers as for anomalies.

One alert when an alarm begins, one when it is over. A daemon that was restarted meanwhile goes on with the alert that is still open; one
that died leaves it to `tidy`, which closes what nobody renews.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from msgspec import structs
from sqlalchemy import Connection, RowMapping

from sentinel.alerting.alarms import SEVERITY, Alarm, Condition
from sentinel.alerting.episodes import EXPIRED, FIRING, Rules, links
from sentinel.core.alert import Alert, AlertStatus, Notification
from sentinel.core.anomaly import SEVERITIES
from sentinel.core.batch import SeriesKey
from sentinel.core.ids import alert_id, fingerprint, notification_id
from sentinel.core.timestamp import rfc3339
from sentinel.state import alert_rows, outbox, room

SERVICE: Final = "llm-sentinel"
"""The service of alerts about a daemon; its model is the daemon's own name."""
RECOVERED: Final = "recovered"
"""Why an alarm ended."""
RESOLVED: Final = "resolved"

TITLES: Final = {
    Condition.LEDGER_IMBALANCE: "events are unaccounted for",
    Condition.AUTH_FAILED: "the store refuses its credentials",
    Condition.STORE_HELD: "the store takes nothing",
    Condition.DEAD_LETTERS_HELD: "dead letters cannot be written",
    Condition.ALERTS_HELD: "alerts cannot be written down",
    Condition.SOURCE_HELD: "a source cannot be read",
    Condition.STATE_UNSAVED: "its state cannot be saved",
    Condition.LAG_GROWING: "it falls behind its topic",
    Condition.WATERMARK_OLD: "it falls behind in time",
    Condition.CANARY_SILENT: "canaries do not come back",
}


@dataclass(frozen=True, slots=True)
class Sender:
    """Which daemon tells, and by which rules: who is told, how long what is open may be quiet, how much the outbox may hold."""

    instance: str
    rules: Rules
    limits: room.Limits


def alert_of(alarm: Alarm, sender: Sender) -> Alert:
    """The alert of an alarm as it is now, without the id of a message."""
    kind, subject = type_of(alarm), _fingerprint(alarm, sender)
    own_id = alert_id(subject, alarm.begun_ns)
    over = alarm.ended_ns is not None
    severity = SEVERITY[alarm.condition]
    return Alert(
        notification_id="",
        alert_id=own_id,
        fingerprint=subject,
        status=AlertStatus.RESOLVED if over else AlertStatus.FIRING,
        severity=severity,
        title=f"{severity.capitalize()}: {SERVICE} {sender.instance}: {TITLES[alarm.condition]}{' (over)' if over else ''}",
        description=f"{SERVICE} {sender.instance}: {alarm.reason}.",
        service=SERVICE,
        model=sender.instance,
        type=kind,
        metric=alarm.condition.value,
        started_at=rfc3339(alarm.begun_ns),
        ended_at=None if alarm.ended_ns is None else rfc3339(alarm.ended_ns),
        resolve_reason=RECOVERED if over else None,
        labels={
            "service": SERVICE,
            "model": sender.instance,
            "type": kind,
            "metric": alarm.condition.value,
            "tenant": "default",
            "instance": sender.instance,
        },
        links=links(sender.rules.external_url, own_id),
    )


def type_of(alarm: Alarm) -> str:
    """The `type` of its alert.

    >>> type_of(Alarm(Condition.AUTH_FAILED, 0, ""))
    'daemon_auth_failed'
    """
    return f"daemon_{alarm.condition.value}"


def tell(connection: Connection, alarms: Sequence[Alarm], sender: Sender, now_ns: int) -> int:
    """Write alarms that last or have ended, and what is to be said of them, in the transaction of this connection.

    Writing the same again says nothing again. Returns how many notifications had to make room. Raises RetryableError when the outbox is
    full of critical alerts.
    """
    alert_rows.alone(connection)
    messages = [message for alarm in alarms for message in _write(connection, alarm, sender, now_ns)]
    outbox.put(connection, messages)
    return room.within_bytes(connection, sender.limits, now_ns) if messages else 0


def _write(connection: Connection, alarm: Alarm, sender: Sender, now_ns: int) -> list[Notification]:
    """Write the row of one alarm; what is to be said of it."""
    before = next(iter(alert_rows.current(connection, [_fingerprint(alarm, sender)])), None)
    if before is not None and _goes_on(before, alarm):
        alert = _save(connection, replace(alarm, begun_ns=before["started_ns"]), sender, now_ns)
        return [] if alarm.ended_ns is None else _messages(alert, sender.rules, now_ns)
    if alarm.ended_ns is not None:
        return []  # nobody was told that it began, or everybody that it is over
    if before is not None:
        alert_rows.save(connection, [{**before, "current": False}])
    return _messages(_save(connection, alarm, sender, now_ns), sender.rules, now_ns)


def _save(connection: Connection, alarm: Alarm, sender: Sender, now_ns: int) -> Alert:
    alert = alert_of(alarm, sender)
    alert_rows.save(connection, [_row(alert, alarm, now_ns)])
    return alert


def _goes_on(row: RowMapping, alarm: Alarm) -> bool:
    """Whether the newest alert of this kind is the one that lasts: it is open, or is this one and was closed for being quiet."""
    return row["ended_ns"] is None or (row["started_ns"] == alarm.begun_ns and row["resolve_reason"] == EXPIRED)


def _fingerprint(alarm: Alarm, sender: Sender) -> str:
    return fingerprint(SeriesKey("default", SERVICE, sender.instance), type_of(alarm))


def _row(alert: Alert, alarm: Alarm, now_ns: int) -> dict[str, Any]:
    return {
        "alert_id": alert.alert_id,
        "fingerprint": alert.fingerprint,
        "tenant": alert.tenant,
        "service": alert.service,
        "model": alert.model,
        "type": alert.type,
        "metric": alert.metric,
        "status": alert.status.value,
        "severity": SEVERITIES.index(alert.severity),
        "started_ns": alarm.begun_ns,
        "last_seen_ns": alarm.ended_ns or now_ns,
        "notified_ns": alarm.begun_ns,
        "ended_ns": alarm.ended_ns,
        "resolve_reason": alert.resolve_reason,
        "repeat": 0 if alarm.ended_ns is None else 1,
        "count": 1,
        "title": alert.title,
        "description": alert.description,
        "strongest": "[]",
        "current": True,
        "created_ns": now_ns,
        "updated_ns": now_ns,
    }


def _messages(alert: Alert, rules: Rules, now_ns: int) -> list[Notification]:
    """One message for everybody who wants this severity. Its id says which alert and whether it began or ended, so it is sent once."""
    severity, said = SEVERITIES.index(alert.severity), RESOLVED if alert.status is AlertStatus.RESOLVED else FIRING
    ids = {
        route.receiver: notification_id(alert.alert_id, said, 0, route.receiver) for route in rules.routes if severity >= route.min_severity
    }
    return [
        Notification(id=own, receiver=receiver, alert=structs.replace(alert, notification_id=own), created_ns=now_ns)
        for receiver, own in ids.items()
    ]
