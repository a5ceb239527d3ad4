"""One plot as a file of its own: a page, or a picture that any browser and editor shows."""

from sentinel.app.backtest.outcome import Outcome
from sentinel.app.backtest.trace import Drawn
from sentinel.app.report.document import document
from sentinel.app.report.markup import Markup, series_name, tag
from sentinel.app.report.page import alerts_of
from sentinel.app.report.series_plot import HEIGHT, WIDTH, series_plot
from sentinel.app.report.style import COLOURS, PLOT
from sentinel.app.report.units import counted, moment

_TITLE = 30.0
_MARGIN = 14.0


def picture_page(drawn: Drawn, outcome: Outcome) -> str:
    """The plot as an HTML page, with its anomalies as a table for those who cannot point at them."""
    name = _name(drawn)
    rows = [
        tag(
            "tr",
            tag("td", moment(mark.ts_ns), class_="t"),
            tag("td", tag("span", mark.anomaly.severity, class_=f"sev {mark.anomaly.severity}"), class_="t"),
            tag("td", mark.anomaly.detector, class_="t"),
            tag("td", mark.anomaly.explanation, class_="w"),
        )
        for mark in drawn.marks
    ]
    heads = tag("tr", [tag("th", text, scope="col") for text in ("When (UTC)", "Severity", "Detector", "Why")])
    table = tag("table", tag("thead", heads), tag("tbody", rows))
    body = [
        tag("h1", name),
        tag("p", _told(drawn, outcome), class_="dim"),
        tag("div", series_plot(drawn, alerts_of(drawn, outcome.alerts), f"{name} over time"), class_="card scroll"),
    ]
    if rows:
        folded = tag("details", tag("summary", f"Anomalies ({len(rows):,})"), table, open="" if len(rows) <= 30 else None)
        body.append(tag("div", folded, class_="card scroll"))
    return document(name, body)


def picture_svg(drawn: Drawn, outcome: Outcome) -> str:
    """The plot as an SVG file, title and colours included."""
    name = _name(drawn)
    inner = series_plot(drawn, alerts_of(drawn, outcome.alerts), f"{name} over time")
    width, height = WIDTH + 2 * _MARGIN, HEIGHT + _TITLE + 2 * _MARGIN
    placed = Markup(inner.replace("<svg ", f'<svg x="{_MARGIN:g}" y="{_TITLE + _MARGIN:g}" width="{WIDTH:g}" height="{HEIGHT:g}" ', 1))
    whole = tag(
        "svg",
        tag("style", Markup(COLOURS + PLOT + "svg.plot .ground { fill: var(--card); }")),
        tag("rect", class_="ground", width=width, height=height),
        tag("text", f"{name}: {_told(drawn, outcome)}", class_="title", x=_MARGIN, y=_MARGIN + 14),
        placed,
        xmlns="http://www.w3.org/2000/svg",
        class_="plot",
        viewBox=f"0 0 {width:g} {height:g}",
    )
    return f"{whole}\n"


def _name(drawn: Drawn) -> str:
    return f"{drawn.what.metric} of {series_name(drawn.what.series)}"


def _told(drawn: Drawn, outcome: Outcome) -> str:
    end_ns = drawn.start_ns + len(drawn.value) * drawn.width_ns
    alerts = counted(len(alerts_of(drawn, outcome.alerts)), "alert")
    anomalies = counted(len(drawn.marks) + drawn.unmarked, "anomaly", "anomalies")
    return f"{moment(drawn.start_ns)} to {moment(end_ns)} UTC, {alerts}, {anomalies}"
