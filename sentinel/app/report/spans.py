"""Alerts as bars on a plot: those that a screen cannot keep apart become one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sentinel.app.backtest.alerts import PastAlert
from sentinel.app.report.scales import TimeScale
from sentinel.app.report.units import length, moment
from sentinel.core.anomaly import SEVERITIES

_APART = 1.5
"""Bars that are closer than this are one."""


@dataclass(slots=True)
class Bar:
    """One bar: from where to where, how severe at most, what it says, and how many alerts it stands for."""

    left: float
    right: float
    severity: int
    says: str
    count: int

    @property
    def css(self) -> str:
        """The class of its severity."""
        return SEVERITIES[self.severity].value


def bars(alerts: Sequence[PastAlert], x: TimeScale, least: float) -> Iterator[Bar]:
    """The bars of alerts, from left to right.

    Args:
        alerts: in any order.
        x: where times are.
        least: how wide a bar is at least.
    """
    open_bar: Bar | None = None
    for alert in sorted(alerts, key=lambda alert: alert.since_ns):
        left = x.at(alert.since_ns)
        right = max(x.at(alert.last_seen_ns), left + least)
        if open_bar is not None and left <= open_bar.right + _APART:
            open_bar.count += 1
            open_bar.right = max(open_bar.right, right)
            if alert.severity > open_bar.severity:
                open_bar.severity, open_bar.says = alert.severity, _says(alert)
            continue
        if open_bar is not None:
            yield _told(open_bar)
        open_bar = Bar(left, right, alert.severity, _says(alert), 1)
    if open_bar is not None:
        yield _told(open_bar)


def _says(alert: PastAlert) -> str:
    return f"{moment(alert.started_ns)} UTC, {alert.subject.type}, {noticed(alert)}: {alert.title}"


def noticed(alert: PastAlert) -> str:
    """How soon people would have been told."""
    delay_ns = alert.started_ns - alert.since_ns
    return f"told after {length(delay_ns)}" if delay_ns else "told at once"


def _told(bar: Bar) -> Bar:
    if bar.count > 1:
        bar.says = f"{bar.count:,} alerts, the first of the most severe: {bar.says}"
    return bar
