"""The figures of a soak over time as one page."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from soak_samples import Sample

from sentinel.app.report.document import document
from sentinel.app.report.markup import Markup, tag
from sentinel.app.report.scales import Scale, TimeScale, scale_of

WIDTH, HEIGHT = 1_080.0, 170.0
LEFT, RIGHT, TOP, BOTTOM = 66.0, 14.0, 12.0, 22.0
Trouble = tuple[float, str]
"""When something was done, in seconds, and what."""
Value = Callable[[Sample], float]
PLOTS: Sequence[tuple[str, Value]] = (
    ("Resident memory, MiB", lambda sample: sample.rss_mb),
    ("Records that wait in the topic", lambda sample: sample.lag),
    ("Event loop: worst lag within a second, ms", lambda sample: sample.loop_lag_s * 1e3),
    ("Messages in the outbox", lambda sample: sample.waiting),
    ("Open files", lambda sample: sample.fds),
    ("Tasks of the event loop", lambda sample: sample.tasks),
    ("Longest silence of a canary, s", lambda sample: sample.silence_s),
)


def write(file: Path, samples: Sequence[Sample], troubles: Sequence[Trouble], figures: Sequence[str], began_ns: int) -> None:
    """Write the page.

    Args:
        file: where to.
        samples: at least one.
        troubles: what was done to it meanwhile.
        figures: what can be said at the end, in words.
        began_ns: time of the first sample, nanoseconds since the epoch.
    """
    lines = tag("ul", *(tag("li", figure) for figure in figures))
    plots = [tag("figure", tag("figcaption", name), _plot(name, value, samples, troubles, began_ns)) for name, value in PLOTS]
    file.parent.mkdir(exist_ok=True)
    file.write_text(document("Soak", [tag("h1", "Soak"), lines, *plots]), encoding="utf-8")


def _plot(name: str, value: Value, samples: Sequence[Sample], troubles: Sequence[Trouble], began_ns: int) -> Markup:
    values = [value(sample) for sample in samples]
    x = TimeScale(began_ns, began_ns + int(samples[-1].at_s * 1e9), LEFT, WIDTH - RIGHT)
    y = scale_of(values, 0.0, HEIGHT - BOTTOM, TOP)
    points = [f"{x.at(began_ns + sample.at_s * 1e9):.1f} {y.at(found):.1f}" for sample, found in zip(samples, values, strict=True)]
    told = (_trouble(x.at(began_ns + at_s * 1e9), what) for at_s, what in troubles)
    parts = [*_grid(x, y), *told, tag("path", class_="value", d=f"M{'L'.join(points)}")]
    return tag("svg", parts, class_="plot", viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}", role="img", aria_label=name)


def _grid(x: TimeScale, y: Scale) -> Iterator[Markup]:
    for value in y.marks():
        yield tag("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=y.at(value), y2=y.at(value))
        yield tag("text", f"{value:,g}", class_="y", x=LEFT - 7, y=y.at(value))
    for ts_ns, text in x.marks():
        yield tag("text", text, class_="x", x=x.at(ts_ns), y=HEIGHT - BOTTOM + 15)
    yield tag("line", class_="axis", x1=LEFT, x2=WIDTH - RIGHT, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM)


def _trouble(at: float, what: str) -> Markup:
    return tag("line", tag("title", what), class_="change", x1=at, x2=at, y1=TOP, y2=HEIGHT - BOTTOM)
