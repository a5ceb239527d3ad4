"""How many alerts a week a number of alerts in some time means, and how sure that is."""

from dataclasses import dataclass
from math import sqrt
from typing import Final

WEEK_NS: Final = 7 * 86_400 * 1_000_000_000
_Z: Final = 1.6448536269514722
"""The normal deviate that 5% exceed: the true rate lies within the interval in 90% of cases, and in half of the others on each side."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Events a week: the estimate, and the interval that holds the true rate in 90% of cases."""

    weekly: float
    low: float
    high: float


def weekly(count: int, length_ns: int) -> Rate:
    """The weekly rate of `count` events seen in some time, if they come independently of each other.

    Byar's approximation of the exact Poisson interval: its upper bound is within 2% of the exact one, the lower from a few events on.
    Source: N. E. Breslow, N. E. Day, "Statistical Methods in Cancer Research", volume 2, IARC 1987, equation 2.13.

    Args:
        count: events seen, at least 0.
        length_ns: the time they were looked for, > 0.

    >>> rate = weekly(14, WEEK_NS)
    >>> round(rate.weekly, 1), round(rate.low, 1), round(rate.high, 1)
    (14.0, 8.5, 21.9)
    """
    scale = WEEK_NS / max(length_ns, 1)
    low = count * (1 - 1 / (9 * count) - _Z / (3 * sqrt(count))) ** 3 if count else 0.0
    above = count + 1
    high = above * (1 - 1 / (9 * above) + _Z / (3 * sqrt(above))) ** 3
    return Rate(count * scale, max(low, 0.0) * scale, high * scale)
