"""When people would have been told, as SVG: a lane for each series, a bar for each alert."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from sentinel.app.backtest.alerts import PastAlert
from sentinel.app.report.markup import Markup, series_name, shorten, tag
from sentinel.app.report.scales import TimeScale
from sentinel.app.report.series_plot import WIDTH
from sentinel.app.report.spans import Bar, bars
from sentinel.core.batch import SeriesKey

MOST_LANES: Final = 24
_LEFT: Final = 250.0
_RIGHT: Final = 14.0
_LANE: Final = 24.0
_TOP: Final = 8.0
_BOTTOM: Final = 22.0


def lanes_plot(alerts: Sequence[PastAlert], start_ns: int, end_ns: int) -> Markup:
    """The alerts of the series that have most of them, most first.

    Args:
        alerts: by the time they began.
        start_ns: event time at its left end.
        end_ns: event time at its right end.
    """
    counts = Counter(alert.subject.series for alert in alerts)
    lanes = [series for series, _ in counts.most_common(MOST_LANES)]
    height = _TOP + _LANE * len(lanes) + _BOTTOM
    x = TimeScale(start_ns, end_ns, _LEFT, WIDTH - _RIGHT)
    rows = {series: _TOP + _LANE * at for at, series in enumerate(lanes)}
    by_series: dict[SeriesKey, list[PastAlert]] = {series: [] for series in lanes}
    for alert in alerts:
        if alert.subject.series in by_series:
            by_series[alert.subject.series].append(alert)
    drawn = [_bar(bar, rows[series]) for series, told in by_series.items() for bar in bars(told, x, 4.0)]
    parts = [*_lanes(rows, counts), *_times(x, height), *drawn]
    label = f"{len(alerts)} alerts of {len(counts)} series over time; the table below lists them"
    return tag("svg", parts, class_="plot", viewBox=f"0 0 {WIDTH:g} {height:g}", role="img", aria_label=label)


def _lanes(rows: dict[SeriesKey, float], counts: Counter[SeriesKey]) -> Iterator[Markup]:
    for series, top in rows.items():
        yield tag("rect", class_="lane", x=_LEFT, y=top + 3, width=WIDTH - _RIGHT - _LEFT, height=_LANE - 6, rx=3)
        full = series_name(series)
        yield tag("text", tag("title", full), shorten(full, 34), class_="name", x=0, y=top + _LANE / 2 + 4)
        yield tag("text", str(counts[series]), class_="y", x=_LEFT - 10, y=top + _LANE / 2)


def _times(x: TimeScale, height: float) -> Iterator[Markup]:
    for ts_ns, text in x.marks():
        at = x.at(ts_ns)
        yield tag("line", class_="day", x1=at, x2=at, y1=_TOP, y2=height - _BOTTOM)
        if at < WIDTH - _RIGHT - 14:
            yield tag("text", text, class_="x", x=at, y=height - _BOTTOM + 15)


def _bar(bar: Bar, top: float) -> Markup:
    """The more severe, the taller: nothing is told by colour alone."""
    height = 8.0 + 5 * bar.severity
    place = {"x": bar.left, "y": top + (_LANE - height) / 2, "width": bar.right - bar.left, "height": height}
    return tag("rect", tag("title", bar.says), class_=bar.css, rx=2, **place)
