"""Plain values over time: each five minutes of a series give one value per metric, its mean, which goes through a `Gauge`.

It is for slow values with a rhythm: a level that creeps over hours, a night that looks like a day, a cost per request that is wrong only
for the hour. The tick engine (`ticks`) watches the same series and is faster, so this is off by default. On the recordings of the Numenta
Anomaly Benchmark the gauge behind it reaches 69 of 100.

A series is told of after three days, when its daily rhythm is known: until then every morning is news. It does not see changes within
the noise of single values, and the end of a fault of many hours may be told as another change. Five minutes without an event are a value
for the rate of requests alone; a fall of the error rate is not told.

Cost: 7 kB a series and metric, for at most `detection.max_watched_series` series.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from msgspec import structs

from sentinel.config.sections_usage import Gauges as Rules
from sentinel.core.anomaly import Anomaly, DetectorName
from sentinel.core.batch import Float64, Int64
from sentinel.core.explain import number
from sentinel.core.metrics import ERROR, METRICS
from sentinel.core.timestamp import rfc3339
from sentinel.detection.closing import HOUR_NS, PANE, SECOND_NS, SHORT, Told, Window, anomaly_of, severities
from sentinel.detection.columns import Columns, Tables
from sentinel.detection.gauge import Gauge
from sentinel.detection.gauge_state import GAUGE
from sentinel.detection.panes import EVENTS, SAMPLES, UNITS
from sentinel.detection.telling import Telling

REQUESTS: Final = -1
"""Stands for the column of a measure that counts events."""

WARM_UP_NS: Final = 72 * HOUR_NS
"""Time after the first value before a series is told of: from then on a gauge knows the hours of the day."""

WEEK_NS: Final = 7 * 24 * HOUR_NS
"""Time after which a baseline is full: every day of the week has been seen."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What one value of five minutes is: its metric's column, and the types of its rises and falls; None = not told."""

    column: int
    rises: str
    falls: str | None


MEASURES: Final[Mapping[str, Measure]] = {
    **{metric.name: Measure(column, metric.drift, metric.drift) for column, metric in enumerate(METRICS) if column != ERROR},
    "error_rate": Measure(ERROR, METRICS[ERROR].drift, None),
    "requests_per_minute": Measure(REQUESTS, "throughput_surge", "throughput_drop"),
}
"""By the names that `detection.gauges.metrics` knows them by."""


