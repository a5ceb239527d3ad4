"""When a notification that failed is tried again."""

import math
from dataclasses import dataclass
from typing import Final

JITTER: Final = 0.1
"""Delays differ by up to this share, so that many messages that failed together do not come back together."""

LONGEST_ASKED_S: Final = 3_600.0
"""The other side may ask us to wait, but not for longer than this."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A burst of attempts with growing delays, a long pause, the next burst, and so on without end. All delays before jitter.

    Attributes:
        attempts: how many make a burst.
        first_s, factor, largest_s: delays within a burst.
        pause_s, largest_pause_s: after the first burst, doubling from one to the next.
    """

    attempts: int = 3
    first_s: float = 1.0
    factor: float = 2.0
    largest_s: float = 30.0
    pause_s: float = 30.0
    largest_pause_s: float = 300.0

    def delay_s(self, tried: int, random: float, *, slow: bool = False, asked_s: float | None = None) -> float:
        """How long to wait, in seconds.

        >>> schedule = Schedule()
        >>> [schedule.delay_s(tried, 0.5) for tried in range(1, 10)]
        [1.0, 2.0, 30.0, 1.0, 2.0, 60.0, 1.0, 2.0, 120.0]

        Args:
            tried: attempts so far, from 1.
            random: evenly from 0 to 1.
            slow: the failure does not pass by itself, so a burst is of no use: only pauses.
            asked_s: the other side asked for at least so much.
        """
        bursts, within = divmod(tried, self.attempts)
        if slow:
            delay = _grown(self.pause_s, 2.0, tried - 1, self.largest_pause_s)
        elif within:
            delay = _grown(self.first_s, self.factor, within - 1, self.largest_s)
        else:
            delay = _grown(self.pause_s, 2.0, bursts - 1, self.largest_pause_s)
        delay *= 1 - JITTER + 2 * JITTER * random
        return delay if asked_s is None else max(delay, min(asked_s, LONGEST_ASKED_S))


def _grown(first: float, factor: float, steps: int, largest: float) -> float:
    """`first * factor ** steps`, at most `largest`, without overflow."""
    if steps * math.log(factor) >= math.log(largest / first):
        return largest
    return first * factor**steps
