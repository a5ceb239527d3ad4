"""What detectors of time windows are given when a window closes, and how their answer becomes an anomaly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from sentinel.core.anomaly import SEVERITIES, Anomaly, Contributor, DetectorName
from sentinel.core.batch import Int8, Int64, PartitionId, SeriesKey
from sentinel.core.ids import tick_anomaly_id
from sentinel.core.timestamp import rfc3339
from sentinel.detection.columns import Tables
from sentinel.detection.heavy_hitters import Users

EVERY: Final = "__all__"
"""Stands for a service or model where an anomaly is about all of them."""

SECOND_NS: Final = 1_000_000_000
HOUR_NS: Final = 3_600 * SECOND_NS

SHORT, HOUR, PANE = 0, 1, 2
"""The widths of windows: five minutes and an hour of the clock, which number columns where each has its own; and the panes of both."""

SHORT_NS: Final = 300 * SECOND_NS


@dataclass(frozen=True, slots=True)
class Window:
    """What came in one closed window of event time: r series with events, u users.

    Attributes:
        source: the log.
        offset: of the event or time mark that closed it.
        width: SHORT, HOUR or PANE.
        start_ns, end_ns: event time, the end not included.
        names: of every row, of series; a row that is free has a stale one.
        services: the same of services, whose model is EVERY.
        rows: int64[r], rising; tally: int32[r, panes.COLUMNS]; sums: int64[r, m], in parts of the metrics' units.
        service_of: int64[all rows], the row of each series' service.
        users: what users took.
    """

    source: PartitionId
    offset: int
    width: int
    start_ns: int
    end_ns: int
    names: Sequence[SeriesKey]
    services: Sequence[SeriesKey]
    rows: Int64
    tally: npt.NDArray[np.int32]
    sums: Int64
    service_of: Int64
    users: Users

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end_ns - self.start_ns) / SECOND_NS

    @property
    def minutes(self) -> str:
        """Its length, for people.

        >>> from dataclasses import replace
        >>> replace(NOTHING, end_ns=HOUR_NS).minutes
        '1 hour'
        """
        return "1 hour" if self.width == HOUR else f"{self.seconds / 60:g} minutes"


NOTHING: Final = Window(
    source=PartitionId("", "", 0),
    offset=0,
    width=HOUR,
    start_ns=0,
    end_ns=0,
    names=(),
    services=(),
    rows=np.empty(0, np.int64),
    tally=np.empty((0, 0), np.int32),
    sums=np.empty((0, 0), np.int64),
    service_of=np.empty(0, np.int64),
    users=Users(np.empty(0, np.int32), np.empty((0, 0), np.uint64), np.empty((0, 0), np.int64), np.empty(0, np.int64), 0),
)
"""A window in which nothing came."""


class WindowDetector(Protocol):
    """One detector of closed windows, the state of one partition. Pure: what it answers depends on the windows it was given alone."""

    def close(self, window: Window) -> list[Anomaly]:
        """Judge a window against what came before it, then learn it. Called in order of their ends, a shorter one before a wider one."""
        ...

    def forget(self, rows: Int64, services: Int64) -> None:
        """These rows belong to nobody any more; the next series that gets one starts from nothing."""
        ...

    def accept(self, rows: Int64, services: Int64) -> None:
        """What these series and services do now is normal from now on."""
        ...

    def tables(self) -> Tables:
        """All of its state, as arrays that later calls do not change."""
        ...

    def load(self, tables: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what `tables` was called on; what is missing starts empty."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a detector tells of a window.

    Attributes:
        series: whom it is about.
        metric: what was judged.
        subject: tells it from other findings of the same detector about the same series, metric and window.
        score: 1.0 at the boundary; severity: index into SEVERITIES.
        samples: events that were judged.
        since_ns: when it began.
        confidence: how full the baseline was, 0 to 1.
    """

    series: SeriesKey
    metric: str
    subject: str = ""
    type: str
    detector: DetectorName
    value: float
    score: float
    severity: int
    expected: float | None = None
    lower: float | None = None
    upper: float | None = None
    samples: int = 0
    since_ns: int
    confidence: float = 1.0
    explanation: str
    contributors: list[Contributor] = field(default_factory=list)


def anomaly_of(window: Window, told: Told) -> Anomaly:
    """The anomaly as people see it. Its `window` is the length of the window in seconds."""
    subject = f"{told.metric}/{window.seconds:g}s{told.subject and '/'}{told.subject}"
    above = told.upper is not None and told.value > told.upper
    below = told.lower is not None and told.value < told.lower
    return Anomaly(
        id=tick_anomaly_id(window.source, window.start_ns, told.series, subject, told.detector),
        timestamp=rfc3339(window.end_ns),
        service=told.series.service,
        model=told.series.model,
        metric=told.metric,
        detector=told.detector,
        type=told.type,
        severity=SEVERITIES[told.severity],
        value=told.value,
        expected=_known(told.expected),
        lower=_known(told.lower),
        upper=_known(told.upper),
        score=told.score,
        baseline_mean=None,
        baseline_stddev=None,
        z_score=None,
        samples=told.samples,
        window=int(window.seconds),
        direction="above" if above else "below" if below else "unknown",
        confidence=told.confidence,
        explanation=told.explanation,
        event_id=None,
        trace_id=None,
        partition=str(window.source),
        offset=window.offset,
        tenant=told.series.tenant,
        since=rfc3339(told.since_ns),
        contributors=told.contributors,
    )


def _known(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def percent(share: float) -> str:
    """A share for people.

    >>> [percent(share) for share in (0.0004, 0.034, 0.4567, 1.0)]
    ['0.04%', '3.4%', '46%', '100%']
    """
    size = abs(share) * 100
    return f"{share * 100:.{0 if size >= 10 else 1 if size >= 1 else 2}f}%"


def usd(nanos: float) -> str:
    """Billionths of a dollar for people.

    >>> [usd(nanos) for nanos in (1_234_560_000_000, 12_300_000, 0)]
    ['$1,234.56', '$0.0123', '$0.00']
    """
    dollars = nanos / 1e9
    return f"${dollars:,.2f}" if abs(dollars) >= 1 or dollars == 0 else f"${dollars:.3g}"


def severities(score: npt.NDArray[np.float64]) -> Int8:
    """Index into SEVERITIES by how far beyond the boundary, as for single events.

    >>> severities(np.array([1.0, 1.5, 3.0])).tolist()
    [0, 1, 2]
    """
    return (np.where(score >= 1.5, 1, 0) + np.where(score >= 3.0, 1, 0)).astype(np.int8)
