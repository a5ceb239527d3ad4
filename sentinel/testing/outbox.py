"""A shipped fake: an `Outbox` in memory."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
from msgspec import structs

from sentinel.core.alert import Notification
from sentinel.core.anomaly import SEVERITIES
from sentinel.core.errors import RetryableError
from sentinel.core.ports import OutboxDepth


@dataclass(slots=True)
class Entry:
    """A notification in the outbox.

    Attributes:
        notification: as it would be handed over now.
        due_ns: when it is due; reasons: why it was deferred or refused, oldest first.
        outcome: `waiting`, `sent` or `refused`; settled_ns: since when it no longer waits.
    """

    notification: Notification
    due_ns: int
    reasons: list[str] = field(default_factory=list)
    outcome: str = "waiting"
    settled_ns: int | None = None


class MemoryOutbox:
    """An `Outbox` that keeps everything, for tests to look at.

    Attributes:
        entries: by notification id, in the order they were put in.
        failures: each is raised by one call before anything is done.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.failures: list[RetryableError] = []

    def put(self, notifications: Iterable[Notification]) -> None:
        """Let notifications wait; one that is already known changes nothing."""
        for notification in notifications:
            self.entries.setdefault(notification.id, Entry(notification, notification.created_ns))

    def ids(self, outcome: str) -> list[str]:
        """The ids with an outcome, in the order they were put in."""
        return [name for name, entry in self.entries.items() if entry.outcome == outcome]

    async def due(self, receiver: str, now_ns: int, limit: int) -> list[Notification]:
        """What waits for this receiver and is due: the most severe first, then the oldest."""
        self._fail()
        waiting = [entry.notification for entry in self._waiting() if entry.notification.receiver == receiver and entry.due_ns <= now_ns]
        waiting.sort(key=lambda notification: -SEVERITIES.index(notification.alert.severity))
        return waiting[:limit]

    async def sent(self, notification: Notification, now_ns: int) -> None:
        """Note that it is delivered."""
        self._settle(notification, "sent", now_ns)

    async def deferred(self, notification: Notification, again_ns: int, reason: str) -> None:
        """Keep it until then, with one attempt more."""
        self._fail()
        entry = self.entries[notification.id]
        if entry.outcome != "waiting":
            return
        entry.notification = structs.replace(entry.notification, attempts=entry.notification.attempts + 1)
        entry.due_ns = again_ns
        entry.reasons.append(reason)

    async def refused(self, notification: Notification, now_ns: int, reason: str) -> None:
        """Note that it never will be delivered."""
        self._settle(notification, "refused", now_ns)
        self.entries[notification.id].reasons.append(reason)

    async def depth(self) -> OutboxDepth:
        """How much waits; sizes are those of the alerts as JSON."""
        self._fail()
        waiting = [entry.notification for entry in self._waiting()]
        size_bytes = sum(len(msgspec.json.encode(notification.alert)) for notification in waiting)
        return OutboxDepth(len(waiting), size_bytes, min((notification.created_ns for notification in waiting), default=None))

    def _waiting(self) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.outcome == "waiting"]

    def _settle(self, notification: Notification, outcome: str, now_ns: int) -> None:
        self._fail()
        entry = self.entries[notification.id]
        if entry.outcome == "waiting":
            entry.outcome, entry.settled_ns = outcome, now_ns

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)
