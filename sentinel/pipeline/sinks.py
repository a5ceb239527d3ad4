"""Where the pipeline writes, as one value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sentinel.core.batch import Bool, CleanBatch
from sentinel.core.canary import Canary
from sentinel.core.ports import AlertSink, Sink, Store
from sentinel.core.reject import DeadLetter


class SharedIds(Protocol):
    """Event ids that replicas share, as best they can; it never raises and never waits for long."""

    async def unseen(self, batch: CleanBatch) -> Bool:
        """bool[n]: false for events that are known to be stored from another record. Called before they are scored."""
        ...

    async def remember(self, batch: CleanBatch) -> None:
        """The events of a batch are stored."""
        ...


class Canaries(Protocol):
    """Who waits for the canaries; it never raises and never waits."""

    def stored(self, canaries: Sequence[Canary]) -> None:
        """The store stands behind these."""
        ...


@dataclass(frozen=True, slots=True)
class Sinks:
    """Written in this order: dead letters, alerts, store; then the shared ids learn what was stored.

    Attributes:
        alerts: None when no alerts are made; shared_ids: None when ids are not shared; canaries: None when nobody waits for any.
    """

    store: Store
    dead_letters: Sink[DeadLetter]
    alerts: AlertSink | None = None
    shared_ids: SharedIds | None = None
    canaries: Canaries | None = None
