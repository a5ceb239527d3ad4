"""The report of a backtest as one HTML file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sentinel.app.backtest.alerts import PastAlert
from sentinel.app.backtest.compare import Changes
from sentinel.app.backtest.outcome import Outcome, Row
from sentinel.app.backtest.trace import Drawn
from sentinel.app.report.document import document
from sentinel.app.report.lanes import MOST_LANES, lanes_plot
from sentinel.app.report.markup import Markup, series_name, tag
from sentinel.app.report.series_plot import series_plot
from sentinel.app.report.units import counted, length, moment, rough
from sentinel.app.report.words import caveats, headline, listed, rate_text, source_line
from sentinel.core.anomaly import SEVERITIES

MOST_ROWS = 200
"""Rows of a table; how many there are besides stands below it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What is reported.

    Attributes:
        source: what was read, for people; lacks: what it says the events have lost there.
        outcome: of the configuration.
        other, changes: of the one it is compared with; None without one.
        plots: the series that are worth a look.
    """

    source: str
    lacks: str | None
    outcome: Outcome
    other: Outcome | None
    changes: Changes | None
    plots: Sequence[Drawn]


def page(report: Report) -> str:
    """The whole file: nothing is fetched, nothing runs, and what came from events is text."""
    return document(f"Sentinel backtest: {report.outcome.name}", _sections(report))


def _sections(report: Report) -> Iterator[Markup]:
    account = report.outcome.account
    yield tag("h1", f"What {report.outcome.name} would have told you")
    yield tag("p", f"{source_line(report.source, account)}.", class_="dim")
    yield tag("p", headline(report.outcome), class_="lead")
    yield from _notices(report)
    yield _tiles(report.outcome)
    if report.other is not None and report.changes is not None:
        yield from _comparison(report.outcome, report.other, report.changes)
    yield from _alerts(report.outcome)
    yield from _plots(report)
    yield from _fired(report.outcome)
    yield tag("p", "Times are UTC. Nothing was delivered to anybody for this report, and nothing but this file was written.", class_="note")


def _notices(report: Report) -> Iterator[Markup]:
    outcomes = [one for one in (report.outcome, report.other) if one is not None]
    for text in [*caveats(report.outcome.account, report.lacks), *(text for one in outcomes for text in listed(one))]:
        yield tag("p", text, class_="notice")
    text = "Baselines began empty at the first event: the first hours are judged more mildly than a daemon that has run for long would."
    yield tag("p", text, class_="note")


def _tiles(outcome: Outcome) -> Markup:
    rows = outcome.rows
    numbers = [
        (f"{outcome.total:,}", "alerts"),
        (rough(outcome.rate.weekly), "alerts a week"),
        (f"{outcome.by_severity[-1]:,}", "of them critical"),
        (f"{outcome.messages:,}", "messages to each receiver"),
        (f"{len({alert.subject.series for alert in outcome.alerts}):,} of {len(outcome.account.series):,}", "series alerted"),
        (f"{sum(row.fired.total for row in rows):,}", "anomalies recorded"),
    ]
    return tag("div", [tag("div", tag("b", number), tag("span", what), class_="tile") for number, what in numbers], class_="tiles")


def _comparison(outcome: Outcome, other: Outcome, changes: Changes) -> Iterator[Markup]:
    yield tag("h2", f"Compared with {other.name}")
    now, then = f"{outcome.total:,} ({rate_text(outcome)})", f"{other.total:,} ({rate_text(other)})"
    yield tag("p", f"Alerts with {outcome.name}: {now}; with {other.name}: {then}.")
    if not (changes.appear or changes.disappear or changes.severities):
        yield tag("p", "Both would have told you the same.", class_="notice good")
        return
    for alerts, verb in ((changes.disappear, "disappear"), (changes.appear, "appear")):
        heading = f"{counted(len(alerts), 'alert')} would {verb} with {other.name}"
        yield tag("div", tag("h3", heading), _alert_table(alerts) if alerts else "", class_="card scroll")
    if changes.severities:
        rows = [
            tag(
                "tr",
                tag("td", moment(before.started_ns), class_="t"),
                tag("td", _severity(before.severity), " → ", _severity(after.severity), class_="t"),
                tag("td", before.title.partition(": ")[2]),
            )
            for before, after in changes.severities[:MOST_ROWS]
        ]
        heading = f"{counted(len(changes.severities), 'alert')} would have another severity"
        table = _table(("Told (UTC)", "Severity", "What"), rows, len(changes.severities))
        yield tag("div", tag("h3", heading), *table, class_="card scroll")


def _alerts(outcome: Outcome) -> Iterator[Markup]:
    alerts, account = outcome.alerts, outcome.account
    if not alerts:
        return
    yield tag("h2", "When you would have been told")
    lanes = lanes_plot(alerts, account.first_ns or 0, max(account.last_ns or 0, alerts[-1].last_seen_ns))
    several = len({alert.subject.series for alert in alerts})
    note = f" The {MOST_LANES} of {several:,} series with most alerts are shown." if several > MOST_LANES else ""
    yield tag("div", lanes, class_="card scroll")
    yield tag(
        "p", f"A bar is an alert, from when the trouble began; the taller, the more severe. Point at one to read it.{note}", class_="note"
    )
    table = _alert_table(alerts)
    folded = tag("details", tag("summary", f"All alerts ({len(alerts):,})"), table, open="" if len(alerts) <= 30 else None)
    yield tag("div", folded, class_="card scroll")


def _alert_table(alerts: Sequence[PastAlert]) -> Markup:
    rows = [
        tag(
            "tr",
            tag("td", moment(alert.started_ns), class_="t"),
            tag("td", length(alert.started_ns - alert.since_ns), class_="t"),
            tag("td", _severity(alert.severity), class_="t"),
            tag("td", alert.subject.type, class_="t"),
            tag("td", alert.strongest.explanation, class_="w"),
            tag("td", f"{alert.count:,}", class_="n"),
        )
        for alert in alerts[:MOST_ROWS]
    ]
    return Markup("".join(_table(("Told (UTC)", "After", "Severity", "Type", "Why", "Anomalies"), rows, len(alerts))))


def _plots(report: Report) -> Iterator[Markup]:
    if not report.plots:
        return
    yield tag("h2", "The noisiest series")
    for drawn in report.plots:
        alerts = alerts_of(drawn, report.outcome.alerts)
        name = f"{drawn.what.metric} of {series_name(drawn.what.series)}"
        told = f"{counted(len(alerts), 'alert')}, {counted(len(drawn.marks) + drawn.unmarked, 'anomaly', 'anomalies')}"
        if report.other is not None:
            told += f"; {counted(len(alerts_of(drawn, report.other.alerts)), 'alert')} with {report.other.name}"
        caption = tag("figcaption", name, tag("span", told, class_="dim"))
        yield tag("figure", caption, tag("div", series_plot(drawn, alerts, f"{name} over time: {told}"), class_="scroll"), class_="card")


def alerts_of(drawn: Drawn, alerts: Sequence[PastAlert]) -> list[PastAlert]:
    """The alerts about what a plot shows."""
    return [alert for alert in alerts if (alert.subject.series, alert.strongest.metric) == drawn.what]


def _fired(outcome: Outcome) -> Iterator[Markup]:
    yield tag("h2", "What fired")
    if not outcome.rows:
        yield tag("p", "No detector found anything.")
        return
    told = [row for row in outcome.rows if row.alerts]
    facts = outcome.rows[len(told) :]
    if told:
        yield tag("div", *_fired_table(told, outcome), class_="card scroll")
    if facts:
        heading = f"{counted(len(facts), 'kind')} of anomalies that alerted nobody: facts of the record"
        yield tag("div", tag("details", tag("summary", heading), *_fired_table(facts, outcome)), class_="card scroll")


def _fired_table(rows: Sequence[Row], outcome: Outcome) -> Iterator[Markup]:
    columns = ("Series", "Type", "Detector", "Alerts", "A week", "Anomalies", "Critical", "Warning", "Info", "First", "Last")
    yield from _table(columns, [_row(row, outcome) for row in rows[:MOST_ROWS]], len(rows), numbers=range(3, 9))


def _row(row: Row, outcome: Outcome) -> Markup:
    numbers = [
        f"{row.alerts:,}",
        rough(outcome.weekly(row.alerts)),
        f"{row.fired.total:,}",
        *(f"{count:,}" for count in reversed(row.fired.by_severity)),
    ]
    return tag(
        "tr",
        tag("td", series_name(row.kind.series)),
        tag("td", row.kind.type, class_="t"),
        tag("td", row.kind.detector, class_="t"),
        *(tag("td", number, class_="n") for number in numbers),
        tag("td", moment(row.fired.first_ns), class_="t"),
        tag("td", moment(row.fired.last_ns), class_="t"),
    )


def _table(columns: Sequence[str], rows: Sequence[Markup], total: int, numbers: range = range(0)) -> Iterator[Markup]:
    headings = [
        tag("th", name, class_="n" if at in numbers or name == "Anomalies" else None, scope="col") for at, name in enumerate(columns)
    ]
    yield tag("table", tag("thead", tag("tr", headings)), tag("tbody", rows))
    if total > len(rows):
        yield tag("p", f"... and {total - len(rows):,} more, which --json prints.", class_="note")


def _severity(severity: int) -> Markup:
    name = SEVERITIES[severity].value
    return tag("span", name, class_=f"sev {name}")
