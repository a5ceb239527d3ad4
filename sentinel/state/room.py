"""Keeping the outbox within its limits: what is dropped, in which order, and what never is."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, func, insert, or_, select, update

from sentinel.core.anomaly import SEVERITIES, Severity
from sentinel.core.errors import RetryableError
from sentinel.state.outbox import WAITING
from sentinel.state.tables import DELIVERY_ATTEMPTS, OUTBOX

CRITICAL: Final = SEVERITIES.index(Severity.CRITICAL)
FULL: Final = "the outbox was full"
OLD: Final = "it could not be delivered for alerting.outbox.max_age_hours"
PORTION: Final = 1_000
"""Rows dropped by one statement."""

_FREE = ("seq", "notification_id", "alert_id", "receiver", "attempts", "size_bytes")
_SHOWN: Final = [OUTBOX.c[name] for name in _FREE]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the outbox may hold."""

    max_bytes: int
    max_age_ns: int


def within_bytes(connection: Connection, limits: Limits, now_ns: int) -> int:
    """Drop the least severe and oldest until what waits fits; what is being delivered and what is critical stays.

    Returns:
        How many were dropped.

    Raises:
        RetryableError: what must stay does not fit.
    """
    asked = select(func.coalesce(func.sum(OUTBOX.c.size_bytes), 0)).where(WAITING)
    over = int(connection.execute(asked).scalar_one()) - limits.max_bytes
    dropped = 0
    while over > 0:
        free = select(*_SHOWN).where(WAITING, OUTBOX.c.severity < CRITICAL, OUTBOX.c.leased_until_ns <= now_ns)
        rows = connection.execute(free.order_by(OUTBOX.c.severity, OUTBOX.c.seq).limit(PORTION)).all()
        if not rows:
            raise RetryableError(
                f"the outbox is full of critical alerts: {over:,} bytes more than alerting.outbox.max_bytes = {limits.max_bytes:,}. "
                "See why they cannot be delivered (sentinel alerts ls), or raise the limit."
            )
        chosen = []
        for row in rows:
            if over <= 0:
                break
            chosen.append(row)
            over -= row.size_bytes
        _drop(connection, chosen, now_ns, FULL)
        dropped += len(chosen)
    return dropped


def within_age(connection: Connection, limits: Limits, receivers: Collection[str], now_ns: int) -> int:
    """Drop what waits for too long; what is critical only when its receiver is no longer configured. Returns how many were dropped."""
    nobody_wants_it = OUTBOX.c.receiver.not_in(list(receivers))
    old = and_(OUTBOX.c.created_ns < now_ns - limits.max_age_ns, OUTBOX.c.leased_until_ns <= now_ns)
    asked = select(*_SHOWN).where(WAITING, old, or_(OUTBOX.c.severity < CRITICAL, nobody_wants_it)).limit(PORTION)
    dropped = 0
    while rows := connection.execute(asked).all():
        _drop(connection, rows, now_ns, OLD)
        dropped += len(rows)
    return dropped


def _drop(connection: Connection, rows: Sequence[Row[Any]], now_ns: int, reason: str) -> None:
    """Let them wait no more, and write that into the log of deliveries."""
    gone = update(OUTBOX).where(OUTBOX.c.seq.in_([row.seq for row in rows]))
    connection.execute(gone.values(state="dropped", body="", settled_ns=now_ns, leased_until_ns=0, leased_by=""))
    connection.execute(
        insert(DELIVERY_ATTEMPTS),
        [
            {
                "notification_id": row.notification_id,
                "alert_id": row.alert_id,
                "receiver": row.receiver,
                "at_ns": now_ns,
                "attempt": row.attempts,
                "outcome": "dropped",
                "reason": reason,
            }
            for row in rows
        ],
    )
