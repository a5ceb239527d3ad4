"""What a series did over time, for a plot: its values, what was expected of them, and where they were judged anomalous."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from heapq import heappush, heapreplace
from math import isfinite
from typing import Final, NamedTuple

import numpy as np

from sentinel.alerting.sightings import alert_worthy
from sentinel.app.backtest.columns import Columns
from sentinel.app.backtest.measure import Kind, measure_of
from sentinel.app.backtest.replay import Found
from sentinel.core.alert import Worth
from sentinel.core.anomaly import Anomaly, Severity
from sentinel.core.batch import CleanBatch, Float64, SeriesKey
from sentinel.core.flags import learnable
from sentinel.core.timestamp import nanoseconds
from sentinel.detection.ticks import TickBand

MINUTE_NS: Final = 60_000_000_000
LEAST_REQUESTS: Final = 8.0
"""Requests a stretch has on average at least: the median of fewer jumps about, and a plot of it hides what it is to show."""
FEWEST_POINTS: Final = 60
"""Stretches a plot has at least, however few requests there are."""
MOST_MARKS: Final = 400
"""Anomalies a plot marks; the strongest of more."""


class Mark(NamedTuple):
    """An anomaly on a plot. The strongest compares highest, of equals the latest; `number` tells apart all that a plot is offered."""

    score: float
    number: int
    ts_ns: int
    anomaly: Anomaly


class Watched(NamedTuple):
    """What is plotted: a metric of a series."""

    series: SeriesKey
    metric: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a plot shows, as columns of k stretches of equal length; NaN where there is nothing.

    Attributes:
        what: whose values they are; measure: what `value` is, in a word or two.
        start_ns: event time of the first stretch; width_ns: length of each.
        value: float64[k]; high: float64[k], the 95th percentile of single requests, None where a metric has no such thing.
        lower, expected, upper: float64[k], the band at that time.
        marks: anomalies, the earliest first; unmarked: how many weaker ones there were besides.
    """

    what: Watched
    measure: str
    start_ns: int
    width_ns: int
    value: Float64
    high: Float64 | None
    lower: Float64
    expected: Float64
    upper: Float64
    marks: list[Mark]
    unmarked: int


class Traces:
    """Watches several traces, and looks at bands and anomalies once for all.

    Args:
        wanted: what to watch.
        width_ns: the shortest stretch of time worth a point.
        worth: which anomalies become alerts. They are marked whatever their severity; all others are facts of the record.
    """

    def __init__(self, wanted: Iterable[Watched], width_ns: int, worth: Worth) -> None:
        self._traces = {what: Trace(what, width_ns) for what in wanted}
        self._width_ns = width_ns
        self._worth = replace(worth, min_severity=Severity.INFO.value)
        self._looked = -1

    def see(self, found: Found) -> None:
        """Take in what was found, and the bands when event time has gone on enough."""
        for what, trace in self._traces.items():
            if what.series in found.batch.names:
                trace.see(found.batch, found.batch.names.index(what.series))
        for anomaly in alert_worthy(found.batch, found.anomalies, found.windows, self._worth):
            about = self._traces.get(Watched(SeriesKey(anomaly.tenant, anomaly.service, anomaly.model), anomaly.metric))
            if about is not None:
                about.mark(anomaly)
        place = found.watermark_ns // self._width_ns
        if place > self._looked:
            self._looked = place
            for band in found.over_time.bands():
                about = self._traces.get(Watched(band.series, band.quantity))
                if about is not None:
                    about.expect(band, found.watermark_ns)

    def drawn(self) -> list[Drawn]:
        """The plots, those of which nothing was seen left out."""
        return [drawn for trace in self._traces.values() if (drawn := trace.drawn()) is not None]


