"""What the double is told to do wrong."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Faults:
    """Faults of the write side; set from any thread, they act from the next request on.

    Attributes:
        status: HTTP status that writes are answered with instead of being applied; None = none.
        requests: for so many requests; None = until changed.
        until: monotonic time up to which `status` holds; None = until changed.
        retry_after: value of the header Retry-After that goes with it.
        lose_every: the reply to every so many-th write is lost after the write was applied; 0 = never.
        delay_s: seconds every request waits before it is looked at.
        refuse: lines for which this is true are bad points.
    """

    status: int | None = None
    requests: int | None = None
    until: float | None = None
    retry_after: str | None = None
    lose_every: int = 0
    delay_s: float = 0.0
    refuse: Callable[[str], bool] | None = None
    _written: int = field(default=0, repr=False)

    def for_seconds(self, status: int, seconds: float, retry_after: str | None = None) -> None:
        """Answer writes with a status for some time."""
        self.status, self.requests, self.retry_after = status, None, retry_after
        self.until = time.monotonic() + seconds

    def for_requests(self, status: int, requests: int, retry_after: str | None = None) -> None:
        """Answer the next writes with a status."""
        self.status, self.requests, self.until, self.retry_after = status, requests, None, retry_after

    def clear(self) -> None:
        """Do nothing wrong any more."""
        self.status = self.requests = self.until = self.retry_after = self.refuse = None
        self.lose_every, self.delay_s = 0, 0.0

    def status_now(self) -> int | None:
        """The status this request is answered with; None = it is to be served."""
        if self.status is None:
            return None
        if self.until is not None and time.monotonic() >= self.until:
            self.status = None
        elif self.requests is not None:
            if self.requests <= 0:
                self.status = None
            else:
                self.requests -= 1
        return self.status

    def loses_reply(self) -> bool:
        """Whether the reply to this applied write is lost."""
        self._written += 1
        return self.lose_every > 0 and self._written % self.lose_every == 0
