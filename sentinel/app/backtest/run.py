"""The backtest as a whole: over the past once for the verdict, and once more for the plots of what was noisy."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from sentinel.app.backtest.columns import BUCKETS
from sentinel.app.backtest.compare import Changes, changes
from sentinel.app.backtest.inputs import BacktestError
from sentinel.app.backtest.outcome import Observer, Outcome
from sentinel.app.backtest.reading import Past, Progress, Trial, go_over
from sentinel.app.backtest.trace import Drawn, Traces, Watched
from sentinel.app.backtest.worthy import worth_of
from sentinel.config.schema import Config
from sentinel.core.metrics import METRIC_NAMES
from sentinel.core.tell import ERROR_RATE, REQUESTS

PLOTS: Final = 8
"""Plots of a report: what is noisiest is what is to be looked at."""

MOST_NAMED: Final = 20
"""Series that an error names."""

_SECOND_NS: Final = 1_000_000_000


def twice(past: Past) -> None:
    """Plots need the past twice: raises BacktestError when it can be gone over only once."""
    if not past.source.rereadable:
        raise BacktestError(f"plots need {past.source.name} twice, and a pipe can be read only once: write it to a file first")


def outcomes(past: Past, configurations: Sequence[tuple[str, Config]], progress: Progress) -> list[Outcome]:
    """What each configuration would have done.

    Args:
        past: what is gone over.
        configurations: with their names; checked by the caller.
        progress: told how far it has come.

    Raises BacktestError when there is nothing to judge, and what the input raises.
    """
    observers = [Observer(config) for _, config in configurations]
    trials = [Trial(config, [observer]) for (_, config), observer in zip(configurations, observers, strict=True)]
    accounts = go_over(past, trials, progress)
    return [observer.outcome(name, account) for (name, _), observer, account in zip(configurations, observers, accounts, strict=True)]


def compared(outcome: Outcome, other: Outcome) -> Changes:
    """Which alerts the other configuration would add and take away."""
    known = [one.all_before_ns for one in (outcome, other) if one.all_before_ns is not None]
    return changes(outcome.alerts, other.alerts, max(outcome.window_ns, other.window_ns), min(known, default=None))


def noisiest(outcome: Outcome, other: Outcome | None) -> list[Watched]:
    """What is worth a plot: metrics of series with most alerts, those of either configuration."""
    alerts = [*outcome.alerts, *(other.alerts if other is not None else ())]
    counts = Counter(Watched(alert.subject.series, alert.strongest.metric) for alert in alerts)
    return [what for what, _ in counts.most_common(PLOTS)]


def plots(past: Past, config: Config, wanted: Sequence[Watched], length_ns: int, progress: Progress) -> list[Drawn]:
    """Go over the past once more and draw what is wanted; what has no values is left out.

    Args:
        past: as the first time.
        config: to expect by.
        wanted: what to draw.
        length_ns: how long the past is.
        progress: told how far it has come.
    """
    if not wanted:
        return []
    width_ns = max(config.detection.ticks.tick_secs * _SECOND_NS, -(-length_ns // (BUCKETS - 1)))
    traces = Traces(wanted, width_ns, worth_of(config.alerting))
    go_over(past, [Trial(config, [traces])], progress, width_ns)
    return traces.drawn()


def drawing(past: Past, config: Config, what: Watched, progress: Progress) -> tuple[Drawn, Outcome]:
    """One metric of one series, and the alerts of the whole past.

    Raises BacktestError for a metric or a series that is not there, with those that are.
    """
    twice(past)
    outcome = outcomes(past, [("", config)], lambda share: progress(share / 2))[0]
    drawn = plots(past, config, [what], outcome.account.length_ns, lambda share: progress((1 + share) / 2))
    if not drawn:
        raise BacktestError(_not_there(what, outcome, past.source.name))
    return drawn[0], outcome


def _not_there(what: Watched, outcome: Outcome, name: str) -> str:
    """What there is instead."""
    known = sorted(outcome.account.series)
    if what.series in known:
        there = ", ".join((*METRIC_NAMES, REQUESTS, ERROR_RATE))
        return f"{what.series.service} / {what.series.model} has no values of {what.metric} in {name}; there may be {there}"
    there = ", ".join(f"{key.service} / {key.model}" for key in known[:MOST_NAMED]) + (", ..." if len(known) > MOST_NAMED else "")
    return f"there are no events of {what.series.service} / {what.series.model} in {name}; there are {there}"
