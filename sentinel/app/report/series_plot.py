"""One series over time as SVG: values, the band they were expected in, anomalies and alerts."""

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Final

import numpy as np

from sentinel.app.backtest.alerts import PastAlert
from sentinel.app.backtest.trace import Drawn, Mark
from sentinel.app.report.markup import Markup, tag
from sentinel.app.report.scales import Scale, TimeScale, scale_of
from sentinel.app.report.spans import bars
from sentinel.app.report.units import moment, value_text
from sentinel.core.anomaly import SEVERITIES
from sentinel.core.batch import Bool, Float64

WIDTH: Final = 1_080.0
HEIGHT: Final = 250.0
LEFT, RIGHT, TOP, BOTTOM = 66.0, 14.0, 40.0, 22.0
_LEGEND_Y: Final = 10.0
_STRIP_Y: Final = 24.0
_STRIP: Final = 7.0
_MOST_HIGH: Final = 25.0
"""p95 is drawn only while it does not press the rest of the plot flat: up to so many times the largest of everything else."""


def series_plot(drawn: Drawn, alerts: Sequence[PastAlert], label: str) -> Markup:
    """The plot of one series, some 10 to 60 kB.

    Args:
        drawn: what to show.
        alerts: those about this series and metric.
        label: what it is, for people who do not see it.
    """
    x, y = _axes(drawn)
    parts = [
        *_grid(x, y, drawn.what.metric),
        *_told(x, alerts),
        *_band(drawn, x, y),
        *_lines(drawn, x, y),
        *(_mark(mark, x, y, drawn.what.metric) for mark in drawn.marks),
        *_legend(drawn, alerts),
    ]
    return tag("svg", parts, class_="plot", viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}", role="img", aria_label=label)


def _axes(drawn: Drawn) -> tuple[TimeScale, Scale]:
    seen = [*_finite(drawn.value), *_finite(drawn.lower), *_finite(drawn.upper), *(mark.anomaly.value for mark in drawn.marks)]
    if drawn.high is not None and seen:
        seen += [value for value in _finite(drawn.high) if value <= _MOST_HIGH * max(seen)]
    is_share = drawn.what.metric == "error" or drawn.what.metric.endswith("_rate")
    usual = 0.0 if is_share else float(np.median(_finite(drawn.value)))
    end_ns = drawn.start_ns + len(drawn.value) * drawn.width_ns
    return TimeScale(drawn.start_ns, end_ns, LEFT, WIDTH - RIGHT), scale_of([v for v in seen if isfinite(v)], usual, HEIGHT - BOTTOM, TOP)


def _finite(values: Float64) -> list[float]:
    found: list[float] = values[np.isfinite(values)].tolist()
    return found


