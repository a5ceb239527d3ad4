"""What an alert says, for somebody who was asleep a minute ago. Pure."""

from collections.abc import Sequence
from typing import Final

from sentinel.core.anomaly import Anomaly, DetectorName
from sentinel.core.explain import number
from sentinel.core.timestamp import rfc3339

_SECOND_NS: Final = 1_000_000_000


def title(severity: str, anomalies: Sequence[Anomaly], *, gathered: bool) -> str:
    """One line: how bad, what, where, how much.

    Args:
        severity: the highest so far.
        anomalies: strongest first.
        gathered: whether the alert stands for many series.
    """
    worst = anomalies[0]
    start = f"{severity.capitalize()}: too many alerts at once, the strongest: " if gathered else f"{severity.capitalize()}: "
    return f"{start}{_where(worst)} was {number(worst.value)}{_but(worst)}"


def description(anomalies: Sequence[Anomaly], count: int, started_ns: int, last_seen_ns: int, *, gathered: bool) -> str:
    """One plain sentence: the value and what was expected, how many times, since when.

    Args:
        anomalies: strongest first.
        count: how many there were so far.
        started_ns: event time of the first.
        last_seen_ns: event time of the newest.
        gathered: whether the alert stands for many series.
    """
    worst = anomalies[0]
    drifted = "drifted: it " if worst.detector == DetectorName.CUSUM else ""
    seen = f"{_where(worst)} {drifted}was {number(worst.value)} at {worst.timestamp}{_but(worst)}"
    if count > 1:
        seen += f"; it is the strongest of {count:,} anomalies since {_time(started_ns)}, the last of them at {_time(last_seen_ns)}"
    if gathered:
        seen += "; there are more alerts open than alerting.max_open_alerts, so this one stands for all further series"
    return f"{seen}."


def _where(anomaly: Anomaly) -> str:
    return f"{anomaly.metric} of {anomaly.service} / {anomaly.model}"


def _but(anomaly: Anomaly) -> str:
    """What the value is held against."""
    limit = anomaly.lower if anomaly.direction == "below" else anomaly.upper
    if anomaly.detector == DetectorName.THRESHOLD:
        return "" if limit is None else f", and {number(limit)} is the plausible limit"
    expected = anomaly.baseline_mean if anomaly.expected is None else anomaly.expected
    return "" if expected is None else f", where about {number(expected)} is expected"


def _time(ts_ns: int) -> str:
    return rfc3339(ts_ns - ts_ns % _SECOND_NS).replace(".000Z", "Z")
