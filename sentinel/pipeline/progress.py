"""Health by progress: being up is not enough, work must move."""

from sentinel.core.ports import Clock


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
        self._held: dict[str, str] = {}

    def started(self) -> None:
        """A delivery was read and is on its way."""
        if not self._in_hand:
            self._moved_at = self._clock.monotonic()
        self._in_hand += 1

    def finished(self) -> None:
        """A delivery reached its end."""
        self._in_hand -= 1
        self._moved_at = self._clock.monotonic()

    def held(self, part: str, reason: str | None) -> None:
        """A part cannot go on for a reason, or with None can again."""
        if reason is None:
            self._held.pop(part, None)
        else:
            self._held[part] = reason

    def reasons(self) -> list[str]:
        """Why the daemon is not healthy; empty when it is."""
        held = [f"{part}: {reason}" for part, reason in self._held.items()]
        return held or self.stalled()

    def stalled(self) -> list[str]:
        """Why a restart would help: work in hand that does not move although nobody holds it. Empty when it would not."""
        idle = self._clock.monotonic() - self._moved_at
        if not self._in_hand or self._held or idle <= self._stall_s:
            return []
        return [f"no progress for {idle:.0f} s with {self._in_hand} deliveries in hand"]
