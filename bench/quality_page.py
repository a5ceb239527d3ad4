"""A week on one page: every quantity with what was expected, the faults, the alerts, what was missed and what was raised for nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Final

from bench.quality_bins import BY_REQUEST, QUANTITIES, SHOWS, Bins, binned, quantity_of
from bench.quality_plot import STYLE as PLOTS
from bench.quality_plot import Band, Pin, Plot, Shade
from sentinel.app.report.markup import Markup, tag
from sentinel.app.report.style import COLOURS, PAGE, PLOT, policy
from sentinel.app.report.units import counted, length
from sentinel.testing.fault_weeks import Injected, Week, WeekFault
from sentinel.testing.quality_columns import NS
from sentinel.testing.quality_replay import Alert
from sentinel.testing.quality_score import Score, Verdict, verdict_on

WEEK_BIN_S: Final = 600.0
"""Length of the stretches in the plots of the week."""
CLOSE_BINS: Final = 100
"""Stretches in a plot close up, if they hold enough events."""
BEFORE_S, AFTER_S = 1_800.0, 2_700.0
"""What is shown close up before and after a fault or an alert."""
DEPLOY_SHOWN_S: Final = 21_600.0
MOST_FALSE: Final = 60
"""False alerts shown close up; all of them are in the list."""
DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

STYLE: Final = (
    COLOURS
    + PLOT
    + PLOTS
    + PAGE
    + """
.close { display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: .6rem; }
.close figure, .week figure { margin: 0; background: var(--card); border: 1px solid var(--edge); border-radius: 8px; padding: .3rem; }
.week { display: grid; gap: .4rem; }
b.good { background: none; color: var(--good-text); } b.bad { color: var(--critical-text); } tr.bad { background: var(--critical-tint); }
.bad.notice { border-left-color: var(--critical); background: var(--critical-tint); color: var(--critical-text); }
.beside { display: flex; flex-wrap: wrap; gap: 0 .7rem; align-items: start; }
.beside th, .beside td { padding-right: .8rem; }
td.w { min-width: 30rem; } td.n, td.t { white-space: nowrap; overflow-wrap: normal; }
table.narrow { width: auto; } th, td { padding-right: 1.2rem; }
"""
)


@dataclass(frozen=True, slots=True)
class WeekReport:
    """What a page shows.

    Attributes:
        title: which week.
        week: its events and faults.
        alerts: what people were told, in order of time.
        score: what these alerts are worth.
        bands: what was expected, by quantity (`QUANTITIES`); empty when nobody says.
    """

    title: str
    week: Week
    alerts: Sequence[Alert]
    score: Score
    bands: Mapping[str, Band]


def page(title: str, *body: Markup) -> str:
    """A whole HTML document that fetches nothing and runs nothing."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy(STYLE)),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Markup(STYLE)),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', tag('main', body)), lang='en')}\n"


def table(
    head: Sequence[str], body: Sequence[Sequence[str]], *, numbers: str = "", bad: Sequence[bool] = (), narrow: bool = True
) -> Markup:
    """A table.

    Args:
        head: titles of the columns.
        body: rows; cells that are no `Markup` are escaped.
        numbers: a letter for each column: `n` for numbers, `t` for short words that stay on one line, `w` for
            sentences, anything else for what needs no care.
        bad: which rows stand out.
        narrow: as wide as it must be, rather than as the page.
    """
    styles = [mark if mark in "ntw" else None for mark in numbers.ljust(len(head))]
    titles = tag("tr", [tag("th", text, class_=style) for text, style in zip(head, styles, strict=True)])
    rows = [
        tag(
            "tr",
            [tag("td", text, class_=style) for text, style in zip(row, styles, strict=True)],
            class_="bad" if bad and bad[at] else None,
        )
        for at, row in enumerate(body)
    ]
    whole = tag("table", tag("thead", titles), tag("tbody", rows), class_="narrow" if narrow else None)
    return tag("div", tag("div", whole, class_="scroll"), class_="card")


