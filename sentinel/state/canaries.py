"""Canaries in the outbox: they wait there like all notifications, make room for them, and leave nothing behind."""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, select

from sentinel.core.alert import Notification
from sentinel.state.outbox import WAITING, StateOutbox, put
from sentinel.state.room import Limits
from sentinel.state.tables import OUTBOX


class CanaryOutbox(StateOutbox):
    """The outbox as canaries see it: what was delivered is deleted, so that it never pushes out the log of real deliveries."""

    async def post(self, notifications: Sequence[Notification], limits: Limits) -> bool:
        """Let canaries wait, unless the outbox is full; whether they do. Raises RetryableError."""
        return await self._database.run(lambda connection: _post(connection, notifications, limits))

    async def forget(self, receiver: str) -> None:
        """Delete what an earlier process of ours has left. Raises RetryableError."""
        await self._database.run(lambda connection: connection.execute(delete(OUTBOX).where(OUTBOX.c.receiver == receiver)))

    async def _settle(self, notification: Notification, now_ns: int, state: str, reason: str) -> None:
        del now_ns, state, reason
        row = OUTBOX.c.notification_id == notification.id
        await self._database.run(lambda connection: connection.execute(delete(OUTBOX).where(row)))


def _post(connection: Connection, notifications: Sequence[Notification], limits: Limits) -> bool:
    waiting = connection.execute(select(func.coalesce(func.sum(OUTBOX.c.size_bytes), 0)).where(WAITING)).scalar_one()
    if int(waiting) >= limits.max_bytes:
        return False
    put(connection, notifications)
    return True
