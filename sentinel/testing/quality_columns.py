"""Simulated events as columns, and the log a partition would read of them: batches, and time marks where nothing arrives."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final, NamedTuple, TypeVar

import numpy as np

from sentinel.core.batch import CleanBatch, Dialect, Dimensions, Float64, Int8, Int32, Int64, PartitionId, SeriesKey, by_appearance
from sentinel.core.metrics import METRICS

NS: Final = 1_000_000_000
START_NS: Final = 1_767_571_200 * NS
"""Monday, 2026-01-05T00:00:00Z: simulated weeks begin here."""
LOG: Final = PartitionId("simulated", "llm.telemetry", 0)
MARK_S: Final = 2.0
"""Seconds without an event after which a caught-up daemon marks the time, and from mark to mark."""
MOST_EVENTS: Final = 500
"""Events in a batch at most."""

FINISHES: Final = tuple(Dimensions(provider="simulated", operation="chat", finish_reason=name) for name in ("stop", "length", "tool_calls"))
FAILED: Final = len(FINISHES)
OUTCOMES: Final = (*FINISHES, Dimensions(provider="simulated", operation="chat"))
"""How requests end: the finish reasons, then failure, which has none."""
USERS: Final = tuple(f"user-{number:03d}" for number in range(400))
"""The pseudonyms of a series' users."""

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Columns:
    """n events of some series in order of time.

    Attributes:
        names: the series.
        series: int32[n], index into `names`.
        ts_ns: int64[n], not falling.
        metrics: float64[n, len(METRICS)], NaN = absent.
        outcome: int8[n], index into `OUTCOMES`.
        user: int32[n], index into `USERS`: who asked.
    """

    names: tuple[SeriesKey, ...]
    series: Int32
    ts_ns: Int64
    metrics: Float64
    outcome: Int8
    user: Int32

    def __len__(self) -> int:
        return len(self.ts_ns)

    @property
    def seconds(self) -> Float64:
        """float64[n]: the times as seconds since the week began."""
        return (self.ts_ns - START_NS) / NS


class Mark(NamedTuple):
    """What a partition is told when it is caught up and nothing arrives.

    Attributes:
        now_ns: every event before it has been read.
        offset: the next one.
    """

    now_ns: int
    offset: int


def columns_of(name: SeriesKey, seconds: Float64, **values: Float64) -> Columns:
    """Plain columns of one series: given metrics by name, everything else absent, all requests ended well by one user.

    Args:
        name: of the series.
        seconds: float64[n], rising, since the week began.
        values: float64[n] by metric name.
    """
    n = len(seconds)
    metrics = np.full((n, len(METRICS)), np.nan)
    for index, metric in enumerate(METRICS):
        if metric.name in values:
            metrics[:, index] = values[metric.name]
    ts_ns = START_NS + (seconds * NS).astype(np.int64)
    return Columns((name,), np.zeros(n, np.int32), ts_ns, metrics, np.zeros(n, np.int8), np.zeros(n, np.int32))


def merged(parts: Sequence[Columns]) -> Columns:
    """All events of several streams, whose series differ, as one log in order of time."""
    names = tuple(name for part in parts for name in part.names)
    firsts = np.cumsum([0, *(len(part.names) for part in parts)])
    ts_ns = np.concatenate([part.ts_ns for part in parts])
    order = np.argsort(ts_ns, kind="stable")
    return Columns(
        names,
        np.concatenate([part.series + np.int32(first) for part, first in zip(parts, firsts, strict=False)])[order],
        ts_ns[order],
        np.concatenate([part.metrics for part in parts])[order],
        np.concatenate([part.outcome for part in parts])[order],
        np.concatenate([part.user for part in parts])[order],
    )


def log_of(
    columns: Columns, until_s: float | None = None, *, mark_s: float = MARK_S, most: int = MOST_EVENTS
) -> Iterator[CleanBatch | Mark]:
    """What a partition gets: batches in log order, cut wherever time has to be marked, and the marks.

    Args:
        columns: the events.
        until_s: the end of the stream, in seconds since the week began; marks go on until then. None ends it with the last event.
        mark_s: see `MARK_S`; infinity gives no marks.
        most: events in a batch.
    """
    ends_ns = columns.ts_ns if until_s is None else np.append(columns.ts_ns, START_NS + int(until_s * NS))
    step_ns = int(mark_s * NS) if isfinite(mark_s) else 2**62
    before_gap = np.flatnonzero(np.diff(ends_ns) > step_ns).tolist()
    first = 0
    for last in sorted({*before_gap, len(columns) - 1} - {-1}):
        for cut in range(first, last + 1, most):
            yield batch_of(columns, cut, min(cut + most, last + 1))
        first = last + 1
        if first < len(ends_ns):
            for now_ns in range(int(ends_ns[last]) + step_ns, int(ends_ns[first]), step_ns):
                yield Mark(now_ns, first)


def batch_of(columns: Columns, first: int, last: int) -> CleanBatch:
    """Events `first` to before `last` as the batch that the sanitizer would give; offsets are the places in the columns."""
    n = last - first
    part = slice(first, last)
    ts_ns = columns.ts_ns[part]
    offsets = np.arange(first, last, dtype=np.int64)
    names, series = _distinct(columns.names, columns.series[part])
    sets, dimensions = _distinct(OUTCOMES, columns.outcome[part].astype(np.int32))
    users, user = _distinct(USERS, columns.user[part])
    nothing = [None] * n
    zeros = np.zeros(n, np.int32)
    return CleanBatch(
        source=LOG,
        received_ns=int(ts_ns[-1]),
        index=np.arange(n, dtype=np.int32),
        offsets=offsets,
        subs=zeros,
        ts_ns=ts_ns,
        log_ns=ts_ns,
        names=names,
        series=series,
        metrics=columns.metrics[part],
        flags=zeros,
        dialects=np.full(n, Dialect.FLAT, np.int8),
        dimension_sets=sets,
        dimensions=dimensions,
        users=users,
        user=user,
        personal=np.zeros(n, np.bool_),
        event_ids=nothing,
        trace_ids=nothing,
        extra=nothing,
        findings={},
    )


def _distinct(names: Sequence[K], codes: Int32) -> tuple[tuple[K, ...], Int32]:
    """The names that occur and the codes that go with them; a single event, as most are in sparse traffic, needs no sorting."""
    if len(names) == 1:
        return tuple(names), codes
    if len(codes) == 1:
        return (names[int(codes[0])],), np.zeros(1, np.int32)
    return by_appearance(names, codes)
