"""What alerts are worth, given the faults that were really there.

Recall alone says nothing: who alerts all the time finds everything. So it stands beside its chance, the recall that the same false alerts
would have on stretches of the same length in which nothing is wrong. The difference is the lift.

The rules:

- The first day is for learning: its alerts are not counted.
- A fault is found by an alert from its start until `GRACE_S` after its end.
- An alert later than that, but at most `SETTLE_S` after the end, is neither false nor a hit: the fault's echo.
- The first six hours after a deploy are its own: alerts there are neither false nor hits, but counted apart. It need not be found.
- Every other alert is false.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from sentinel.core.batch import Bool, Float64
from sentinel.testing.fault_weeks import Injected, WeekFault

LEARNING_S: Final = 86_400.0
GRACE_S: Final = 120.0
SETTLE_S: Final = 1_800.0
AFTER_DEPLOY_S: Final = 6 * 3_600.0
DAY_S: Final = 86_400.0


class Verdict(StrEnum):
    """What one alert is."""

    LEARNING = "learning"
    """Of the first day: not counted."""
    HIT = "hit"
    """It tells of a fault."""
    ECHO = "echo"
    """It comes soon after a fault: neither a hit nor false."""
    DEPLOY = "deploy"
    """It comes soon after a deploy: counted apart."""
    FALSE = "false"
    """There was nothing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one fault.

    Attributes:
        fault: the fault; found: whether an alert told of it.
        delay_s: from its start to that alert; NaN when it was missed.
        chance: how likely a stretch as long as this, with no fault in it, holds a false alert; NaN when there is no such stretch.
    """

    fault: Injected
    found: bool
    delay_s: float
    chance: float


@dataclass(frozen=True, slots=True)
class Score:
    """What the alerts of one stream are worth.

    Attributes:
        outcomes: one for each fault that has to be found, in order of time; deploys are none.
        false_s: float64[k], when false alerts came.
        clean_s: seconds in which an alert would be false.
        clean_events: events in them, as many as their share of the time.
        after_deploy: alerts in the six hours after each deploy.
    """

    outcomes: tuple[Outcome, ...]
    false_s: Float64
    clean_s: float
    clean_events: float
    after_deploy: tuple[int, ...]

    @property
    def recall(self) -> float:
        """Share of the faults that were found; NaN without faults."""
        return _mean([outcome.found for outcome in self.outcomes])

    @property
    def chance(self) -> float:
        """What the recall would be by chance; NaN without faults."""
        return _mean([outcome.chance for outcome in self.outcomes if not np.isnan(outcome.chance)])

    @property
    def lift(self) -> float:
        """Recall beyond chance."""
        return self.recall - self.chance

    @property
    def false_per_day(self) -> float:
        """False alerts in a day without faults."""
        return len(self.false_s) / (self.clean_s / DAY_S) if self.clean_s > 0 else float("nan")

    @property
    def false_per_1k(self) -> float:
        """False alerts per thousand events."""
        return 1_000 * len(self.false_s) / self.clean_events if self.clean_events > 0 else float("nan")


def scored(alerts_s: Sequence[float] | Float64, faults: Sequence[Injected], total_s: float, events: int) -> Score:
    """The score of the alerts of one stream.

    Args:
        alerts_s: when alerts came, in seconds since the stream began, in any order.
        faults: what was really wrong; they do not overlap.
        total_s: length of the stream.
        events: how many it holds.
    """
    alerts = np.sort(np.asarray(alerts_s, np.float64))
    alerts = alerts[alerts >= LEARNING_S]
    excused = [(fault.start_s, _over_s(fault) + SETTLE_S) for fault in faults]
    false = alerts[~_within(alerts, excused)]
    clean_s = total_s - LEARNING_S - sum(min(end, total_s) - start for start, end in excused)
    deploys = [fault for fault in faults if fault.kind is WeekFault.DEPLOY]
    after = tuple(int(np.count_nonzero((alerts >= one.start_s) & (alerts < one.start_s + AFTER_DEPLOY_S))) for one in deploys)
    outcomes = tuple(
        Outcome(fault, *_first_alert(alerts, fault), chance_of(false, faults, fault.end_s - fault.start_s, total_s))
        for fault in faults
        if fault.kind is not WeekFault.DEPLOY
    )
    return Score(outcomes, false, clean_s, events * clean_s / total_s, after)


def verdict_on(alert_s: float, faults: Sequence[Injected]) -> Verdict:
    """What an alert at this time is."""
    if alert_s < LEARNING_S:
        return Verdict.LEARNING
    for fault in faults:
        if fault.start_s <= alert_s <= _over_s(fault) + SETTLE_S:
            if fault.kind is WeekFault.DEPLOY:
                return Verdict.DEPLOY
            return Verdict.HIT if alert_s <= fault.end_s + GRACE_S else Verdict.ECHO
    return Verdict.FALSE


def chance_of(false_s: Float64, faults: Sequence[Injected], length_s: float, total_s: float) -> float:
    """How likely a stretch of this length that meets no fault holds a false alert: exact, over all places where it could begin.

    Args:
        false_s: float64[k], false alerts in rising order.
        faults: what the stretch must not meet, `SETTLE_S` included.
        length_s: of the stretch, to which `GRACE_S` is added.
        total_s: length of the stream.

    Returns:
        A share, NaN when there is no room for such a stretch.
    """
    reach = length_s + GRACE_S
    allowed = _without((LEARNING_S, total_s - reach), [(fault.start_s - reach, fault.end_s + SETTLE_S) for fault in faults])
    room = sum(end - start for start, end in allowed)
    if room <= 0:
        return float("nan")
    # A stretch holds none when it begins after one alert and ends before the next.
    after, before = np.append(-np.inf, false_s), np.append(false_s, np.inf) - reach
    missed = sum(float(np.maximum(np.minimum(before, end) - np.maximum(after, start), 0).sum()) for start, end in allowed)
    return 1.0 - missed / room


def pooled(scores: Sequence[Score]) -> Score:
    """Several streams as one: their faults, alerts and times together."""
    return Score(
        outcomes=tuple(outcome for score in scores for outcome in score.outcomes),
        false_s=np.concatenate([score.false_s for score in scores]) if scores else np.empty(0),
        clean_s=sum(score.clean_s for score in scores),
        clean_events=sum(score.clean_events for score in scores),
        after_deploy=tuple(count for score in scores for count in score.after_deploy),
    )


def _over_s(fault: Injected) -> float:
    """When a fault's own time ends."""
    return fault.start_s + AFTER_DEPLOY_S if fault.kind is WeekFault.DEPLOY else fault.end_s


def _first_alert(alerts: Float64, fault: Injected) -> tuple[bool, float]:
    """Whether an alert told of the fault, and how long after its start."""
    at = int(np.searchsorted(alerts, fault.start_s))
    found = at < len(alerts) and alerts[at] <= fault.end_s + GRACE_S
    return bool(found), float(alerts[at] - fault.start_s) if found else float("nan")


def _within(times: Float64, spans: Sequence[tuple[float, float]]) -> Bool:
    """bool[n]: which times lie in any of the spans, ends included."""
    inside = np.zeros(len(times), np.bool_)
    for start, end in spans:
        inside |= (times >= start) & (times <= end)
    return inside


def _without(span: tuple[float, float], gone: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """What is left of a span when others are taken away."""
    left = []
    at, end = span
    for start, stop in sorted(gone):
        if start > at:
            left.append((at, min(start, end)))
        at = max(at, stop)
        if at >= end:
            return left
    return [*left, (at, end)] if at < end else left


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
