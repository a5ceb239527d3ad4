"""What a delivery is in InfluxDB: events, anomalies and positions as lines. Pure.

An event is a point of `llm_telemetry`. Its tags are what is asked by and has few values: series, provider, operation, environment, region,
and its log. The rest are fields. Two events of one series in one millisecond must both survive, so the point's time is the event's
millisecond with the offset modulo one million in its nanoseconds, and further events of one record carry the tag `sub`; the event's own
time is the field `ts_ns`. All of that follows from the record alone, so writing it again overwrites the same point. One series can have
a million records of one millisecond in one log; beyond that the oldest are overwritten.

An anomaly is a point of `llm_anomalies` at its event's time. A log's position is a point of `sentinel_positions`; its time is the hour of
the write, so that it stays within any retention and within the newest files of the server, and replaces itself within the hour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Final

import numpy as np

from sentinel.core.anomaly import DETECTORS, SEVERITIES, AnomalyBatch
from sentinel.core.batch import CleanBatch, Dimensions, Int64, PartitionId, SeriesKey
from sentinel.core.metrics import METRIC_NAMES
from sentinel.storage import line_protocol
from sentinel.storage.line_protocol import MAX_STRING_BYTES, UnfitError

EVENTS: Final = "llm_telemetry"
ANOMALIES: Final = "llm_anomalies"
POSITIONS: Final = "sentinel_positions"

MILLISECOND_NS: Final = 1_000_000
HOUR_NS: Final = 3_600_000_000_000
MAX_EXTRA_PARTS: Final = 32
"""Fields that the rest of one event may take, each of up to MAX_STRING_BYTES: `extra`, `extra_2` and so on."""

_HEADS_KEPT: Final = 50_000
_ANOMALY_NUMBERS: Final = ("value", "score", "expected", "lower", "upper", "mean", "sd")
_LARGEST: Final = float(np.finfo(np.float64).max)


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of a batch, the row each belongs to, and the rows that cannot be written with the reason."""

    lines: Sequence[str]
    rows: Sequence[int]
    refused: Sequence[tuple[int, str]]


class Heads:
    """Everything of a line that many events share - measurement, tags, and the fields that belong to the dimensions - made once."""

    def __init__(self, kept: int = _HEADS_KEPT) -> None:
        self._kept = kept
        self._heads: dict[tuple[PartitionId, SeriesKey, Dimensions, int, int, int], str] = {}
        self._anomalies: dict[tuple[PartitionId, SeriesKey, int, int, int, int], str] = {}

    def of(self, source: PartitionId, series: SeriesKey, dimensions: Dimensions, flags: int, dialect: int, sub: int) -> str:
        """The head of an event. Raises UnfitError when a name cannot be written."""
        key = (source, series, dimensions, flags, dialect, sub)
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) >= self._kept:
                self._heads.clear()
            head = self._heads[key] = _head(*key)
        return head

    def of_anomaly(self, source: PartitionId, series: SeriesKey, metric: int, detector: int, severity: int, sub: int) -> str:
        """The head of an anomaly. Raises UnfitError when a name cannot be written."""
        key = (source, series, metric, detector, severity, sub)
        head = self._anomalies.get(key)
        if head is None:
            if len(self._anomalies) >= self._kept:
                self._anomalies.clear()
            head = self._anomalies[key] = _anomaly_head(*key)
        return head


def event_lines(batch: CleanBatch, heads: Heads) -> Lines:
    """The events of a batch as lines; an event that cannot be written is left out and named."""
    try:
        return Lines(_lines(batch, heads), range(len(batch)), ())
    except UnfitError:
        refused = _faults(batch, np.arange(len(batch)), heads)
    fit = np.ones(len(batch), dtype=np.bool_)
    fit[[row for row, _ in refused]] = False
    return Lines(_lines(batch.take(fit), heads), np.flatnonzero(fit).tolist(), refused)


