"""What the time of day and the day of the week usually do to a series, learned robustly and used only once it has helped.

A profile learns deviations from whatever level its caller keeps, hour by hour: the mean of an hour of UTC is one observation of that hour
of the day, and of that hour of the week. Each observation moves its cell by a share of the distance, clipped against the usual distance, so
one bad day cannot bend it. The day's cell counts after `LEAST_DAYS` days, the week's as a correction on top after `LEAST_WEEKS`. The
whole profile is used only while it foretells the hours clearly better than the bare level does, so a series without a daily rhythm
is judged as if there were none.

Hours are those of UTC: a change to or from daylight saving time shifts the rhythm by an hour until it is learned again.

Source: the seasonal part of P. R. Winters, Forecasting Sales by Exponentially Weighted Moving Averages, Management Science 6, 1960, with
errors clipped as in S. Gelper, R. Fried, C. Croux, Robust Forecasting with Exponential and Holt-Winters Smoothing, J. Forecasting 29, 2010.
"""

from typing import Final

import numpy as np

from sentinel.core.jit import kernel

HOUR_S: Final = 3_600.0
HOURS: Final = 24
WEEK_HOURS: Final = 168

LEAST_DAYS: Final = 2
"""Days an hour of the day must have been seen on."""

LEAST_WEEKS: Final = 2
"""Weeks an hour of the week must have been seen in."""

MEMORY: Final = 14
"""Observations a cell averages over at most: two weeks of days, a quarter of a year of weeks."""

CLIP: Final = 3.0
"""An observation counts as no further from its cell than this many usual distances."""

LEAST_ERROR: Final = 0.1
"""The usual distance is at least this share of that without the profile: what was exact until now may still change."""

BENEFIT: Final = 0.8
"""A profile comes into use when its errors are at most this share of those without it, and stays while they are smaller at all."""

JUDGED_HOURS: Final = 72
"""Hours over which both errors are averaged: three days."""

LATEST_S: Final = 1e11
"""Times from here on (the year 5138) are no times."""

PROFILE: Final = np.dtype(
    [
        ("hour", np.int64),
        ("count", np.int64),
        ("sum", np.float64),
        ("judged", np.int64),
        ("used", np.int64),
        ("error", np.float64),
        ("plain_error", np.float64),
        ("day", np.float64, (HOURS,)),
        ("days", np.int16, (HOURS,)),
        ("week", np.float64, (WEEK_HOURS,)),
        ("weeks", np.int16, (WEEK_HOURS,)),
    ]
)
"""One profile, 2 kB. All zero is an empty one."""


@kernel
def foretold(rec: np.void, hour: int) -> float:
    """What the cells say about an hour (hours since 1970-01-01 UTC); NaN while its hour of the day is too new."""
    of_day = hour % HOURS
    of_week = hour % WEEK_HOURS
    if rec["days"][of_day] < LEAST_DAYS:
        return np.nan
    offset: float = rec["day"][of_day]
    weeks = rec["weeks"][of_week]
    if weeks >= LEAST_WEEKS:
        offset += rec["week"][of_week] * weeks / (weeks + 1.0)
    return offset


@kernel
def expected(rec: np.void, t_s: float) -> float:
    """The deviation from the level that is usual at this time; 0.0 where nothing is known or the profile has not proved useful.

    Args:
        rec: a record of `PROFILE`, not changed.
        t_s: event time in seconds since 1970-01-01 UTC.
    """
    if rec["used"] == 0 or not 0.0 <= t_s < LATEST_S:
        return 0.0
    offset = foretold(rec, int(t_s // HOUR_S))
    return 0.0 if np.isnan(offset) else offset


@kernel
def usual_error(rec: np.void) -> float:
    """The usual distance of an hour from what was foretold; infinity while too few were judged."""
    if rec["judged"] < HOURS:
        return np.inf
    return float(max(rec["error"], LEAST_ERROR * rec["plain_error"]))


@kernel
def judge(rec: np.void, observed: float) -> None:
    """Compare what was foretold of the hour at hand with what came, and decide whether the profile is used."""
    offset = foretold(rec, rec["hour"])
    if np.isnan(offset):
        return
    judged = rec["judged"]
    error = min(abs(observed - offset), 2.0 * CLIP * usual_error(rec))
    plain = abs(observed)
    if judged >= HOURS:
        plain = min(plain, 2.0 * CLIP * rec["plain_error"])
    weight = 1.0 / min(judged + 1, JUDGED_HOURS)
    rec["error"] += weight * (error - rec["error"])
    rec["plain_error"] += weight * (plain - rec["plain_error"])
    rec["judged"] = judged + 1
    if judged + 1 >= HOURS:
        bar = 1.0 if rec["used"] else BENEFIT
        rec["used"] = 1 if rec["error"] < bar * rec["plain_error"] else 0


@kernel
def fold(rec: np.void) -> None:
    """Take the hour that has ended in: first into the errors, then into its cells."""
    observed = rec["sum"] / rec["count"]
    judge(rec, observed)
    of_day = rec["hour"] % HOURS
    of_week = rec["hour"] % WEEK_HOURS
    bound = CLIP * usual_error(rec)
    days = min(rec["days"][of_day] + 1, MEMORY)
    rec["days"][of_day] = days
    rec["day"][of_day] += min(max(observed - rec["day"][of_day], -bound), bound) / days
    weeks = min(rec["weeks"][of_week] + 1, MEMORY)
    rec["weeks"][of_week] = weeks
    left = observed - rec["day"][of_day] - rec["week"][of_week]
    rec["week"][of_week] += min(max(left, -bound), bound) / weeks


@kernel
def learn(rec: np.void, t_s: float, deviation: float) -> None:
    """Take one deviation from the level in. Times before the hour at hand, and what is not finite, are left out.

    Args:
        rec: a record of `PROFILE`.
        t_s: event time in seconds since 1970-01-01 UTC.
        deviation: of the value from the level that the caller keeps; clipped by the caller, so that one absurd value is not its hour.
    """
    if not (0.0 <= t_s < LATEST_S and np.isfinite(deviation)):
        return
    hour = int(t_s // HOUR_S)
    count = rec["count"]
    if count > 0 and hour < rec["hour"]:
        return
    if count > 0 and hour > rec["hour"]:
        fold(rec)
        rec["count"] = 0
        rec["sum"] = 0.0
    rec["hour"] = hour
    rec["count"] += 1
    rec["sum"] += deviation
