"""A circuit breaker: a receiver that keeps failing is left alone for a while, and then asked once."""

from enum import StrEnum
from typing import Final

from sentinel.alerting.backoff import LONGEST_ASKED_S


class Circuit(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    """All is well: everything is tried."""
    HALF_OPEN = "half_open"
    """One message is tried, to see."""
    OPEN = "open"
    """Nothing is tried."""


LEVELS: Final = {Circuit.CLOSED: 0, Circuit.HALF_OPEN: 1, Circuit.OPEN: 2}
"""As numbers, for the metric."""


class Breaker:
    """Opens after some failures in a row, and for longer each time the one that is let through fails too. It has no clock of its own.

    >>> breaker = Breaker(threshold=2, first_open_s=5.0)
    >>> breaker.failed(now_s=0.0)
    >>> breaker.failed(now_s=0.0)
    >>> [str(breaker.state(now_s)) for now_s in (4.9, 5.0)]
    ['open', 'half_open']

    Args:
        threshold: failures in a row that open it.
        first_open_s, largest_open_s: how long it stays open, doubling, in seconds.
    """

    def __init__(self, threshold: int = 5, first_open_s: float = 5.0, largest_open_s: float = 60.0) -> None:
        self._threshold = threshold
        self._first_open_s = first_open_s
        self._largest_open_s = largest_open_s
        self._failures = 0
        self._open_s = 0.0
        self._until_s: float | None = None

    def state(self, now_s: float) -> Circuit:
        """Where it stands at a time."""
        if self._until_s is None:
            return Circuit.CLOSED
        return Circuit.OPEN if now_s < self._until_s else Circuit.HALF_OPEN

    def wait_s(self, now_s: float) -> float:
        """How long nothing must be tried, in seconds; 0 when something may be."""
        return 0.0 if self._until_s is None else max(0.0, self._until_s - now_s)

    def succeeded(self) -> None:
        """An attempt went well."""
        self._failures, self._open_s, self._until_s = 0, 0.0, None

    def failed(self, now_s: float, asked_s: float | None = None) -> None:
        """An attempt failed. A receiver that asked us to wait is left alone at once, for at least so long."""
        self._failures += 1
        state = self.state(now_s)
        if state is Circuit.HALF_OPEN or (state is Circuit.CLOSED and self._failures >= self._threshold):
            self._open_s = min(max(self._open_s * 2, self._first_open_s), self._largest_open_s)
            self._until_s = now_s + self._open_s
        if asked_s is not None:
            self._until_s = max(self._until_s or 0.0, now_s + min(asked_s, LONGEST_ASKED_S))
