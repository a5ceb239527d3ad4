"""The port of detectors that others write: what they are given, what they answer, and the rules for both.

A detector holds the state of one partition and is called from one thread at a time. It sees every event once, in the order of the log, as
read-only columns without any text, and answers with findings: few, and only what people should know. Everything around it is not its
business: names of series, times, ids, severity, checkpoints and alerts.

What a detector promises, so that its anomalies are the same on every replay (`sentinel.testing.detector_suite` holds it to all of it):

1. **Batches mean nothing.** What it finds at an event depends on that event and those before it, not on where batches begin and end.
2. **No clock, no chance, no I/O.** Time is the time of events and of time marks.
3. **All state can be exported.** One that was restored goes on exactly as the one that was never stopped.
4. **Memory is bounded** by the number of series, not by the number of events, users, versions or other names.
5. **It is quiet** on healthy traffic, and finite numbers are all it answers with.
"""

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, isnan, nan
from typing import Any, Final, Protocol

import numpy.typing as npt

from sentinel.core.batch import Bool, Dimensions, Float64, Int32, Int64, SeriesKey
from sentinel.core.metrics import METRIC_INDEX, METRICS

ENTRY_POINTS: Final = "llm_sentinel.detectors"
"""The group of entry points in which distributions name their detectors."""

ANOMALY_TYPES: Final = (
    frozenset(metric.spike for metric in METRICS)
    | {metric.drift for metric in METRICS}
    | {
        "throughput_drop",
        "throughput_surge",
        "implausible_value",
        "regime_change",
        "silence",
        "usage_abuse",
        "pii_leak",
        "budget",
        "custom",
    }
)
"""The types an anomaly can have."""

NO_EVENT: Final = -1
"""`Finding.event` of what was found at a time mark."""

MAX_SENTENCE: Final = 400
"""Characters of a finding's sentence; the rest is cut off."""

_METRIC_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_LAST_NS: Final = 2**63 - 1

State = Mapping[str, npt.NDArray[Any]]
"""A detector's state as arrays by name, a short word of a-z, 0-9 and `_`; numbers, booleans or records of them, no Python objects."""