def clock(at_s: float) -> str:
    """A moment of a week that began on a Monday.

    >>> clock(86_400 + 3_725)
    'Tue 01:02:05'
    """
    minutes, seconds = divmod(int(at_s), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{DAYS[days % 7]} {hours:02}:{minutes:02}:{seconds:02}"


def week_page(report: WeekReport) -> str:
    """The page of a week."""
    return page(
        report.title,
        tag("h1", report.title),
        *_lead(report),
        tag("div", _overview(report), class_="week"),
        tag("h2", "Faults"),
        _fault_table(report),
        tag("div", _close_to_faults(report), class_="close"),
        tag("h2", "False alerts"),
        tag("div", _close_to_false(report) or [tag("p", "None.")], class_="close"),
        tag("h2", "All alerts"),
        _alert_table(report),
    )


def _lead(report: WeekReport) -> Iterator[Markup]:
    score = report.score
    missed = [f"{outcome.fault.kind} ({clock(outcome.fault.start_s)})" for outcome in score.outcomes if not outcome.found]
    yield tag(
        "p",
        f"{len(report.week.columns):,} events. Orange: faults; violet: since the deploy; blue area: what was expected. Triangles: alerts "
        "that told of a fault (green), came for nothing (red), or are neither (grey). ",
        tag("a", "All weeks", href="index.html"),
        class_="dim",
    )
    yield tag(
        "p",
        f"Found {len(score.outcomes) - len(missed)} of {len(score.outcomes)} faults, with {counted(len(score.false_s), 'false alert')}: "
        f"{score.false_per_day:.2f} in a day without faults, chance {score.chance:.3f}. After the deploy: {sum(score.after_deploy)}.",
        class_="lead",
    )
    if missed:
        yield tag("p", f"Missed: {', '.join(missed)}", class_="notice bad")
    else:
        yield tag("p", "Nothing was missed.", class_="notice good")


def _overview(report: WeekReport) -> Iterator[Markup]:
    bins = binned(report.week.columns, (0.0, report.week.total_s), WEEK_BIN_S)
    for quantity in QUANTITIES:
        title = f"{quantity}: median and 95th percentile" if quantity in BY_REQUEST else quantity
        yield tag("figure", _plot(report, bins, quantity, (0.0, report.week.total_s), title).svg())


def _plot(report: WeekReport, bins: Bins, quantity: str, span_s: tuple[float, float], title: str, width: float = 1_080.0) -> Plot:
    return Plot(
        title,
        bins.at_s,
        bins.usual[quantity],
        *span_s,
        high=bins.high.get(quantity),
        band=report.bands.get(quantity),
        shades=[_shade(fault) for fault in report.week.faults],
        pins=[_pin(alert, report.week.faults) for alert in report.alerts],
        width=width,
    )


def _shade(fault: Injected) -> Shade:
    label = f"{fault.kind}, {clock(fault.start_s)} to {clock(fault.end_s)}"
    return Shade(fault.start_s, fault.end_s, label, "deploy" if fault.kind is WeekFault.DEPLOY else "fault")


def _pin(alert: Alert, faults: Sequence[Injected]) -> Pin:
    words = f"{clock(alert.at_s)} {alert.anomaly.severity} {alert.anomaly.type}: {alert.anomaly.explanation}"
    return Pin(alert.at_s, words, f"pin-{verdict_on(alert.at_s, faults)}")


def _fault_table(report: WeekReport) -> Markup:
    outcomes = report.score.outcomes
    body = [
        (
            outcome.fault.kind.value,
            clock(outcome.fault.start_s),
            length(int((outcome.fault.end_s - outcome.fault.start_s) * NS)),
            tag("b", "found", class_="good") if outcome.found else tag("b", "missed", class_="bad"),
            "" if isnan(outcome.delay_s) else f"{outcome.delay_s:,.0f}",
            _told_of(outcome.fault, report.alerts),
        )
        for outcome in outcomes
    ]
    bad = [not outcome.found for outcome in outcomes]
    return table(("fault", "begins", "lasts", "", "delay, s", "what the first alert said"), body, numbers="tttnnw", bad=bad, narrow=False)


def _told_of(fault: Injected, alerts: Sequence[Alert]) -> str:
    first = next((alert for alert in alerts if verdict_on(alert.at_s, [fault]) is Verdict.HIT), None)
    return "" if first is None else f"{first.anomaly.type}: {first.anomaly.explanation}"


def _alert_table(report: WeekReport) -> Markup:
    found = [(alert, alert.anomaly, verdict_on(alert.at_s, report.week.faults)) for alert in report.alerts]
    body = [
        (
            clock(alert.at_s),
            verdict.value,
            one.severity,
            one.type,
            one.metric,
            f"{one.score:.2f}",
            f"{alert.merged}",
            one.explanation,
        )
        for alert, one, verdict in found
    ]
    head = ("at", "is", "severity", "type", "of", "score", "merged", "says")
    return table(head, body, numbers="tttttnnw", bad=[verdict is Verdict.FALSE for _, _, verdict in found], narrow=False)


def _close_up(report: WeekReport, quantity: str, span_s: tuple[float, float], title: str) -> Markup:
    """A small plot of a part of the week, in stretches of about ten events or more."""
    spacing_s = report.week.total_s / max(len(report.week.columns), 1)
    start_s, end_s = max(span_s[0], 0.0), min(span_s[1], report.week.total_s)
    width_s = 60.0 * max(1, round(max((end_s - start_s) / CLOSE_BINS, 10 * spacing_s) / 60))
    bins = binned(report.week.columns, (start_s, end_s), width_s)
    return tag("figure", _plot(report, bins, quantity, (start_s, end_s), title, 370.0).svg())


def _close_to_faults(report: WeekReport) -> Iterator[Markup]:
    results = {outcome.fault: outcome for outcome in report.score.outcomes}
    for fault in report.week.faults:
        until_s = min(fault.end_s, fault.start_s + DEPLOY_SHOWN_S) + AFTER_S
        result = results.get(fault)
        words = "" if result is None else f", after {result.delay_s:,.0f} s" if result.found else ", MISSED"
        title = f"{fault.kind}{words}: {SHOWS[fault.kind]}"
        yield _close_up(report, SHOWS[fault.kind], (fault.start_s - BEFORE_S, until_s), title)


def _close_to_false(report: WeekReport) -> list[Markup]:
    false = [alert for alert in report.alerts if verdict_on(alert.at_s, report.week.faults) is Verdict.FALSE]
    shown = []
    for alert in false[:MOST_FALSE]:
        quantity = quantity_of(alert.anomaly.metric)
        span_s = alert.at_s - 2 * BEFORE_S, alert.at_s + AFTER_S
        shown.append(_close_up(report, quantity, span_s, f"{alert.anomaly.type}: {quantity}"))
    return shown
