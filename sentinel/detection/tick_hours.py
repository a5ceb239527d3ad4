"""Hour-of-day residuals: what the time of day usually does to a quantity, used only once it has helped.

For every hour of UTC the usual deviation from the level of days is kept; between the middles of hours it is interpolated, so that nothing
jumps. An hour counts after it was seen on `LEAST_DAYS` days, and moves with each further day by a bounded step. All of it comes into use
when it foretells hours clearly better than the bare level does (`BENEFIT`), and goes out of use when it is no better at all: a series
without a daily rhythm is judged as if there were none.

Traffic, which knows working days and weekends, has a profile of the whole week as well (`sentinel.detection.profile`).

Source: the seasonal part of P. R. Winters, Forecasting Sales by Exponentially Weighted Moving Averages, Management Science 6, 1960.
"""

from typing import Any, Final

import numpy as np

from sentinel.core.jit import leaf

HOUR_NS: Final = 3_600_000_000_000
HOURS: Final = 24
LEAST_DAYS: Final = 2
MEMORY_DAYS: Final = 7
"""Days over which an hour's deviation is averaged: a week holds every kind of day."""
LEAST_EVENTS: Final = 20.0
"""Events an hour must hold to be learned."""
BENEFIT: Final = 0.8
"""Squared error, as a share of that of the bare level, from which the hours are used."""
LEAST_JUDGED: Final = 12.0
MOST_JUDGED: Final = 72.0
"""Hours foretold before a decision, and hours over which errors are averaged."""
CLIP: Final = 3.0
"""No hour moves what is usual by more than this many usual errors a day."""

OF_DAY: Final[list[Any]] = [
    ("hours", "f4", (HOURS,)),
    ("days", "i1", (HOURS,)),
    ("hour", "i8"),
    ("hour_sum", "f8"),
    ("hour_n", "f8"),
    ("judged", "f8"),
    ("used", "i8"),
    ("error", "f8"),
    ("plain", "f8"),
    ("shade", "f8"),
    ("shaded", "i8"),
]
"""Deviation of each hour and days it was seen; the hour at hand; how well hours were foretold; what is in use now."""


@leaf
def foretold(rec: np.void, ts: int) -> float:
    """The usual deviation at a time, between the middles of two hours; NaN while one of them is too new."""
    at = ts / HOUR_NS - 0.5
    first = int(np.floor(at))
    a, b = first % HOURS, (first + 1) % HOURS
    if rec["days"][a] < LEAST_DAYS or rec["days"][b] < LEAST_DAYS:
        return np.nan
    return float(rec["hours"][a] + (at - first) * (rec["hours"][b] - rec["hours"][a]))


@leaf
def judge_hours(rec: np.void, seen: float, hour: int) -> None:
    """Compare what was foretold of an hour with what came, and decide whether the hours are used."""
    if rec["days"][hour] < LEAST_DAYS:
        return
    bound = (CLIP * CLIP) * rec["plain"] if rec["judged"] >= LEAST_JUDGED else np.inf
    off = seen - rec["hours"][hour]
    weight = 1.0 / min(rec["judged"] + 1.0, MOST_JUDGED)
    rec["error"] += weight * (min(off * off, bound) - rec["error"])
    rec["plain"] += weight * (min(seen * seen, bound) - rec["plain"])
    rec["judged"] += 1.0
    if rec["judged"] >= LEAST_JUDGED:
        rec["used"] = 1 if rec["error"] < (1.0 if rec["used"] else BENEFIT) * rec["plain"] else 0


@leaf
def learn_hour(rec: np.void, ts: int, total: float, n: float) -> None:
    """Take in deviations from the level of days: n of them, `total` in sum, each bounded by the caller.

    >>> rec = np.zeros(1, OF_DAY)[0]
    >>> for hour in range(24 * 6):
    ...     learn_hour(rec, hour * HOUR_NS + 1, 30 * np.sin(hour / 24 * 2 * np.pi), 30.0)
    >>> int(rec["used"]), round(foretold(rec, int(6.5 * HOUR_NS)), 2)
    (1, 1.0)
    """
    hour = ts // HOUR_NS
    if hour != rec["hour"]:
        if rec["hour_n"] >= LEAST_EVENTS:
            seen = rec["hour_sum"] / rec["hour_n"]
            of_day = rec["hour"] % HOURS
            judge_hours(rec, seen, of_day)
            step = seen - rec["hours"][of_day]
            if rec["judged"] >= LEAST_JUDGED:
                reach = CLIP * np.sqrt(rec["error"])
                step = min(max(step, -reach), reach)
            rec["days"][of_day] = min(rec["days"][of_day] + 1, MEMORY_DAYS)
            rec["hours"][of_day] += step / rec["days"][of_day]
        rec["hour"] = hour
        rec["hour_sum"] = 0.0
        rec["hour_n"] = 0.0
    rec["hour_sum"] += total
    rec["hour_n"] += n


@leaf
def next_shade(rec: np.void, ts: int) -> float:
    """Move on to what this time of day usually does; returns by how much the level must move so that nothing jumps."""
    usual = foretold(rec, ts) if rec["used"] else np.nan
    shaded = 0 if np.isnan(usual) else 1
    if shaded == 0:
        usual = 0.0
    step = 0.0
    if shaded != rec["shaded"]:
        step = rec["shade"] - usual
        rec["shaded"] = shaded
    rec["shade"] = usual
    return float(step)