@dataclass(frozen=True, slots=True)
class DetectorBatch:
    """n events of one partition in log order, as read-only columns. There are no texts in it, and users are pseudonyms.

    Attributes:
        names: every series of the partition by its number, this batch's new ones among them. Numbers are given in order of first
            appearance, never change, and are bounded: further series share one of the name `__other__`.
        series: int32[n], number of the series.
        ts_ns: int64[n], event time. Not always rising.
        watermark_ns: int64[n], the largest time seen up to and including the event, of events and time marks. Never falls.
        metrics: float64[n, len(METRICS)], NaN = absent or implausible; otherwise finite and not negative.
        dimension_sets: distinct dimensions; dimensions: int32[n], index into them.
        users: distinct pseudonyms, None = not given; user: int32[n], index into them.
        personal: bool[n], whether personal data or a secret was found in the event's texts.
    """

    names: tuple[SeriesKey, ...]
    series: Int32
    ts_ns: Int64
    watermark_ns: Int64
    metrics: Float64
    dimension_sets: tuple[Dimensions, ...]
    dimensions: Int32
    users: tuple[str | None, ...]
    user: Int32
    personal: Bool

    def __len__(self) -> int:
        return len(self.series)

    def metric(self, name: str) -> Float64:
        """float64[n] of one measured column, such as `latency_ms`. Raises KeyError when there is none of this name."""
        column: Float64 = self.metrics[:, METRIC_INDEX[name]]
        return column

    def dimension(self, name: str) -> list[str | None]:
        """The value of one dimension, such as `finish_reason`, of each event. Raises AttributeError when there is none of this name."""
        values = [getattr(dimensions, name) for dimensions in self.dimension_sets]
        return [values[index] for index in self.dimensions.tolist()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a detector found. It becomes an anomaly with a severity by its score and an id that is the same on every replay.

    Attributes:
        event: index into the batch of the event that brought it to light; `NO_EVENT` at a time mark.
        series: number of the series it is about.
        metric: what was judged, in words of `[a-z0-9_]`: a measured column, or a name of the detector's own.
        value: what came.
        score: how far beyond, 1.0 exactly at the boundary; a warning from 1.5, critical from 3.
        sentence: one sentence that says what came, what was expected, and why it matters.
        expected, lower, upper: centre and band of what was expected; NaN where there is none.
        ts_ns: the time it is about, when that is not the event's: the end of a time window. Findings of one detector with the same series,
            metric and `ts_ns` are one anomaly, however they were noticed. At a time mark it must be given.
        since_ns: when it began; None when that is the same.
        type: one of ANOMALY_TYPES.
        samples: how many samples the expectation rests on.
        confidence: how much to trust it, 0 to 1.
    """

    event: int
    series: int
    metric: str
    value: float
    score: float
    sentence: str
    expected: float = nan
    lower: float = nan
    upper: float = nan
    ts_ns: int | None = None
    since_ns: int | None = None
    type: str = "custom"
    samples: int = 0
    confidence: float = 1.0


class Detector(Protocol):
    """One detector's state for one partition. See the module for what it promises."""

    def observe(self, batch: DetectorBatch) -> Sequence[Finding]:
        """Judge each event against the state just before it, then learn it. May be called with no events.

        Raising switches the detector off for this partition until the daemon starts again; events go on being stored.
        """
        ...

    def mark(self, now_ns: int) -> Sequence[Finding]:
        """Time has come to `now_ns`: nothing older is still to come. Called only when everything in the log has been read."""
        ...

    def export(self) -> State:
        """All of the state, as arrays that later calls do not change. It must not change the state."""
        ...

    def load(self, state: State) -> None:
        """Become what `export` was called on. Called before the first event, if at all.

        Raises ValueError when the arrays are not those of this version with these parameters; the detector then starts anew.
        """
        ...


def checked(finding: object, events: int, series: int) -> Finding:
    """A finding as plain Python values.

    Args:
        finding: what a detector answered with.
        events: how many events it had been given; 0 for a time mark.
        series: how many series there are.

    Raises:
        ValueError: it breaks a rule of `Finding`; the message says which, without a value of it.

    >>> checked(Finding(event=0, series=0, metric="latency_ms", value=1.0, score=float("inf"), sentence=""), 1, 1)
    Traceback (most recent call last):
    ValueError: score is not a finite number
    """
    if not isinstance(finding, Finding):
        raise ValueError(f"it is no Finding but a {type(finding).__name__}")  # noqa: TRY004  one kind of error for all rules
    event = _within("event", finding.event, *((0, events - 1) if events else (NO_EVENT, NO_EVENT)))
    if finding.ts_ns is None and event == NO_EVENT:
        raise ValueError("ts_ns is not given at a time mark")
    ts_ns = None if finding.ts_ns is None else _within("ts_ns", finding.ts_ns, 0, _LAST_NS)
    since_ns = None if finding.since_ns is None else _within("since_ns", finding.since_ns, 0, _LAST_NS if ts_ns is None else ts_ns)
    score, confidence = _finite("score", finding.score), _finite("confidence", finding.confidence)
    if score < 1.0:
        raise ValueError("score is below 1.0, where nothing is to be told")
    if not 0.0 <= confidence <= 1.0:
        raise ValueError("confidence is not between 0 and 1")
    return replace(
        finding,
        event=event,
        series=_within("series", finding.series, 0, series - 1),
        metric=_word("metric", finding.metric, _METRIC_NAME.fullmatch),
        type=_word("type", finding.type, ANOMALY_TYPES.__contains__),
        value=_finite("value", finding.value),
        score=score,
        sentence=_word("sentence", finding.sentence, bool)[:MAX_SENTENCE],
        expected=_finite("expected", finding.expected, or_nan=True),
        lower=_finite("lower", finding.lower, or_nan=True),
        upper=_finite("upper", finding.upper, or_nan=True),
        ts_ns=ts_ns,
        since_ns=since_ns,
        samples=_within("samples", finding.samples, 0, _LAST_NS),
        confidence=confidence,
    )


def _within(name: str, value: object, least: int, most: int) -> int:
    """The value as a whole number within limits."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # what is no whole number is told below
    except TypeError:
        raise ValueError(f"{name} is not a whole number") from None
    if not least <= number <= most:
        raise ValueError(f"{name} is out of range")
    return number


def _finite(name: str, value: object, *, or_nan: bool = False) -> float:
    """The value as a finite number."""
    try:
        number = float(value)  # type: ignore[arg-type]  # what is no number is told below
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} is not a number") from None
    if not (isfinite(number) or (or_nan and isnan(number))):
        raise ValueError(f"{name} is not a finite number")
    return number


def _word(name: str, value: object, known: Any) -> str:  # noqa: ANN401  a test that answers with anything true or false
    """The value as a text that passes a test."""
    if not isinstance(value, str) or not known(value):
        raise ValueError(f"{name} is not one of those that are allowed" if name != "sentence" else "sentence is empty")
    return value
