"""The first page of the report: goals, kinds of faults, weeks, the textbook detectors beside them, healthy traffic."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from bench.quality_goals import GOALS, LEVELS, NOT_REACHED, Figures, short
from bench.quality_page import page, table
from bench.quality_results import Results, WeekResult, mean, median_delay, recall_of
from sentinel.app.report.markup import Markup, tag
from sentinel.app.report.units import counted
from sentinel.testing.fault_weeks import WeekFault
from sentinel.testing.quality_score import pooled

KINDS: Final = tuple(kind for kind in WeekFault if kind is not WeekFault.DEPLOY)
RULES: Final = (
    "An alert is what people are told: anomalies of the default severity and above, of one type in one series, each telling counted, "
    "further ones within five minutes merged. The first day of a week is for learning. A fault is found by an alert from its start until "
    "two minutes after its end; until half an hour after it an alert is neither a hit nor false; the six hours after a deploy are counted "
    "apart. Chance is the recall that the same false alerts would have on stretches in which nothing is wrong. Delays are from the fault's "
    "first second to the end of the time window that told."
)


def index_page(results: Results) -> str:
    """The first page."""
    parts = [
        tag("h1", "Detection quality"),
        tag("p", RULES, class_="dim"),
        tag("h2", "Goals"),
        goals(results.figures()),
        *(tag("p", note, class_="note") for note in results.notes),
    ]
    for source in results.sources():
        for rate in results.rates():
            if weeks := results.of(source, rate):
                parts += [tag("h2", f"{counted(len(weeks), 'week')} of the {source}, {rate:g} requests/s"), *_weeks(weeks)]
    parts += [*_fleets(results), *_clean(results)]
    if results.nab:
        scores = [(name, f"{value:.1f}") for name, value in results.nab.items()]
        parts += [tag("h2", "Numenta Anomaly Benchmark"), table(("", "score"), scores, numbers=" n")]
    return page("Detection quality", *parts)


def goals(columns: list[Figures]) -> Markup:
    """The goals beside what was reached."""
    body = []
    for key, goal in GOALS.items():
        if any(key in column.values for column in columns):
            limits = [short(getattr(goal, level)) for level in LEVELS]
            body.append([goal.name.replace("  ", "\u2003"), *limits, *(_reached(key, column) for column in columns)])
    return table(("", *LEVELS, *(column.source for column in columns)), body, numbers=" nnn" + "n" * len(columns))


def _reached(key: str, column: Figures) -> str:
    if key not in column.values:
        return ""
    value = column.values[key]
    level = GOALS[key].reached(value)
    style = "bad" if level == NOT_REACHED else None if level == "floor" else "good"
    return Markup(f"{short(value)} {tag('b', level, class_=style)}")


def _weeks(weeks: list[WeekResult]) -> Iterator[Markup]:
    """By kind of fault, by detector, by week."""
    score = pooled([week.ticks.score for week in weeks])
    kinds = [
        (
            kind.value,
            f"{sum(o.fault.kind is kind for o in score.outcomes)}",
            short(recall_of(score, kind)),
            short(median_delay(score, kind)),
        )
        for kind in KINDS
    ]
    by_kind = table(("fault", "faults", "recall", "median delay, s"), kinds, numbers=" nnn")
    head = ("detector", "recall", "chance", "lift", "false alerts a day", "anomalies a day", "alerts after a deploy")
    yield tag("div", by_kind, table(head, list(_detectors(weeks)), numbers=" nnnnnn"), class_="beside")
    body = [
        (
            tag("a", f"seed {week.seed}", href=week.page) if week.page else f"seed {week.seed}",
            f"{week.events:,}",
            short(one.recall),
            short(one.chance),
            short(one.false_per_day),
            f"{sum(one.after_deploy)}",
            short(week.ticks.cpu_s),
            _counted(Counter(outcome.fault.kind.value for outcome in one.outcomes if not outcome.found)),
            _counted(week.false_types),
        )
        for week in weeks
        for one in [week.ticks.score]
    ]
    head = ("week", "events", "recall", "chance", "false a day", "after deploy", "CPU s", "missed", "false alerts")
    yield table(head, body, numbers="tnnnnnn  ", narrow=False)


def _detectors(weeks: list[WeekResult]) -> Iterator[tuple[str, ...]]:
    """Time windows first, then each textbook detector, over all weeks."""
    days = sum(week.days for week in weeks)
    for name in ("time windows", *weeks[0].textbook):
        judged = [week.textbook.get(name, week.ticks) for week in weeks]
        score = pooled([one.score for one in judged])
        anomalies = sum(one.anomalies for one in judged) / days
        figures = score.recall, score.chance, score.lift, score.false_per_day, anomalies, mean(score.after_deploy)
        yield (name, *map(short, figures))


def _fleets(results: Results) -> Iterator[Markup]:
    if not results.fleets:
        return
    false, learning = (together(getattr(fleet, name) for fleet in results.fleets) for name in ("false", "learning"))
    days = sum(fleet.series_days for fleet in results.fleets)
    series = sum(fleet.series for fleet in results.fleets)
    yield tag("h2", f"{series} healthy series")
    yield tag("p", f"{sum(fleet.events for fleet in results.fleets):,} events; {days:,.0f} series-days after the first day.")
    body = [
        ("after the first day", f"{false.total()}", f"{false.total() / days:.4f}", _counted(false)),
        ("in the first day", f"{learning.total()}", f"{learning.total() / series:.4f}", _counted(learning)),
    ]
    yield table(("", "false alerts", "a series-day", "of type"), body, numbers=" nn ")


def _clean(results: Results) -> Iterator[Markup]:
    if not results.clean:
        return
    body = []
    for kind, rate in results.clean_rates().items():
        parts = [result for result in results.clean if result.kind == kind]
        types = together(part.alerts for part in parts)
        body.append((kind, f"{sum(part.events for part in parts):,}", f"{types.total()}", f"{rate:.4f}", _counted(types)))
    yield tag("h2", "Clean streams")
    yield table(("distribution", "events", "alerts", "per 1,000 events", "of type"), body, numbers=" nnn ")


def together(counts: Iterable[Counter[str]]) -> Counter[str]:
    """The sum of counts."""
    return sum(counts, Counter[str]())


def _counted(types: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in types.most_common())