class Gauges:
    """The gauges of a partition's series. A `WindowDetector`.

    Args:
        rules: the gauges section.
        strictness: scales the threshold; 1.0 at medium sensitivity.
    """

    def __init__(self, rules: Rules, strictness: float = 1.0) -> None:
        self._courses = {name: _Course(name, rules.threshold * strictness) for name in rules.metrics}

    def close(self, window: Window) -> list[Anomaly]:
        """Judge the values of five minutes, each just before it is learned."""
        if window.width != SHORT:
            return []
        return [anomaly for course in self._courses.values() for anomaly in course.close(window)]

    def forget(self, rows: Int64, services: Int64) -> None:
        """These series were never seen."""
        del services
        for course in self._courses.values():
            course.forget(rows)

    def accept(self, rows: Int64, services: Int64) -> None:
        """Where a finding goes on, the level of the last values is the level from now on."""
        del services
        for course in self._courses.values():
            course.accept(rows)

    def tables(self) -> Tables:
        """All of its state."""
        return {f"{name}.{key}": table for name, course in self._courses.items() for key, table in course.tables().items()}

    def load(self, tables: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what `tables` was called on; metrics that are missing or of another format start empty."""
        for name, course in self._courses.items():
            prefix = f"{name}."
            course.load({key.removeprefix(prefix): table for key, table in tables.items() if key.startswith(prefix)})


class _Course:
    """One metric of all series.

    Args:
        name: one of MEASURES.
        threshold: of the gauge.
    """

    def __init__(self, name: str, threshold: float) -> None:
        self._name = name
        self._measure = MEASURES[name]
        self._gauge = Gauge(threshold)
        # Has its kernel compiled now, not when the first window closes.
        self._gauge.score(np.empty(0, np.int32), np.empty(0), np.empty(0))
        self._columns = Columns(first=(np.int64, ()))
        self._telling = Telling(1)

    def close(self, window: Window) -> list[Anomaly]:
        for part in (self._gauge, self._columns, self._telling):
            part.reserve(len(window.names))
        rows, samples, values = self._measured(window)
        if not len(rows):
            return []
        found = self._gauge.score(rows.astype(np.int32), np.full(len(rows), window.start_ns / SECOND_NS), values)
        first = self._columns["first"]
        first[rows] = np.where(first[rows] > 0, first[rows], window.end_ns)
        warm = (window.end_ns - first[rows] >= WARM_UP_NS)[:, None]
        wanted = True if self._measure.falls else values > found.expected
        score = np.where(wanted, found.score, 0.0)
        # Telling lets no short window end a finding, for detectors that judge hours too; this one does not.
        apart = replace(window, width=PANE)
        tells = self._telling.step(rows, score[:, None], severities(score)[:, None], apart, may_begin=warm)[:, 0]
        band = np.stack((found.expected, np.maximum(found.lower, 0.0), found.upper), axis=1)
        return [
            self._told(window, int(rows[at]), int(samples[at]), float(values[at]), float(score[at]), band[at])
            for at in np.flatnonzero(tells).tolist()
        ]

    def forget(self, rows: Int64) -> None:
        self._gauge.restart(rows[rows < len(self._gauge)].astype(np.int32))
        self._columns.forget(rows)
        self._telling.forget(rows)

    def accept(self, rows: Int64) -> None:
        active = rows[self._telling.active(rows)[:, 0]]
        for row in active.tolist():
            self._gauge.accept(row)
        self._telling.end(active, 0)

    def tables(self) -> Tables:
        own = self._columns.tables()
        return own | self._telling.tables("telling.") | {"gauges": self._gauge.tables()["gauges"][: len(own["first"])]}

    def load(self, tables: Mapping[str, npt.NDArray[Any]]) -> None:
        if "gauges" not in tables or tables["gauges"].dtype != GAUGE:
            tables = {"gauges": np.zeros(0, GAUGE)}
        self._gauge.load(tables)
        self._columns.load(tables)
        self._telling.load(tables, "telling.")

    def _measured(self, window: Window) -> tuple[Int64, Int64, Float64]:
        """The rows that have a value, int64[r], their samples, int64[r], and the values, float64[r], in the metric's unit."""
        column = self._measure.column
        if column != REQUESTS:
            samples = window.tally[:, SAMPLES][:, column].astype(np.int64)
            known = samples > 0
            values: Float64 = window.sums[known, column] / UNITS[column] / samples[known]
            return window.rows[known], samples[known], values
        events = np.zeros(len(window.names), np.int64)
        events[window.rows] = window.tally[:, EVENTS]
        rows = np.flatnonzero((events > 0) | (self._columns["first"][: len(events)] > 0))
        return rows, events[rows], events[rows] / (window.seconds / 60.0)

    def _told(self, window: Window, row: int, samples: int, value: float, score: float, band: Float64) -> Anomaly:
        series, (expected, lower, upper) = window.names[row], band.tolist()
        rises = value > expected
        side = "above" if rises else "below"
        since_ns = int(self._telling.since_ns(np.array([row]))[0, 0])
        together = " together with those before it," if lower <= value <= upper else ""
        usual = f", single values {number(lower)} to {number(upper)}" if lower <= upper else ""
        sentence = (
            f"{self._name} of {series.service} / {series.model} is {number(value)} over {window.minutes} ({number(samples)} samples),"
            f"{together} {side} what is expected at this time ({number(expected)}{usual}), since {rfc3339(since_ns)}."
        )
        anomaly = anomaly_of(
            window,
            Told(
                series=series,
                metric=self._name,
                type=self._measure.rises if rises or self._measure.falls is None else self._measure.falls,
                detector=DetectorName.LEVEL,
                value=value,
                score=score,
                severity=int(severities(np.array([score]))[0]),
                expected=expected,
                lower=lower,
                upper=upper,
                samples=samples,
                since_ns=since_ns,
                confidence=min(1.0, (window.end_ns - int(self._columns["first"][row])) / WEEK_NS),
                explanation=sentence,
            ),
        )
        # A run may lie within the band of single values: its direction is that from the centre.
        return structs.replace(anomaly, direction=side)