class Trace:
    """One metric of one series over time. Memory is bounded.

    Args:
        what: it is.
        width_ns: the shortest stretch of time worth a point.
    """

    def __init__(self, what: Watched, width_ns: int) -> None:
        self._what = what
        self._measure = measure_of(what.metric)
        self._columns = Columns(width_ns, ("requests", "count", "sum", "bands", "lower", "expected", "upper", "looks", "latest"))
        self._marks: list[Mark] = []
        self._offered = 0

    def see(self, batch: CleanBatch, code: int) -> None:
        """Take in the values of the series, number `code` of a batch."""
        mine = np.flatnonzero(batch.series == code)
        places = self._columns.places(batch.ts_ns[mine])
        self._columns.add("requests", places, np.ones(len(mine)))
        column = self._measure.column
        if self._measure.kind is Kind.PERSONAL:
            self._columns.add("sum", places, batch.personal[mine].astype(np.float64))
        if column is None:
            return
        values = learnable(batch.metrics, batch.flags)[mine, column]
        given = ~np.isnan(values)
        self._columns.add("count", places[given], np.ones(np.count_nonzero(given)))
        self._columns.add("sum", places[given], values[given])
        if self._measure.kind is Kind.QUANTILES:
            self._columns.sketch(places[given], values[given])

    def mark(self, anomaly: Anomaly) -> None:
        """Mark an anomaly, unless all that are marked are stronger."""
        self._offered += 1
        mark = Mark(anomaly.score, self._offered, nanoseconds(anomaly.timestamp), anomaly)
        if len(self._marks) < MOST_MARKS:
            heappush(self._marks, mark)
        elif mark > self._marks[0]:
            heapreplace(self._marks, mark)

    def expect(self, band: TickBand, at_ns: int) -> None:
        """Take in what is expected at a time; a band that is not known yet is left out."""
        place = self._columns.places(np.array([at_ns]))
        if isfinite(band.lower) and isfinite(band.upper):
            for name, value in (("bands", 1.0), ("lower", band.lower), ("expected", band.expected), ("upper", band.upper)):
                self._columns.add(name, place, np.array([value]))
        if isfinite(band.latest):
            self._columns.add("looks", place, np.ones(1))
            self._columns.add("latest", place, np.array([band.latest]))

    def drawn(self) -> Drawn | None:
        """What the plot shows; None when there are no values to show."""
        columns = self._columns
        if columns.start_ns is None:
            return None
        columns.settle("requests", LEAST_REQUESTS, FEWEST_POINTS)
        value = self._value()
        if not np.isfinite(value).any():
            return None
        return Drawn(
            what=self._what,
            measure=self._measure.kind.value,
            start_ns=columns.start_ns,
            width_ns=columns.width_ns,
            value=value,
            high=columns.quantile(0.95) if self._measure.kind is Kind.QUANTILES else None,
            lower=_carried(columns.mean("lower", "bands")),
            expected=_carried(columns.mean("expected", "bands")),
            upper=_carried(columns.mean("upper", "bands")),
            marks=sorted(self._marks, key=lambda mark: mark.ts_ns),
            unmarked=self._offered - len(self._marks),
        )

    def _value(self) -> Float64:
        """float64[used], the value of each stretch."""
        columns, kind = self._columns, self._measure.kind
        if kind is Kind.QUANTILES:
            return columns.quantile(0.5)
        if kind is Kind.SHARE:
            return columns.mean("sum", "count")
        if kind is Kind.PERSONAL:
            return columns.mean("sum", "requests")
        if kind is Kind.JUDGED:
            return columns.mean("latest", "looks")
        value = columns.sums["requests" if kind is Kind.COUNT else "sum"][: columns.used] / (columns.width_ns / MINUTE_NS)
        value[-1] = np.nan if columns.used > 1 else value[-1]  # the last stretch has not ended
        return value


def _carried(column: Float64) -> Float64:
    """The column with lone gaps closed by the value before: looks and stretches do not quite keep step.

    >>> _carried(np.array([1.0, np.nan, 2.0, np.nan, np.nan])).tolist()
    [1.0, 1.0, 2.0, 2.0, nan]
    """
    before = np.concatenate(([np.nan], column[:-1]))
    return np.where(np.isnan(column), before, column)
