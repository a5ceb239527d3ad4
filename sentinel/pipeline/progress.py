"""Health by progress: being up is not enough, work must move."""

from collections.abc import Mapping
from typing import NamedTuple

from sentinel.core.ports import Clock


class Hold(NamedTuple):
    """Why a part cannot go on, and whether that is because the other side refuses our credentials."""

    reason: str
    credentials: bool


class Progress:
    """Whether the work in hand moves on.

    Args:
        clock: for the age of the last step.
        stall_s: work in hand without a step for this long is a stall, in seconds.
    """

    def __init__(self, clock: Clock, stall_s: float) -> None:
        self._clock = clock
        self._stall_s = stall_s
        self._in_hand = 0
        self._moved_at = clock.monotonic()
        self._held: dict[str, Hold] = {}

    def started(self) -> None:
        """A delivery was read and is on its way."""
        if not self._in_hand:
            self._moved_at = self._clock.monotonic()
        self._in_hand += 1

    def finished(self) -> None:
        """A delivery reached its end."""
        self._in_hand -= 1
        self._moved_at = self._clock.monotonic()

    @property
    def holds(self) -> Mapping[str, Hold]:
        """What cannot go on, by part."""
        return self._held

    def held(self, part: str, reason: str | None, *, credentials: bool = False) -> None:
        """A part cannot go on for a reason, or with None can again."""
        if reason is None:
            self._held.pop(part, None)
        else:
            self._held[part] = Hold(reason, credentials)

    def reasons(self) -> list[str]:
        """Why the daemon is not healthy; empty when it is."""
        held = [f"{part}: {hold.reason}" for part, hold in self._held.items()]
        return held or self.stalled()

    def stalled(self) -> list[str]:
        """Why a restart would help: work in hand that does not move although nobody holds it. Empty when it would not."""
        idle = self._clock.monotonic() - self._moved_at
        if not self._in_hand or self._held or idle <= self._stall_s:
            return []
        return [f"no progress for {idle:.0f} s with {self._in_hand} deliveries in hand"]
