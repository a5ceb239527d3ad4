"""What is closed because it was quiet, and what is deleted because it is old."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Connection, Table, delete, func, select, update

from sentinel.core.alert import AlertStatus
from sentinel.state import alert_rows, room
from sentinel.state.outbox import WAITING
from sentinel.state.tables import ALERTS, DELIVERY_ATTEMPTS, OUTBOX

PORTION: Final = 5_000
"""Rows deleted from a table at a time: a transaction stays short, and the next round goes on."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long things are kept.

    Attributes:
        quiet_ns: an alert that was quiet for longer is closed, by wall clock.
        history_ns: what has ended is deleted after this.
        history_rows: most rows of each kind that has ended.
        outbox: the outbox's limits.
    """

    quiet_ns: int
    history_ns: int
    history_rows: int
    outbox: room.Limits


def tidy(connection: Connection, keeping: Keeping, receivers: Sequence[str], now_ns: int) -> int:
    """Close, drop and delete what it is time for.

    Closing changes what people see, not what they are told: an anomaly that continues the episode after all opens it again.

    Args:
        connection: of a transaction of its own.
        keeping: how long.
        receivers: those that are configured.
        now_ns: wall clock.

    Returns:
        How many notifications were dropped for their age.
    """
    alert_rows.alone(connection)
    _close(connection, now_ns - keeping.quiet_ns)
    dropped = room.within_age(connection, keeping.outbox, receivers, now_ns)
    before = now_ns - keeping.history_ns
    _delete(connection, ALERTS, ALERTS.c.alert_id, ALERTS.c.updated_ns, ALERTS.c.ended_ns.is_not(None), before, keeping.history_rows)
    _delete(connection, OUTBOX, OUTBOX.c.seq, OUTBOX.c.settled_ns, ~WAITING, before, keeping.history_rows)
    log = DELIVERY_ATTEMPTS.c
    _delete(connection, DELIVERY_ATTEMPTS, log.seq, log.at_ns, log.at_ns.is_not(None), before, keeping.history_rows)
    return dropped


def _close(connection: Connection, before_ns: int) -> None:
    """End the episodes nothing was heard of since."""
    quiet = update(ALERTS).where(ALERTS.c.ended_ns.is_(None), ALERTS.c.updated_ns < before_ns)
    connection.execute(quiet.values(status=AlertStatus.RESOLVED.value, ended_ns=ALERTS.c.last_seen_ns, resolve_reason="expired"))


def _delete(
    connection: Connection, table: Table, key: Column[Any], time: Column[Any], ended: ColumnElement[bool], before_ns: int, most: int
) -> None:
    """Delete the oldest of what has ended: what is from before a time, and what is too much."""
    count = connection.execute(select(func.count()).select_from(table).where(ended)).scalar_one()
    too_many = min(max(0, count - most), PORTION)
    oldest = select(key).where(ended).order_by(time, key)
    connection.execute(delete(table).where(key.in_(oldest.where(time < before_ns).limit(PORTION))))
    if too_many:
        connection.execute(delete(table).where(key.in_(oldest.limit(too_many))))