def _grid(x: TimeScale, y: Scale, metric: str) -> Iterator[Markup]:
    for value in y.marks():
        at = y.at(value)
        yield tag("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at)
        yield tag("text", value_text(metric, value), class_="y", x=LEFT - 7, y=at)
    for ts_ns, text in x.marks():
        at = x.at(ts_ns)
        yield tag("line", class_="grid", x1=at, x2=at, y1=TOP, y2=HEIGHT - BOTTOM)
        if LEFT + 14 < at < WIDTH - RIGHT - 14:
            yield tag("text", text, class_="x", x=at, y=HEIGHT - BOTTOM + 15)
    yield tag("line", class_="axis", x1=LEFT, x2=WIDTH - RIGHT, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM)


def _told(x: TimeScale, alerts: Sequence[PastAlert]) -> Iterator[Markup]:
    """Each alert as a bar above the plot, and a shade through it."""
    for bar in bars(alerts, x, 3.0):
        place = {"x": bar.left, "width": bar.right - bar.left}
        yield tag("rect", class_=f"told {bar.css}", y=TOP, height=HEIGHT - BOTTOM - TOP, **place)
        yield tag("rect", tag("title", bar.says), class_=f"bar {bar.css}", y=_STRIP_Y, height=_STRIP, rx=2, **place)


def _band(drawn: Drawn, x: TimeScale, y: Scale) -> Iterator[Markup]:
    known = np.isfinite(drawn.lower) & np.isfinite(drawn.upper)
    for first, end in _runs(known):
        times = _times(drawn, x, first, end)
        upper = [f"{at:.1f} {y.at(value):.1f}" for at, value in zip(times, drawn.upper[first:end].tolist(), strict=True)]
        lower = [f"{at:.1f} {y.at(value):.1f}" for at, value in zip(times, drawn.lower[first:end].tolist(), strict=True)]
        yield tag("path", class_="band", d=f"M{'L'.join([*upper, *reversed(lower)])}Z")
    yield from _line(drawn, drawn.expected, "expected", x, y)


def _lines(drawn: Drawn, x: TimeScale, y: Scale) -> Iterator[Markup]:
    if drawn.high is not None:
        yield from _line(drawn, drawn.high, "high", x, y)
    yield from _line(drawn, drawn.value, "value", x, y)


def _line(drawn: Drawn, values: Float64, kind: str, x: TimeScale, y: Scale) -> Iterator[Markup]:
    """A line with gaps where there is nothing; a value between two gaps is a point."""
    for first, end in _runs(np.isfinite(values)):
        places = zip(_times(drawn, x, first, end), values[first:end].tolist(), strict=True)
        points = [f"{at:.1f} {y.at(value):.1f}" for at, value in places]
        if len(points) > 1:
            yield tag("path", class_=kind, d=f"M{'L'.join(points)}")
        elif kind == "value":
            yield tag("circle", class_="point", cx=points[0].split()[0], cy=points[0].split()[1], r=1.5)


def _times(drawn: Drawn, x: TimeScale, first: int, end: int) -> list[float]:
    """The places of the middles of some stretches."""
    return [x.at(drawn.start_ns + (at + 0.5) * drawn.width_ns) for at in range(first, end)]


def _runs(known: Bool) -> Iterator[tuple[int, int]]:
    """Where stretches that are true begin, and where they end.

    >>> list(_runs(np.array([True, True, False, True])))
    [(0, 2), (3, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([False], known, [False])).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _mark(mark: Mark, x: TimeScale, y: Scale, metric: str) -> Markup:
    """An anomaly: a diamond when critical, a triangle for a warning, a circle else."""
    anomaly, at = mark.anomaly, (x.at(mark.ts_ns), y.at(mark.anomaly.value))
    says = tag("title", f"{moment(mark.ts_ns)} UTC, {anomaly.severity}: {anomaly.explanation} ({value_text(metric, anomaly.value)})")
    return shape(anomaly.severity, *at, says)


def shape(severity: str, x: float, y: float, *says: Markup) -> Markup:
    """The sign of a severity, at a place."""
    if severity == "critical":
        return tag("path", *says, class_="mark critical", d=f"M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6-6z")
    if severity == "warning":
        return tag("path", *says, class_="mark warning", d=f"M{x:.1f} {y - 5.5:.1f}l5.5 9.5h-11z")
    return tag("circle", *says, class_="mark info", cx=x, cy=y, r=3.5)


def _legend(drawn: Drawn, alerts: Sequence[PastAlert]) -> Iterator[Markup]:
    """What the signs mean, those that are there."""
    at = LEFT
    for sign, text in _signs(drawn, alerts):
        yield tag("g", sign, transform=f"translate({at:.0f} {_LEGEND_Y:g})")
        yield tag("text", text, x=at + 23, y=_LEGEND_Y + 3.5)
        at += 40 + 6.1 * len(text)


def _signs(drawn: Drawn, alerts: Sequence[PastAlert]) -> Iterator[tuple[Markup, str]]:
    quantiles = drawn.high is not None
    yield tag("path", class_="value", d="M0 0h18"), drawn.measure
    if quantiles:
        yield tag("path", class_="high", d="M0 0h18"), "p95"
    if np.isfinite(drawn.lower).any():
        yield tag("rect", class_="band swatch", y=-5, width=18, height=10), "expected band"
    for severity in reversed(SEVERITIES):
        if any(mark.anomaly.severity == severity for mark in drawn.marks):
            yield shape(severity.value, 9.0, 0.0), f"{severity.value} anomaly"
    if alerts:
        yield (
            tag("rect", class_=f"bar {SEVERITIES[max(alert.severity for alert in alerts)].value}", y=-3.5, width=18, height=7, rx=2),
            "alert",
        )
