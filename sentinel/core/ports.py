"""The ports: who calls, when, how often, and what each error causes. One conformance suite per port runs over every implementation."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sentinel.core.alert import AlertWrite, Notification, Worth
from sentinel.core.anomaly import Anomaly, AnomalyBatch
from sentinel.core.batch import CleanBatch, Float64, Int32, Int64, PartitionId, SeriesKey
from sentinel.core.command import Command
from sentinel.core.delivery import Delivery
from sentinel.core.query import AnomalyQuery, Page, SeriesPoints, SeriesQuery, TelemetryQuery
from sentinel.core.reject import DeadLetter

T_contra = TypeVar("T_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a delivery, in events: received = stored + dead-lettered + duplicate + filtered."""

    stored: int
    dead_letters: Sequence[DeadLetter]
    duplicates: int
    filtered: int
    stored_at: Int32 | None = None
    """int32[stored], the record of each stored event as an index into the delivery; None when nobody asks for shares."""

    @property
    def received(self) -> int:
        """All events the delivery's records held."""
        return self.stored + len(self.dead_letters) + self.duplicates + self.filtered


class Source(Protocol):
    """Where records come from.

    The pipeline calls `open` once, then `read` in a loop from one task, `ack` once for each delivery after its events are stored or
    dead-lettered (in read order within a partition), and `close` once. A source may have many deliveries awaiting ack.
    """

    async def open(self) -> None:
        """Connect. Raises StartupError with place and cure when it cannot."""
        ...

    async def read(self) -> Delivery | None:
        """The next records of one partition; waits for some. None when there will be no more (never for a live source)."""
        ...

    def ready(self) -> Delivery | None:
        """A further delivery that is there already, as `read` would give it; None when there is none. Never waits."""
        ...

    def caught_up(self) -> Sequence[PartitionId]:
        """The logs of which everything that is there has been handed over, as of about now. Without certainty a log is left out."""
        ...

    async def ack(self, delivery: Delivery, outcome: Outcome) -> None:
        """Everything in the delivery is safe. Dropped when its epoch is old; a later delivery's ack never implies an earlier one's."""
        ...

    def pause(self) -> None:
        """Hand over nothing more until `resume`; connections stay alive. Repeating it is harmless."""
        ...

    def resume(self) -> None:
        """Hand over records again."""
        ...

    async def close(self) -> None:
        """Stop reading, commit what was acked, disconnect. Twice is harmless."""
        ...


class PartitionOwner(Protocol):
    """What a source tells about the logs it owns. The pipeline implements it; a source with rebalances calls it."""

    async def assigned(self, source: PartitionId, committed: int | None, epoch: int, *, rereadable: bool = True) -> int | None:
        """A partition is ours from now on. Called before its first record.

        Args:
            source: the log.
            committed: the group's committed offset, None when it never committed.
            epoch: stamped on every delivery of this assignment; work of an older one is dropped.
            rereadable: whether what was read and not stored comes again at its old offset; otherwise other records take these offsets.

        Returns:
            The offset to start from; None to leave it to the source's own policy. Raising leaves the partition paused.
        """
        ...

    async def revoked(self, source: PartitionId) -> None:
        """The partition is no longer ours: finish or drop its work, forget its state."""
        ...


@dataclass(frozen=True, slots=True)
class StoreWrite:
    """One delivery's share for the store: rows, anomalies and the position after them, all or nothing.

    Attributes:
        anomalies: of events of the batch.
        tick_anomalies: of time windows that closed with it; few. One that is stored already (same id) stays as it is.
    """

    batch: CleanBatch
    anomalies: AnomalyBatch
    source: PartitionId
    next_offset: int
    tick_anomalies: Sequence[Anomaly] = ()


@dataclass(frozen=True, slots=True)
class StoredMetrics:
    """Rows read back for re-learning, in log order: offsets int64[n], names, series int32[n], metrics float64[n, m], flags int32[n],
    ts_ns int64[n] and the producers' event ids.
    """

    offsets: Int64
    names: tuple[SeriesKey, ...]
    series: Int32
    metrics: Float64
    flags: Int32
    ts_ns: Int64
    event_ids: Sequence[str | None]

    def before(self, offset: int) -> "StoredMetrics":
        """The rows below an offset."""
        n = int(self.offsets.searchsorted(offset))
        if n == len(self.offsets):
            return self
        return StoredMetrics(
            self.offsets[:n], self.names, self.series[:n], self.metrics[:n], self.flags[:n], self.ts_ns[:n], self.event_ids[:n]
        )


