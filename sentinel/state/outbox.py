"""The outbox: notifications that wait in the state database until their receiver has confirmed them."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, RowMapping, func, insert, literal_column, select, update

from sentinel.config.sections_alerting import Outbox
from sentinel.core.alert import Alert, Notification
from sentinel.core.anomaly import SEVERITIES
from sentinel.core.ports import Clock, OutboxDepth
from sentinel.state.database import StateDatabase
from sentinel.state.rows import insert_new
from sentinel.state.tables import DELIVERY_ATTEMPTS, OUTBOX

WAITING: Final = OUTBOX.c.state == literal_column("'waiting'")
"""Spelled out, not as a parameter: only so can the indexes over the waiting rows be used."""
REASON_CHARACTERS: Final = 500
"""Characters kept of the reason of a failed attempt."""
_SECOND_NS: Final = 1_000_000_000


def put(connection: Connection, notifications: Sequence[Notification]) -> None:
    """Let notifications wait, in this order; one that is or was here changes nothing. Part of the caller's transaction."""
    rows = []
    for notification in notifications:
        body = msgspec.json.encode(notification.alert)
        rows.append(
            {
                "notification_id": notification.id,
                "alert_id": notification.alert.alert_id,
                "receiver": notification.receiver,
                "severity": SEVERITIES.index(notification.alert.severity),
                "state": "waiting",
                "body": body.decode(),
                "size_bytes": len(body),
                "created_ns": notification.created_ns,
                "due_ns": notification.created_ns,
                "leased_until_ns": 0,
                "leased_by": "",
                "attempts": notification.attempts,
            }
        )
    insert_new(connection, OUTBOX, "notification_id", rows)


def note(connection: Connection, notification: Notification, at_ns: int, outcome: str, reason: str) -> None:
    """Write what became of an attempt into the log. Part of the caller's transaction."""
    connection.execute(
        insert(DELIVERY_ATTEMPTS).values(
            notification_id=notification.id,
            alert_id=notification.alert.alert_id,
            receiver=notification.receiver,
            at_ns=at_ns,
            attempt=notification.attempts + 1,
            outcome=outcome,
            reason=reason[:REASON_CHARACTERS],
        )
    )


class StateOutbox:
    """The `Outbox` port over the state database.

    What `due` gives out is leased: no replica gets it again until it was sent, refused, deferred, or the lease has run out. A replica
    that dies gives back what it had in that time; with SQLite, where nobody else can have it, at the next `open`. Clocks of replicas that
    differ by more than the lease can make a notification go out twice, with the same id.

    Args:
        database: where it is; open before `open` and until after `close`.
        section: the outbox's configuration.
        clock: tells when an attempt failed.
        owner: of the leases: this process, different from every other one's.
    """

    def __init__(self, database: StateDatabase, section: Outbox, clock: Clock, owner: str) -> None:
        self._database = database
        self._lease_ns = int(section.lease_secs * _SECOND_NS)
        self._clock = clock
        self._owner = owner

    async def open(self) -> None:
        """Take back what a process that died had leased, where that can only have been our predecessor. Raises RetryableError."""
        if not self._database.shared:
            await self._database.run(lambda connection: _release(connection, None))

    async def close(self) -> None:
        """Give back what was not delivered. Raises RetryableError: then it is free when the leases run out. Twice is harmless."""
        await self._database.run(lambda connection: _release(connection, self._owner))

    async def due(self, receiver: str, now_ns: int, limit: int) -> list[Notification]:
        """What this receiver should be sent now: the most severe first, then the oldest. Raises RetryableError."""
        return await self._database.run(lambda connection: self._claim(connection, receiver, now_ns, limit))

    async def sent(self, notification: Notification, now_ns: int) -> None:
        """The other side confirmed it; recorded only after that. Raises RetryableError."""
        await self._settle(notification, now_ns, "sent", "")

    async def deferred(self, notification: Notification, again_ns: int, reason: str) -> None:
        """It could not be delivered; it is due again at a wall-clock time. Raises RetryableError."""
        now_ns = self._clock.now_ns()

        def work(connection: Connection) -> None:
            _change(connection, notification, {"due_ns": again_ns, "leased_until_ns": 0, "leased_by": ""})
            note(connection, notification, now_ns, "deferred", reason)

        await self._database.run(work)

    async def refused(self, notification: Notification, now_ns: int, reason: str) -> None:
        """It will never be accepted: kept as refused, not tried again. Raises RetryableError."""
        await self._settle(notification, now_ns, "refused", reason)

    async def depth(self) -> OutboxDepth:
        """How much waits. Raises RetryableError."""
        return await self._database.read(depth)

    async def _settle(self, notification: Notification, now_ns: int, state: str, reason: str) -> None:
        def work(connection: Connection) -> None:
            _change(connection, notification, {"state": state, "body": "", "settled_ns": now_ns, "leased_until_ns": 0, "leased_by": ""})
            note(connection, notification, now_ns, state, reason)

        await self._database.run(work)

    def _claim(self, connection: Connection, receiver: str, now_ns: int, limit: int) -> list[Notification]:
        """Lease what is due, severity by severity: so each question is answered by its index, in order."""
        found: list[RowMapping] = []
        for severity in reversed(range(len(SEVERITIES))):
            asked = (
                select(OUTBOX)
                .where(WAITING, OUTBOX.c.receiver == receiver, OUTBOX.c.severity == severity)
                .where(OUTBOX.c.due_ns <= now_ns, OUTBOX.c.leased_until_ns <= now_ns)
                .order_by(OUTBOX.c.seq)
                .limit(limit - len(found))
                .with_for_update(skip_locked=True)
            )
            found.extend(connection.execute(asked).mappings())
            if len(found) >= limit:
                break
        if found:
            leased = {"leased_until_ns": now_ns + self._lease_ns, "leased_by": self._owner}
            connection.execute(update(OUTBOX).where(OUTBOX.c.seq.in_([row["seq"] for row in found])).values(leased))
        return [_notification(row) for row in found]


def depth(connection: Connection) -> OutboxDepth:
    """How much waits."""
    asked = select(func.count(), func.coalesce(func.sum(OUTBOX.c.size_bytes), 0), func.min(OUTBOX.c.created_ns)).where(WAITING)
    count, size_bytes, oldest_ns = connection.execute(asked).one()
    return OutboxDepth(count, int(size_bytes), oldest_ns)


def _release(connection: Connection, owner: str | None) -> None:
    """Free an owner's leases, or everybody's."""
    mine = OUTBOX.c.leased_until_ns > 0 if owner is None else OUTBOX.c.leased_by == owner
    connection.execute(update(OUTBOX).where(WAITING, mine).values(leased_until_ns=0, leased_by=""))


def _change(connection: Connection, notification: Notification, values: dict[str, Any]) -> None:
    """Change a notification's row after an attempt."""
    row = OUTBOX.c.notification_id == notification.id
    connection.execute(update(OUTBOX).where(row).values(attempts=notification.attempts + 1, **values))


def _notification(row: RowMapping) -> Notification:
    alert = msgspec.json.decode(row["body"], type=Alert)
    return Notification(
        id=row["notification_id"], receiver=row["receiver"], alert=alert, created_ns=row["created_ns"], attempts=row["attempts"]
    )
