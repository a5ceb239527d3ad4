"""What became of the events: counted, and told to the application in bounded words."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

log = logging.getLogger("llm_sentinel")
log.addHandler(logging.NullHandler())

TELL_EVERY_S: Final = 1.0
"""What happens to many events for one reason is told together, so often."""

NAMED_IDS: Final = 100
REASONS: Final = 20


@dataclass(frozen=True, slots=True)
class DeliveryError:
    """Trouble with the delivery of events.

    Attributes:
        reason: what is wrong, in words; it holds nothing of the events, and no secret.
        lost: events that will not arrive because of it; 0 while sending is still being tried.
        event_ids: ids of those that are lost, the first hundred.
    """

    reason: str
    lost: int = 0
    event_ids: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.reason} ({self.lost} events lost)" if self.lost else self.reason


@dataclass(frozen=True, slots=True)
class Stats:
    """Events since the producer was made, or since this process was forked.

    Once nothing is sent and `buffered` stands still, accepted = delivered + failed + buffered.

    Attributes:
        accepted: taken into the buffer.
        delivered: confirmed by all in-sync replicas, or by the daemon over HTTP.
        failed: accepted and not delivered: refused by the other side, or not confirmed in time. Over Kafka a record whose confirm was
            lost may be there all the same.
        dropped: not accepted: the buffer was full or the producer closed.
        invalid: not accepted: the daemon would not have taken them. Counted with `strict=False` and without.
        buffered: accepted, and waiting or on their way.
    """

    accepted: int
    delivered: int
    failed: int
    dropped: int
    invalid: int
    buffered: int


OnError = Callable[[DeliveryError], object]


class Tally:
    """Counts, and tells what went wrong. Safe to use from several threads.

    Args:
        on_error: told what went wrong, never while a lock is held; what it raises is logged. None: it is logged as a warning.
    """

    def __init__(self, on_error: OnError | None) -> None:
        self._on_error = on_error
        self._lock = threading.RLock()  # the garbage collector may close a producer in the midst of this
        self._pending: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._told_at = time.monotonic()
        self._accepted = self._delivered = self._failed = self._dropped = self._invalid = 0

    def accepted(self) -> None:
        """An event is in the buffer."""
        with self._lock:
            self._accepted += 1

    def delivered(self, events: int = 1) -> None:
        """Events were confirmed."""
        with self._lock:
            self._delivered += events

    def failed(self, reason: str, event_ids: Iterable[str], events: int = 1) -> None:
        """Accepted events will not be delivered; `event_ids` may name fewer than there are."""
        with self._lock:
            self._failed += events
            self._note(reason, events, event_ids)

    def dropped(self, reason: str, event_id: str) -> None:
        """An event was not accepted."""
        with self._lock:
            self._dropped += 1
            self._note(reason, 1, (event_id,))

    def invalid(self, reason: str, *, told: bool) -> None:
        """An event cannot be one; `told` when its sender knows already."""
        with self._lock:
            self._invalid += 1
            if not told:
                self._note(f"invalid event: {reason}", 1, ())

    def trouble(self, reason: str) -> None:
        """Something is in the way; nothing is lost yet."""
        with self._lock:
            self._note(reason, 0, ())

    def tell(self, *, now: bool = False) -> None:
        """Hand over what was noted, if it is time or `now`."""
        with self._lock:
            if not self._pending or not (now or time.monotonic() - self._told_at >= TELL_EVERY_S):
                return
            self._told_at = time.monotonic()
            pending, self._pending = self._pending, {}
        for reason, (lost, event_ids) in pending.items():
            self._tell(DeliveryError(reason, lost, event_ids))

    def stats(self, buffered: int) -> Stats:
        """The counts."""
        with self._lock:
            return Stats(self._accepted, self._delivered, self._failed, self._dropped, self._invalid, buffered)

    def _note(self, reason: str, lost: int, event_ids: Iterable[str]) -> None:
        if reason not in self._pending and len(self._pending) >= REASONS:
            reason = "other reasons"
        before, named = self._pending.get(reason, (0, ()))
        if len(named) < NAMED_IDS:
            named = (*named, *event_ids)[:NAMED_IDS]
        self._pending[reason] = (before + lost, named)

    def _tell(self, error: DeliveryError) -> None:
        if self._on_error is None:
            log.warning("%s", error)
            return
        try:
            self._on_error(error)
        except Exception:  # it is the application's, and delivery must go on
            log.exception("on_error raised")
