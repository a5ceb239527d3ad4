"""Time marks: where nothing comes, the detectors are told that time has passed."""

from collections import deque
from statistics import median
from typing import Final

from sentinel.core.batch import PartitionId

REMEMBERED: Final = 31
"""Deliveries whose delay is remembered of each log."""


class Delays:
    """How far event time lies behind the clock in each log, so that a mark does not call late what is only under way.

    >>> delays, log = Delays(), PartitionId("c", "t", 0)
    >>> for received_ns in (5, 9, 30):
    ...     delays.seen(log, received_ns, watermark_ns=4)
    >>> delays.event_time(log, now_ns=100)
    95
    """

    def __init__(self) -> None:
        self._seen: dict[PartitionId, deque[int]] = {}

    def seen(self, log: PartitionId, received_ns: int, watermark_ns: int) -> None:
        """A delivery came, and the newest event so far is of `watermark_ns`."""
        self._seen.setdefault(log, deque(maxlen=REMEMBERED)).append(max(0, received_ns - watermark_ns))

    def event_time(self, log: PartitionId, now_ns: int) -> int:
        """The event time that has come by now, by the median delay of the last deliveries; without any, the time itself."""
        seen = self._seen.get(log)
        return now_ns - int(median(seen)) if seen else now_ns

    def forget(self, log: PartitionId) -> None:
        """The log is no longer ours."""
        self._seen.pop(log, None)
