"""What detection should reach, and how far it got: one row a figure, as text for the terminal and for the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Final, NamedTuple

LEVELS: Final = ("floor", "goal", "moonshot")
NOT_REACHED: Final = "missed"


class Goal(NamedTuple):
    """One figure to be reached.

    Attributes:
        name: of the figure, with its unit.
        floor, goal, moonshot: what is the least, what is wanted, and what would be extraordinary.
        more: whether more is better.
    """

    name: str
    floor: float
    goal: float
    moonshot: float
    more: bool = False

    def reached(self, value: float) -> str:
        """The best level that a value reaches, `missed` when it is below the floor.

        >>> GOALS["recall"].reached(0.96), GOALS["chance"].reached(0.5)
        ('goal', 'missed')
        """
        limits = (self.floor, self.goal, self.moonshot)
        good = [level for level, limit in zip(LEVELS, limits, strict=True) if (value >= limit if self.more else value <= limit)]
        return good[-1] if good else NOT_REACHED


GOALS: Final[Mapping[str, Goal]] = {
    "recall": Goal("fault weeks, .5 requests/s: recall", 0.90, 0.95, 0.97, more=True),
    "chance": Goal("  chance", 0.10, 0.03, 0.03),
    "false": Goal("  false alerts a day", 2.0, 1.0, 0.5),
    "sparse recall": Goal("fault weeks, .05 requests/s: recall", 0.37, 0.60, 0.80, more=True),
    "sparse chance": Goal("  chance", 0.10, 0.03, 0.03),
    "sparse false": Goal("  false alerts a day", 2.0, 1.0, 0.5),
    "deploy": Goal("alerts in the 6 h after a deploy", 9, 3, 1),
    "latency_spike": Goal("median delay, latency spike, s", 35, 20, 10),
    "error_burst": Goal("median delay, error burst, s", 100, 60, 30),
    "silence": Goal("median delay, silence, s", 84, 60, 45),
    "latency_drift": Goal("median delay, drift, s", 3_060, 1_500, 900),
    "fleet": Goal("healthy fleet: false alerts a series-day", 0.1, 0.02, 0.005),
    "clean": Goal("clean streams: alerts per 1,000 events, worst stream", 1, 0.02, 0.005),
    "nab": Goal("NAB, standard profile, at the default threshold", 41, 62, 66, more=True),
}
"""All figures, in the order in which they are shown."""

DENSE_RATE, SPARSE_RATE = 0.5, 0.05
"""Requests a second for which goals exist."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one kind of traffic gave: a value for some of `GOALS`, NaN where nothing could be measured."""

    source: str
    values: Mapping[str, float]


def table(columns: Sequence[Figures]) -> list[str]:
    """The goals beside what was reached, as lines of text; figures that nothing measured are left out."""
    width = max(len(goal.name) for goal in GOALS.values()) + 2
    lines = [f"{'':{width}}{'floor':>8}{'goal':>8}{'moonshot':>10}" + "".join(f"{column.source:>24}" for column in columns)]
    for key, goal in GOALS.items():
        cells = [cell(goal, column.values[key]) if key in column.values else "" for column in columns]
        if any(cells):
            limits = f"{short(goal.floor):>8}{short(goal.goal):>8}{short(goal.moonshot):>10}"
            lines.append(f"{goal.name:{width}}{limits}" + "".join(f"{text:>24}" for text in cells))
    return lines


def cell(goal: Goal, value: float) -> str:
    """A value and the level it reaches."""
    return "none found" if isnan(value) else f"{short(value)} {goal.reached(value):>9}"


def short(value: float) -> str:
    """A figure with at most three digits that matter and at most four decimals.

    >>> [short(value) for value in (0.03, 0.9512, -0.00014, 2, 84.26, 3060, float("nan"))]
    ['.03', '.951', '-.0001', '2', '84.3', '3,060', '-']
    """
    if isnan(value):
        return "-"
    if value and abs(value) < 1:
        return (f"{value:.3g}" if abs(value) >= 0.01 else f"{value:.4f}".rstrip("0").rstrip(".")).replace("0.", ".", 1)
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
