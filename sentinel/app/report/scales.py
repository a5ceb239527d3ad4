"""From values to places on a plot, and where its axes are marked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, exp, floor, log, log10
from typing import Final

from sentinel.app.report.units import SECOND_NS

_STEPS_S: Final = (
    1,
    5,
    15,
    30,
    60,
    300,
    900,
    1_800,
    3_600,
    10_800,
    21_600,
    43_200,
    86_400,
    172_800,
    604_800,
    1_209_600,
    2_592_000,
    7_776_000,
)
_WIDE: Final = 30.0
"""Values are drawn on a logarithmic axis when the largest is so many times the usual one: on a linear one nothing else would be seen."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A vertical axis, linear or logarithmic.

    Attributes:
        low, high: values at its ends, low < high.
        bottom, top: places of these values.
    """

    low: float
    high: float
    bottom: float
    top: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """The place of a value; one beyond the ends stands at the end."""
        value = min(max(value, self.low), self.high)
        share = log(value / self.low) / log(self.high / self.low) if self.logarithmic else (value - self.low) / (self.high - self.low)
        return self.bottom + (self.top - self.bottom) * share

    def marks(self) -> list[float]:
        """Round values to mark, a handful."""
        return _log_marks(self.low, self.high) if self.logarithmic else _linear_marks(self.low, self.high)


def scale_of(values: Sequence[float], usual: float, bottom: float, top: float) -> Scale:
    """An axis that holds all values.

    Args:
        values: finite, what has to be seen.
        usual: a value in the middle of most; 0 for an axis that is linear in any case.
        bottom: place of its lower end.
        top: place of its upper end.
    """
    if not values:
        return Scale(0.0, 1.0, bottom, top)
    low, high = min(values), max(values)
    positive = [value for value in values if value > 0]
    if low >= 0 and usual > 0 and high > _WIDE * usual:
        floor_value = max(min(positive), usual / 100)
        return Scale(floor_value * 0.8, high * 1.25, bottom, top, logarithmic=True)
    if low >= 0:
        # Zero belongs on the axis unless the values lie in a narrow range far from it.
        low = 0.0 if low < 0.6 * high else low - 0.3 * (high - low)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return Scale(low if low == 0 else low - room, high + room, bottom, top)


def _linear_marks(low: float, high: float) -> list[float]:
    """Multiples of a round step.

    >>> _linear_marks(0.0, 10.6)
    [0.0, 2.5, 5.0, 7.5, 10.0]
    """
    rough = (high - low) / 4
    power: float = 10.0 ** floor(log10(rough))
    step = min((unit * power for unit in (1, 2, 2.5, 5, 10)), key=lambda candidate: abs(log(candidate / rough)))
    return [round(index * step, 12) for index in range(ceil(low / step), floor(high / step) + 1)]


def _log_marks(low: float, high: float) -> list[float]:
    """Round numbers, fewer the more decades there are.

    >>> _log_marks(90.0, 12_000.0)
    [100.0, 300.0, 1000.0, 3000.0, 10000.0]
    """
    decades = log10(high / low)
    units: tuple[int, ...] = (1, 2, 5) if decades < 1.8 else (1, 3) if decades < 2.6 else (1,)
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    marks = [float(unit * 10.0**power) for power in powers for unit in units if low <= unit * 10.0**power <= high]
    return marks[:: ceil(len(marks) / 6)] if marks else [exp((log(low) + log(high)) / 2)]


@dataclass(frozen=True, slots=True)
class TimeScale:
    """A horizontal axis of time in UTC: `start_ns` stands at `left`, `end_ns` at `right`."""

    start_ns: int
    end_ns: int
    left: float
    right: float

    def at(self, ts_ns: float) -> float:
        """The place of a time; one beyond the ends stands at the end."""
        share = (ts_ns - self.start_ns) / max(self.end_ns - self.start_ns, 1)
        return self.left + (self.right - self.left) * min(max(share, 0.0), 1.0)

    def marks(self) -> list[tuple[int, str]]:
        """Round times to mark and what to write there, eight or so."""
        length_s = (self.end_ns - self.start_ns) / SECOND_NS
        step_s = next((step for step in _STEPS_S if length_s / step <= 9), _STEPS_S[-1])
        first = -(-self.start_ns // (step_s * SECOND_NS)) * step_s
        times = range(first, self.end_ns // SECOND_NS + 1, step_s)
        return [(at * SECOND_NS, _label(at, step_s)) for at in times]


def _label(at_s: int, step_s: int) -> str:
    """The date where a day begins, else the time of day.

    >>> _label(1_768_435_200, 21_600), _label(1_768_456_800, 21_600)
    ('15 Jan', '06:00')
    """
    when = datetime.fromtimestamp(at_s, tz=UTC)
    if at_s % 86_400 == 0:
        return f"{when.day} {when:%b}"
    return f"{when:%H:%M}" if step_s >= 60 else f"{when:%H:%M:%S}"
