"""One quantity of a week over time as SVG: its line, what was expected, faults as shades, alerts as marks above it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from sentinel.app.report.markup import Markup, tag
from sentinel.app.report.scales import Scale, TimeScale, scale_of
from sentinel.app.report.units import compact
from sentinel.core.batch import Bool, Float64
from sentinel.testing.quality_columns import NS, START_NS

LEFT, RIGHT, TOP, BOTTOM = 56.0, 10.0, 30.0, 20.0
"""Room around the plotting area."""
STYLE: Final = """
.plot .fault { fill: rgb(217 130 0 / 34%); } .plot .deploy { fill: rgb(168 71 138 / 13%); }
.plot .pin-hit { fill: var(--good-text); } .plot .pin-false { fill: var(--critical); }
.plot .pin-echo, .plot .pin-deploy, .plot .pin-learning { fill: var(--dim); }
.plot .stem { stroke-width: 1; stroke-dasharray: 2 2; } .plot .stem.pin-hit { stroke: var(--good-text); }
.plot .stem.pin-false { stroke: var(--critical); } .plot .stem { stroke: var(--dim); }
.plot .title { font-size: 12px; } .close .plot .title { font-size: 11px; }
"""


class Shade(NamedTuple):
    """A stretch of time with a meaning, in seconds since the week began; `style` is a CSS class."""

    start_s: float
    end_s: float
    label: str
    style: str


class Pin(NamedTuple):
    """A moment with a meaning; `style` is a CSS class."""

    at_s: float
    label: str
    style: str


@dataclass(frozen=True, slots=True)
class Band:
    """What was expected: float64[n] seconds, rising, and float64[n] limits with NaN where nothing is known."""

    at_s: Float64
    lower: Float64
    upper: Float64


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot.

    Attributes:
        title: what is shown, with its unit.
        at_s: float64[n], rising; values: float64[n], NaN where there is none.
        start_s, end_s: the time shown.
        high: float64[n], a second line for the largest values; None when there is none.
        band: what was expected, None when nobody says.
        shades, pins: what is marked; those outside of the time shown are left out.
        width, height: in pixels.
    """

    title: str
    at_s: Float64
    values: Float64
    start_s: float
    end_s: float
    high: Float64 | None = None
    band: Band | None = None
    shades: Sequence[Shade] = ()
    pins: Sequence[Pin] = ()
    width: float = 1_080.0
    height: float = 150.0

    def svg(self) -> Markup:
        """The plot as an SVG element."""
        x = TimeScale(_ns(self.start_s), _ns(self.end_s), LEFT, self.width - RIGHT)
        y = self._axis()
        parts = [
            tag("text", self.title, class_="title", x=LEFT, y=13.0),
            *self._shades(x),
            *self._grid(x, y),
            *self._expected(x, y),
            *(_line(self.at_s, self.high, "high", x, y) if self.high is not None else ()),
            *_line(self.at_s, self.values, "value", x, y),
            *self._pins(x),
        ]
        label = f"{self.title}; the tables tell what is marked"
        return tag("svg", parts, class_="plot", viewBox=f"0 0 {self.width:g} {self.height:g}", role="img", aria_label=label)

    def _axis(self) -> Scale:
        """An axis for what is shown: logarithmic with two lines, so that a change of either is seen."""
        shown = (self.at_s >= self.start_s) & (self.at_s <= self.end_s)
        foot = self.height - BOTTOM
        seen = self.values[shown & np.isfinite(self.values)]
        if not len(seen):
            return scale_of([], 0.0, foot, TOP)
        if self.high is not None and (seen > 0).any():
            low, high = float(seen[seen > 0].min()), float(self.high[shown & np.isfinite(self.high)].max())
            return Scale(0.8 * low, 1.2 * high, foot, TOP, logarithmic=True)
        # A lonely extreme is cut off where it would press everything else flat.
        high = min(float(seen.max()), 6 * float(np.quantile(seen, 0.99))) or 1.0
        return scale_of([min(float(seen.min()), high), high], max(float(np.median(seen)), high / 20), foot, TOP)

    def _grid(self, x: TimeScale, y: Scale) -> Iterator[Markup]:
        right, foot = self.width - RIGHT, self.height - BOTTOM
        for value in y.marks():
            yield tag("line", class_="grid", x1=LEFT, x2=right, y1=y.at(value), y2=y.at(value))
            yield tag("text", compact(value), class_="y", x=LEFT - 6, y=y.at(value))
        last = -np.inf
        for ts_ns, text in x.marks():
            at = x.at(ts_ns)
            yield tag("line", class_="grid", x1=at, x2=at, y1=TOP, y2=foot)
            if at - last > 46 and at < right - 12:
                yield tag("text", text, class_="x", x=at, y=foot + 14)
                last = at

    def _shades(self, x: TimeScale) -> Iterator[Markup]:
        for shade in self.shades:
            if shade.end_s > self.start_s and shade.start_s < self.end_s:
                left, right = x.at(_ns(shade.start_s)), x.at(_ns(shade.end_s))
                says = tag("title", shade.label)
                yield tag("rect", says, class_=shade.style, x=left, y=TOP, width=max(right - left, 2.0), height=self.height - BOTTOM - TOP)

    def _expected(self, x: TimeScale, y: Scale) -> Iterator[Markup]:
        if self.band is None:
            return
        at_s, lower, upper = self.band.at_s, self.band.lower, self.band.upper
        shown = (at_s >= self.start_s) & (at_s <= self.end_s)
        for first, end in _runs(shown & np.isfinite(lower) & np.isfinite(upper)):
            part = slice(first, end)
            there, back = _points(at_s[part], upper[part], x, y), _points(at_s[part], lower[part], x, y)
            yield tag("path", class_="band", d=f"M{'L'.join([*there, *reversed(back)])}Z")

    def _pins(self, x: TimeScale) -> Iterator[Markup]:
        for pin in self.pins:
            if self.start_s <= pin.at_s <= self.end_s:
                at = x.at(_ns(pin.at_s))
                yield tag("line", class_=f"stem {pin.style}", x1=at, x2=at, y1=TOP, y2=self.height - BOTTOM)
                yield tag("path", tag("title", pin.label), class_=pin.style, d=f"M{at:.1f} {TOP:g}l-5 -9h10z")


def _line(at_s: Float64, values: Float64, style: str, x: TimeScale, y: Scale) -> Iterator[Markup]:
    """A line with gaps where there is nothing; a value between two gaps is a point."""
    shown = (at_s >= _seconds(x.start_ns)) & (at_s <= _seconds(x.end_ns))
    for first, end in _runs(shown & np.isfinite(values)):
        points = _points(at_s[first:end], values[first:end], x, y)
        if len(points) > 1:
            yield tag("path", class_=style, d=f"M{'L'.join(points)}")
        else:
            left, top = points[0].split()
            yield tag("circle", class_="point", cx=left, cy=top, r=1.5)


def _points(at_s: Float64, values: Float64, x: TimeScale, y: Scale) -> list[str]:
    return [f"{x.at(_ns(at)):.1f} {y.at(value):.1f}" for at, value in zip(at_s.tolist(), values.tolist(), strict=True)]


def _ns(at_s: float) -> int:
    return START_NS + int(at_s * NS)


def _seconds(ts_ns: int) -> float:
    return (ts_ns - START_NS) / NS


def _runs(known: Bool) -> Iterator[tuple[int, int]]:
    """Where stretches that are true begin, and where they end."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], known, [False])).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
