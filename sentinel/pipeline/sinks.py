"""Where the pipeline writes, as one value."""

from dataclasses import dataclass
from typing import Protocol

from sentinel.core.batch import Bool, CleanBatch, DeadLetter
from sentinel.core.ports import AlertSink, Sink, Store


class SharedIds(Protocol):
    """Event ids that replicas share, as best they can; it never raises and never waits for long."""

    async def unseen(self, batch: CleanBatch) -> Bool:
        """bool[n]: false for events that are known to be stored from another record. Called before they are scored."""
        ...

    async def remember(self, batch: CleanBatch) -> None:
        """The events of a batch are stored."""
        ...


@dataclass(frozen=True, slots=True)
class Sinks:
    """Written in this order: dead letters, alerts, store; then the shared ids learn what was stored.

    Attributes:
        alerts: None when no alerts are made; shared_ids: None when ids are not shared.
    """

    store: Store
    dead_letters: Sink[DeadLetter]
    alerts: AlertSink | None = None
    shared_ids: SharedIds | None = None
