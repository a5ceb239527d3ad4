"""What a period will have cost at its end, with an interval: a profile of what each part of the period usually costs, and how it is
missed.

A period is made of units: an hour of twelve times five minutes, a day of hours, a month of days. For each kind of unit (the hour of the
day, the day of the week) the usual spend is averaged over the last occurrences. What is still to come is their sum; how far off that may
be follows from the errors of past units, whose correlation from one to the next is learned as well: a day that began expensive stays so.

Trust the interval once every kind of unit has been seen twice; before that there is none. It knows no growth and no holidays, and a price
change shows only as units are seen at the new price.

Source: seasonal means with first-order autoregressive errors, G. E. P. Box, G. M. Jenkins, Time Series Analysis, 1970, chapter 5.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import numpy as np

from sentinel.core.batch import Bool, Float64, Int64
from sentinel.detection.closing import HOUR_NS, SECOND_NS
from sentinel.detection.columns import Columns

Period = Literal["hour", "day", "month"]

DAY_NS: Final = 24 * HOUR_NS
UNIT_NS: Final[dict[Period, int]] = {"hour": 300 * SECOND_NS, "day": HOUR_NS, "month": DAY_NS}
KINDS: Final[dict[Period, int]] = {"hour": 1, "day": 24, "month": 7}
MOST_KINDS: Final = 24

OCCURRENCES: Final = 8
"""Occurrences of a kind of unit that its usual spend averages over."""

ERRORS: Final = 48
"""Units that the size of errors averages over."""

LEAST_UNITS: Final = 12
"""Units before there is a forecast; every kind has been seen twice as well."""

STANDARD_ERRORS: Final = 1.645
"""Half width of the interval: nine of ten periods end within it, one in twenty below."""

MOST_CORRELATION: Final = 0.9

COLUMNS: Final[dict[str, tuple[type[Any], tuple[int, ...]]]] = {
    "unit": (np.int64, ()),
    "whole": (np.int8, ()),
    "units": (np.int32, ()),
    "usual": (np.float64, (MOST_KINDS,)),
    "seen": (np.int32, (MOST_KINDS,)),
    "variance": (np.float64, ()),
    "covariance": (np.float64, ()),
    "error": (np.float64, ()),
}
"""What is kept of each who spends: `unit` is what the unit at hand has cost, `error` how far the last one was off."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The spend at the end of the period, float64[s] each; NaN where too little is known."""

    expected: Float64
    lower: Float64
    upper: Float64


def start_of(period: Period, ts_ns: int) -> int:
    """When the period began that a time lies in, by the calendar in UTC.

    >>> start_of("month", 1_768_473_000_000_000_000) == int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * SECOND_NS
    True
    """
    if period != "month":
        length = HOUR_NS if period == "hour" else DAY_NS
        return ts_ns - ts_ns % length
    first = datetime.fromtimestamp(ts_ns // SECOND_NS, tz=UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return int(first.timestamp()) * SECOND_NS


def end_of(period: Period, start_ns: int) -> int:
    """When the period ends that begins at `start_ns`."""
    if period != "month":
        return start_ns + (HOUR_NS if period == "hour" else DAY_NS)
    return start_of("month", start_ns + 31 * DAY_NS)


def kind_of(period: Period, unit_start_ns: int) -> int:
    """Of which kind a unit is."""
    return unit_start_ns // UNIT_NS[period] % KINDS[period]


def learn(columns: Columns, who: Int64, kind: int) -> None:
    """A unit has ended: take what it cost in, as int64[s] rows of `columns`. The first one, which may not be whole, is left out."""
    whole = who[columns["whole"][who] > 0]
    spent = columns["unit"][whole].astype(np.float64)
    seen = columns["seen"][whole, kind]
    usual = columns["usual"][whole, kind]
    error = np.where(seen > 0, spent - usual, 0.0)
    weight = 1.0 / np.minimum(np.maximum(columns["units"][whole], 1), ERRORS)
    columns["variance"][whole] += weight * (error**2 - columns["variance"][whole])
    columns["covariance"][whole] += weight * (error * columns["error"][whole] - columns["covariance"][whole])
    columns["error"][whole] = error
    columns["usual"][whole, kind] += (spent - usual) / np.minimum(seen + 1, OCCURRENCES)
    columns["seen"][whole, kind] += 1
    columns["units"][whole] += 1
    columns["whole"][who] = 1
    columns["unit"][who] = 0


def forecast(columns: Columns, who: Int64, period: Period, spent: Int64, now_ns: int, end_ns: int) -> Forecast:
    """What the period will have cost.

    Args:
        columns: as in COLUMNS.
        who: int64[s], rows of them.
        period: its kind.
        spent: int64[s], in this period until now.
        now_ns: until when everything is counted, before the end.
        end_ns: its end.
    """
    unit_ns, kinds = UNIT_NS[period], KINDS[period]
    at_hand = now_ns - now_ns % unit_ns
    left = np.bincount([kind_of(period, ns) for ns in range(at_hand + unit_ns, end_ns, unit_ns)], minlength=kinds).astype(np.float64)
    usual, seen = columns["usual"][who, :kinds], columns["seen"][who, :kinds]
    rest = usual @ left + np.maximum(usual[:, kind_of(period, at_hand)] - columns["unit"][who], 0.0)
    variance = columns["variance"][who]
    correlation = np.divide(columns["covariance"][who], variance, out=np.zeros(len(who)), where=variance > 0)
    correlation = np.clip(correlation, 0.0, MOST_CORRELATION)
    units = left.sum() + 1
    rest = rest + columns["error"][who] * correlation * (1 - correlation**units) / (1 - correlation)
    unsure = variance * _summed(correlation, units) + variance * (left**2 / np.clip(seen, 1, OCCURRENCES)).sum(axis=1)
    half = STANDARD_ERRORS * np.sqrt(unsure)
    known = ready(columns, who, kinds)
    expected = np.where(known, spent + np.maximum(rest, 0.0), np.nan)
    return Forecast(expected, np.maximum(expected - half, np.where(known, spent, np.nan)), expected + half)


def _summed(correlation: Float64, units: float) -> Float64:
    """The variance of the sum of the next errors after a known one, in variances of one error.

    >>> _summed(np.array([0.0, 0.9]), 4.0).round(2).tolist()
    [4.0, 4.52]
    """
    past, rest = correlation**units, 1 - correlation**2
    sums = units - 2 * correlation * (1 - past) / (1 - correlation) + correlation**2 * (1 - past**2) / rest
    return rest / (1 - correlation) ** 2 * sums


def ready(columns: Columns, who: Int64, kinds: int) -> Bool:
    """bool[s], whether every kind of unit has been seen often enough."""
    known: Bool = (columns["seen"][who, :kinds] >= 2).all(axis=1) & (columns["units"][who] >= LEAST_UNITS)
    return known
