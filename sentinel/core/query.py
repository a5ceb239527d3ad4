"""Questions to the read side of a store, and their answers."""

from typing import Any, Final, Literal

import msgspec

AnomalyKind = Literal["event", "window"]
"""What an anomaly is about: a single event, or a window of time."""
ANOMALY_KINDS: Final[tuple[AnomalyKind, ...]] = ("event", "window")


class TimeRange(msgspec.Struct, frozen=True):
    """A half-open range of event time, in nanoseconds since the epoch."""

    start_ns: int
    end_ns: int


class SeriesFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which series; None means any."""

    tenant: str | None = None
    service: str | None = None
    model: str | None = None


class TelemetryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Events of a time range, newest first.

    `cursor` is what the page before gave as `next_cursor`: it is opaque to callers.
    """

    range: TimeRange
    series: SeriesFilter = SeriesFilter()
    limit: int = 100
    cursor: str | None = None


class AnomalyQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Anomalies of a time range, newest first; None means any. A name that no anomaly has matches nothing.

    Attributes:
        type: the public type, such as `latency_spike`.
        kind: only those of single events, or only those of time windows.
    """

    range: TimeRange
    series: SeriesFilter = SeriesFilter()
    severity: str | None = None
    metric: str | None = None
    detector: str | None = None
    type: str | None = None
    kind: AnomalyKind | None = None
    limit: int = 100


class Page(msgspec.Struct, frozen=True):
    """Items in the flat dialect's field names plus `flags`, `dialect`, `partition`, `offset`, and where to go on."""

    items: list[dict[str, Any]]
    next_cursor: str | None


class SeriesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Traffic over time, from the rollups.

    `step_s` is a multiple of 60. With `by_series` there is one list of points a series, else one for all together.
    """

    range: TimeRange
    series: SeriesFilter = SeriesFilter()
    step_s: int = 60
    by_series: bool = False
    limit: int = 50


class SeriesPoint(msgspec.Struct, frozen=True, kw_only=True):
    """What happened within one step. Percentiles are estimates with at most 1% relative error; None = no value."""

    timestamp: str
    requests: int
    errors: int
    prompt_tokens: float
    completion_tokens: float
    total_tokens: float
    cost_usd: float
    latency_mean_ms: float | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    latency_p99_ms: float | None
    ttft_p50_ms: float | None
    ttft_p95_ms: float | None


class SeriesPoints(msgspec.Struct, frozen=True, kw_only=True):
    """The points of one series, or of all together (service and model None)."""

    tenant: str | None
    service: str | None
    model: str | None
    points: list[SeriesPoint]
