"""The canaries that are under way, and the logs of which none comes back. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sentinel.core.batch import PartitionId

MOST: Final = 10_000
"""Canaries remembered; beyond them the oldest count as lost."""
NOT_STORED: Final = "the last one was sent and is not stored"
NOT_DELIVERED: Final = "the last one is stored and was not delivered"


@dataclass(slots=True)
class _Log:
    """A log canaries are sent to: when one last came back, or since when one could have; and what became of the last one."""

    heard_s: float
    fate: str = "none was sent yet"


class Flights:
    """Which canaries were sent and have not come back.

    What was not sent by this process is nobody's: a record that is read twice, or that somebody copied, measures nothing.

    Args:
        silence_s: how long a log may be silent.
    """

    def __init__(self, silence_s: float) -> None:
        self._silence_s = silence_s
        self._logs: dict[PartitionId, _Log] = {}
        self._under_way: dict[str, tuple[PartitionId, float]] = {}

    def owned(self, logs: Collection[PartitionId], now_s: float) -> None:
        """These logs are read here now, and no others."""
        self._logs = {log: self._logs.get(log) or _Log(now_s) for log in logs}

    def sent(self, event_id: str, log: PartitionId, now_s: float) -> None:
        """A canary is about to be sent."""
        self._under_way[event_id] = (log, now_s)
        while len(self._under_way) > MOST:
            del self._under_way[next(iter(self._under_way))]
        self._became(log, NOT_STORED)

    def unsent(self, event_id: str, reason: str) -> None:
        """It could not be sent."""
        flight = self._under_way.pop(event_id, None)
        if flight is not None:
            self._became(flight[0], f"the last one could not be sent: {reason}")

    def stored(self, event_id: str) -> bool:
        """The store stands behind it. Whether it is one of ours."""
        flight = self._under_way.get(event_id)
        if flight is not None:
            self._became(flight[0], NOT_DELIVERED)
        return flight is not None

    def arrived(self, event_id: str, now_s: float) -> float | None:
        """It came back: how long that took, in seconds; None when it is none of ours, or came before."""
        flight = self._under_way.pop(event_id, None)
        if flight is None:
            return None
        log, sent_s = flight
        if log in self._logs:
            self._logs[log].heard_s = now_s
        return max(0.0, now_s - sent_s)

    def longest_s(self, now_s: float) -> float:
        """The longest silence of a log, in seconds."""
        return max((now_s - log.heard_s for log in self._logs.values()), default=0.0)

    def silent(self, now_s: float) -> list[str]:
        """The logs that are silent for too long, the longest first, and what is known of each."""
        found = sorted((log.heard_s, str(source), log.fate) for source, log in self._logs.items() if now_s - log.heard_s > self._silence_s)
        return [f"no canary came back from {source} for {now_s - heard_s:.0f} s; {fate}" for heard_s, source, fate in found]

    def _became(self, log: PartitionId, fate: str) -> None:
        if log in self._logs:
            self._logs[log].fate = fate