class Sink(Protocol[T_contra]):
    """Where things are written. `write` returns when the other side confirmed; raises RetryableError or PermanentError.

    Called from one task at a time. Retry, back-off and timing are the caller's; a sink only says which kind of failure it was.
    """

    async def open(self) -> None:
        """Connect or create. Raises StartupError with place and cure."""
        ...

    async def write(self, items: Sequence[T_contra]) -> None:
        """Make all items durable, or raise and have none or some durable: writing them again is harmless."""
        ...

    async def close(self) -> None:
        """Finish and disconnect. Twice is harmless."""
        ...


class Store(Sink[StoreWrite], Protocol):
    """The store of events and anomalies. Within a partition, writes come in rising offset order; a write below the stored position
    changes nothing.
    """

    async def position(self, source: PartitionId) -> int | None:
        """The offset after the last stored one; None when nothing of this log was ever stored."""
        ...

    def replay(self, source: PartitionId, from_offset: int) -> AsyncIterator[StoredMetrics]:
        """The rows of one log from an offset on, in log order, in blocks."""
        ...


class AlertSink(Sink[AlertWrite], Protocol):
    """Where alert-worthy anomalies become alerts. Written before the store: what the store has, people are told of.

    Writing the same again changes nothing, also after a restart.
    """

    @property
    def worth(self) -> Worth:
        """Which anomalies are to be written."""
        ...

    async def rewind(self, source: PartitionId, offset: int) -> None:
        """Other records than before come at this offset and those after it: what was written for them says nothing about these.

        Raises RetryableError.
        """
        ...


class Receiver(Protocol):
    """Where notifications go: RabbitMQ, a webhook. Called from at most as many tasks at once as the channel
    allows; retry, back-off and breaker are the caller's.
    """

    async def open(self) -> None:
        """Get ready without needing the other side to be up: a receiver that is down must not keep the daemon from starting."""
        ...

    async def send(self, notification: Notification) -> None:
        """Deliver one; returns when the other side confirmed, within a bounded time.

        Raises RetryableError (with `after_s` when it was asked to wait) or PermanentError; the same notification may be sent again.
        """
        ...

    async def close(self) -> None:
        """Disconnect. Twice is harmless."""
        ...


@dataclass(frozen=True, slots=True)
class OutboxDepth:
    """What waits in the outbox: notifications, their bytes, and when the oldest was put in (wall clock; None when empty)."""

    notifications: int
    size_bytes: int
    oldest_ns: int | None


class Outbox(Protocol):
    """The notifications that wait, in the state database. Every failure of the database is RetryableError."""

    async def due(self, receiver: str, now_ns: int, limit: int) -> list[Notification]:
        """What this receiver should be sent now: the most severe first, then the oldest."""
        ...

    async def sent(self, notification: Notification, now_ns: int) -> None:
        """The other side confirmed it; recorded only after that."""
        ...

    async def deferred(self, notification: Notification, again_ns: int, reason: str) -> None:
        """It could not be delivered; it is due again at a wall-clock time. `reason` is in our own words."""
        ...

    async def refused(self, notification: Notification, now_ns: int, reason: str) -> None:
        """It will never be accepted: kept as refused, not tried again."""
        ...

    async def depth(self) -> OutboxDepth:
        """How much waits."""
        ...


class Query(Protocol):
    """The read side of a store. Every call is bounded by its limit and never blocks the event loop."""

    async def telemetry(self, query: TelemetryQuery) -> Page:
        """Events, newest first."""
        ...

    async def anomalies(self, query: AnomalyQuery) -> list[Anomaly]:
        """Anomalies, newest first."""
        ...

    async def anomaly(self, anomaly_id: str) -> Anomaly | None:
        """One anomaly by id; None when there is no such."""
        ...

    async def timeseries(self, query: SeriesQuery) -> list[SeriesPoints]:
        """Traffic over time from the rollups, the busiest series first."""
        ...


class Commands(Protocol):
    """Where commands for the detectors go. Called by the API, rarely; every change has been written to the audit log before."""

    async def submit(self, command: Command) -> None:
        """Give the command a place in every partition that is read here; returns once all of them will obey it.

        Raises RetryableError when that is not certain now. Submitting the same again is harmless.
        """
        ...


class CheckpointStore(Protocol):
    """Immutable blobs by key. Used off the event loop, from one thread at a time. I/O failures are RetryableError."""

    def put(self, key: str, blob: bytes) -> None:
        """Durable when it returns: a crash leaves the old set or the old set plus this blob, never half of one."""
        ...

    def get(self, key: str) -> bytes | None:
        """The blob, None when there is none of this key."""
        ...

    def list(self, prefix: str) -> Sequence[str]:
        """Keys that start with `prefix`, sorted."""
        ...

    def delete(self, key: str) -> None:
        """Remove; a missing key is no error."""
        ...


class Clock(Protocol):
    """Time, from outside."""

    def now_ns(self) -> int:
        """Wall-clock time, nanoseconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...