def point_times(ts_ns: Int64, offsets: Int64) -> Int64:
    """int64[n], the times of the points of events."""
    times: Int64 = ts_ns - ts_ns % MILLISECOND_NS + offsets % MILLISECOND_NS
    return times


def anomaly_lines(batch: CleanBatch, found: AnomalyBatch, chosen: Sequence[int], heads: Heads) -> list[str]:
    """The anomalies numbered `chosen` as lines, whole columns at a time. Raises UnfitError when a name of an event cannot be written."""
    if not len(chosen):
        return []
    at = np.asarray(chosen, np.int64)
    event = found.event[at]
    rows = event.tolist()
    # Infinite where a constant series moved: the largest number says the same, and can be written.
    numbers = [line_protocol.floats(name, np.clip(getattr(found, name)[at], -_LARGEST, _LARGEST)) for name in _ANOMALY_NUMBERS]
    fragments = zip(
        _anomaly_heads(batch, found, at, heads),
        line_protocol.strings("id", [found.ids[i] for i in at.tolist()]),
        *numbers,
        line_protocol.integers("samples", found.samples[at].astype(np.int64)),
        repeat(f"window={found.window}i,", len(rows)),
        line_protocol.integers("offset", batch.offsets[event]),
        line_protocol.strings("event_id", [batch.event_ids[row] for row in rows]),
        line_protocol.strings("trace_id", [batch.trace_ids[row] for row in rows]),
        line_protocol.integers("ts_ns", batch.ts_ns[event], behind=" "),
        line_protocol.times(point_times(batch.ts_ns[event], batch.offsets[event])),
        strict=True,
    )
    return list(map("".join, fragments))


def _anomaly_heads(batch: CleanBatch, found: AnomalyBatch, at: Int64, heads: Heads) -> list[str]:
    event = found.event[at]
    kinds = (found.metric[at], found.detector[at], found.severity[at], batch.subs[event])
    columns = zip(batch.series[event].tolist(), *(column.tolist() for column in kinds), strict=True)
    return [heads.of_anomaly(batch.source, batch.names[series], *kind) for series, *kind in columns]


