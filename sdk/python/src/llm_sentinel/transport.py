"""What a producer expects of the way its events take."""

from dataclasses import dataclass
from typing import Final, Protocol

from llm_sentinel.event import Record

FULL: Final = "the buffer is full"
CLOSED: Final = "the producer is closed"
TIMED_OUT: Final = "not confirmed within the delivery timeout"
GIVEN_UP: Final = "given up: the producer was closed before it was confirmed"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait, and how long.

    Attributes:
        max_events, max_bytes: what may be buffered, sent but not yet confirmed events included.
        delivery_timeout_s: an event that is not confirmed by then has failed.
        linger_s: how long an event waits for others to share a request.
    """

    max_events: int
    max_bytes: int
    delivery_timeout_s: float
    linger_s: float


class Transport(Protocol):
    """Takes records from any thread, sends them from one of its own, and tells its `Tally` what became of each it took."""

    def open(self) -> None:
        """Get ready, without needing the other side to be up; `offer` does so where this was left out.

        Raises ValueError for settings that cannot be, ImportError for a client that is not installed.
        """
        ...

    def offer(self, record: Record, block_s: float) -> str | None:
        """Take a record into the buffer, waiting so long for room. Returns why it was not taken, None when it was. Raises nothing."""
        ...

    def buffered(self) -> int:
        """Records taken and neither delivered nor failed."""
        ...

    def flush(self, timeout_s: float) -> int:
        """Wait until nothing is buffered, at most so long; returns how many are left."""
        ...

    def close(self, timeout_s: float) -> None:
        """Flush, then give up what is left and stop. Twice is harmless."""
        ...