def position_line(source: PartitionId, next_offset: int, now_ns: int) -> str:
    """A log's position as a line. Raises UnfitError when the log's name cannot be written."""
    return line_protocol.point(POSITIONS, [("partition", str(source))], [("next_offset", next_offset)], now_ns // HOUR_NS * HOUR_NS)


def _head(source: PartitionId, series: SeriesKey, dimensions: Dimensions, flags: int, dialect: int, sub: int) -> str:
    head = line_protocol.head(
        EVENTS,
        [
            *zip(SeriesKey._fields, series, strict=True),
            ("provider", dimensions.provider or None),
            ("operation", dimensions.operation or None),
            ("environment", dimensions.environment or None),
            ("region", dimensions.region or None),
            *_place(source, sub),
        ],
    )
    texts = [("finish_reason", dimensions.finish_reason), ("prompt_version", dimensions.prompt_version)]
    fields = "".join(f"{name}={line_protocol.string(name, value)}," for name, value in texts if value is not None)
    return f"{head}dialect={dialect}i,flags={flags}i,{fields}"


def _place(source: PartitionId, sub: int) -> list[tuple[str, str | None]]:
    """The tags that keep points of different logs, and of one record, apart."""
    return [("partition", str(source)), ("sub", str(sub) if sub else None)]


def _lines(batch: CleanBatch, heads: Heads) -> list[str]:
    """One line an event, whole columns at a time. Raises UnfitError when any cannot be written."""
    if not len(batch):
        return []
    if np.isinf(batch.metrics).any():
        raise UnfitError("a metric is infinite")
    present = ~np.isnan(batch.metrics).all(axis=0)
    columns = [line_protocol.floats(METRIC_NAMES[i], batch.metrics[:, i]) for i in np.flatnonzero(present).tolist()]
    fragments = zip(
        _heads_of(batch, heads),
        *columns,
        line_protocol.strings("event_id", batch.event_ids),
        line_protocol.strings("trace_id", batch.trace_ids),
        _extras(batch.extra),
        line_protocol.integers("offset", batch.offsets),
        line_protocol.integers("ts_ns", batch.ts_ns, behind=" "),
        line_protocol.times(point_times(batch.ts_ns, batch.offsets)),
        strict=True,
    )
    return list(map("".join, fragments))


def _heads_of(batch: CleanBatch, heads: Heads) -> list[str]:
    """The head of each event: as many look-ups as there are different ones in the batch."""
    key = batch.series.astype(np.int64) * len(batch.dimension_sets) + batch.dimensions
    marks = (batch.subs.astype(np.int64) << 34) | (batch.flags.astype(np.int64) << 8) | batch.dialects
    if marks.any():
        distinct, mark = np.unique(marks, return_inverse=True)
        key = key * len(distinct) + mark
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    columns = (batch.series, batch.dimensions, batch.flags, batch.dialects, batch.subs)
    made = [
        heads.of(batch.source, batch.names[series], batch.dimension_sets[dimensions], flags, dialect, sub)
        for series, dimensions, flags, dialect, sub in zip(*(column[first].tolist() for column in columns), strict=True)
    ]
    return [made[i] for i in group.tolist()]


def _extras(extra: Sequence[bytes | None]) -> list[str]:
    """The rest of each event; one that is too long for one field is cut into several."""
    long = [row for row, text in enumerate(extra) if text is not None and len(text) > MAX_STRING_BYTES]
    if not long:
        return line_protocol.strings("extra", extra)
    short = list(extra)
    for row in long:
        short[row] = None
    fragments = line_protocol.strings("extra", short)
    for row in long:
        fragments[row] = "".join(
            f"{name}={line_protocol.string(name, part)}," for name, part in zip(extra_names(), _cut(extra[row] or b""), strict=False)
        )
    return fragments


def extra_names() -> list[str]:
    """The fields that hold the rest of an event, in order."""
    return ["extra", *(f"extra_{part}" for part in range(2, MAX_EXTRA_PARTS + 1))]


def _cut(text: bytes) -> list[str]:
    """The text in parts that fit into a field, cut between characters. Raises UnfitError when there are too many."""
    parts = []
    while text:
        end = min(len(text), MAX_STRING_BYTES)
        while end < len(text) and text[end] & 0xC0 == 0x80:
            end -= 1
        parts.append(text[:end])
        text = text[end:]
    if len(parts) > MAX_EXTRA_PARTS:
        raise UnfitError(f"what is kept of the event is larger than {MAX_EXTRA_PARTS * MAX_STRING_BYTES} bytes")
    try:
        return [part.decode() for part in parts]
    except UnicodeDecodeError as error:
        raise UnfitError("the field extra is not UTF-8") from error


def _faults(batch: CleanBatch, rows: Int64, heads: Heads) -> list[tuple[int, str]]:
    """Which of these rows cannot be written, and why: found by halving."""
    some = np.zeros(len(batch), dtype=np.bool_)
    some[rows] = True
    try:
        _lines(batch.take(some), heads)
    except UnfitError as error:
        if len(rows) == 1:
            return [(int(rows[0]), str(error))]
        half = len(rows) // 2
        return _faults(batch, rows[:half], heads) + _faults(batch, rows[half:], heads)
    return []


def _anomaly_head(source: PartitionId, series: SeriesKey, metric: int, detector: int, severity: int, sub: int) -> str:
    return line_protocol.head(
        ANOMALIES,
        [
            *zip(SeriesKey._fields, series, strict=True),
            ("metric", METRIC_NAMES[metric]),
            ("detector", DETECTORS[detector]),
            ("severity", SEVERITIES[severity]),
            *_place(source, sub),
        ],
    )
