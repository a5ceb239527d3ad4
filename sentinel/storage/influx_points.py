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
from itertools import count, repeat
from typing import Final, TypeVar, cast

import numpy as np

from sentinel.core.anomaly import DETECTORS, SEVERITIES, AnomalyBatch
from sentinel.core.batch import CleanBatch, Dimensions, Int32, Int64, PartitionId, SeriesKey
from sentinel.core.metrics import METRIC_NAMES
from sentinel.storage import line_protocol
from sentinel.storage.line_columns import LineColumns
from sentinel.storage.line_protocol import MAX_STRING_BYTES, UnfitError
from sentinel.storage.lines import Lines

K = TypeVar("K")
V = TypeVar("V")

EVENTS: Final = "llm_telemetry"
ANOMALIES: Final = "llm_anomalies"
POSITIONS: Final = "sentinel_positions"

MILLISECOND_NS: Final = 1_000_000
HOUR_NS: Final = 3_600_000_000_000
MAX_EXTRA_PARTS: Final = 32
"""Fields that the rest of one event may take, each of up to MAX_STRING_BYTES: `extra`, `extra_2` and so on."""

_HEADS_KEPT: Final = 50_000
_TABLE: Final = 64
"""Places an event, at most, in a table of what could be different."""
_ANOMALY_NUMBERS: Final = ("value", "score", "expected", "lower", "upper", "mean", "sd")
_LARGEST: Final = float(np.finfo(np.float64).max)


@dataclass(frozen=True, slots=True)
class EventLines:
    """Lines of a batch, the row each belongs to, and the rows that cannot be written with the reason."""

    lines: Lines
    rows: Sequence[int]
    refused: Sequence[tuple[int, str]]


class Heads:
    """Everything of a line that many events share - measurement, tags, and the fields that belong to the dimensions - made once.

    Logs, series and dimensions go by numbers here, which cost less to look up by than names do. No number is given twice.

    Args:
        kept: how many of each kind are remembered at most.
    """

    def __init__(self, kept: int = _HEADS_KEPT) -> None:
        self._kept = kept
        self._fresh = count(1)
        self._numbers: dict[PartitionId | SeriesKey | Dimensions, int] = {}
        self._heads: dict[tuple[int, int, int, int, int, int], bytes] = {}
        self._anomalies: dict[tuple[PartitionId, SeriesKey, int, int, int, int], bytes] = {}

    def of(self, batch: CleanBatch, rows: Int64) -> list[bytes]:
        """The heads of some events. Raises UnfitError when a name cannot be written."""
        names, sets, known = batch.names, batch.dimension_sets, self._heads
        series, places = batch.series[rows], batch.dimensions[rows]
        marks = [column[rows].tolist() for column in (batch.flags, batch.dialects, batch.subs)]
        log = repeat(self._number(batch.source), len(rows))
        keys = list(zip(log, self._numbered(names, series), self._numbered(sets, places), *marks, strict=True))
        made = list(map(known.get, keys))
        if not all(made):
            for i in [i for i, head in enumerate(made) if head is None]:
                made[i] = head = _head(batch.source, names[series[i]], sets[places[i]], *keys[i][3:])
                self._keep(known, keys[i], head)
        return cast("list[bytes]", made)

    def of_anomaly(self, source: PartitionId, series: SeriesKey, metric: int, detector: int, severity: int, sub: int) -> bytes:
        """The head of an anomaly. Raises UnfitError when a name cannot be written."""
        key = (source, series, metric, detector, severity, sub)
        head = self._anomalies.get(key)
        if head is None:
            head = _anomaly_head(*key)
            self._keep(self._anomalies, key, head)
        return head

    def _numbered(self, names: Sequence[SeriesKey | Dimensions], codes: Int32) -> list[int]:
        """The numbers of those names that the codes stand for, at the cost of the fewer of both."""
        known = self._numbers.get
        if len(codes) < len(names):
            return [known(names[code]) or self._number(names[code]) for code in codes.tolist()]
        numbers = [known(name) or self._number(name) for name in names]
        return [numbers[code] for code in codes.tolist()]

    def _number(self, name: PartitionId | SeriesKey | Dimensions) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = next(self._fresh)
            self._keep(self._numbers, name, number)
        return number

    def _keep(self, known: dict[K, V], key: K, value: V) -> None:
        if len(known) >= self._kept:
            known.clear()
        known[key] = value


def event_lines(batch: CleanBatch, heads: Heads) -> EventLines:
    """The events of a batch as lines; an event that cannot be written is left out and named."""
    try:
        return EventLines(_lines(batch, heads), range(len(batch)), ())
    except UnfitError:
        refused = _faults(batch, np.arange(len(batch)), heads)
    fit = np.ones(len(batch), dtype=np.bool_)
    fit[[row for row, _ in refused]] = False
    return EventLines(_lines(batch.take(fit), heads), np.flatnonzero(fit).tolist(), refused)


def point_times(ts_ns: Int64, offsets: Int64) -> Int64:
    """int64[n], the times of the points of events."""
    times: Int64 = ts_ns - ts_ns % MILLISECOND_NS + offsets % MILLISECOND_NS
    return times


def anomaly_lines(batch: CleanBatch, found: AnomalyBatch, chosen: Sequence[int], heads: Heads) -> Lines:
    """The anomalies numbered `chosen` as lines, whole columns at a time. Raises UnfitError when a name of an event cannot be written."""
    if not len(chosen):
        return Lines.of(())
    at = np.asarray(chosen, np.int64)
    event = found.event[at]
    rows = event.tolist()
    # Infinite where a constant series moved: the largest number says the same, and can be written.
    numbers = [np.clip(getattr(found, name)[at], -_LARGEST, _LARGEST) for name in _ANOMALY_NUMBERS]
    whole = [found.samples[at].astype(np.int64), np.full(len(at), found.window), batch.offsets[event]]
    columns = LineColumns(len(at))
    columns.heads(_anomaly_heads(batch, found, at, heads), np.arange(len(at)))
    columns.strings("id", [found.ids[i] for i in at.tolist()])
    columns.floats(_ANOMALY_NUMBERS, np.stack(numbers, axis=1))
    columns.integers(("samples", "window", "offset"), np.stack(whole, axis=1))
    columns.strings("event_id", [batch.event_ids[row] for row in rows])
    columns.strings("trace_id", [batch.trace_ids[row] for row in rows])
    columns.ends(("ts_ns",), np.stack([batch.ts_ns[event], point_times(batch.ts_ns[event], batch.offsets[event])], axis=1))
    return columns.lines()


def _anomaly_heads(batch: CleanBatch, found: AnomalyBatch, at: Int64, heads: Heads) -> list[bytes]:
    event = found.event[at]
    kinds = (found.metric[at], found.detector[at], found.severity[at], batch.subs[event])
    columns = zip(batch.series[event].tolist(), *(column.tolist() for column in kinds), strict=True)
    return [heads.of_anomaly(batch.source, batch.names[series], *kind) for series, *kind in columns]


def position_line(source: PartitionId, next_offset: int, now_ns: int) -> str:
    """A log's position as a line. Raises UnfitError when the log's name cannot be written."""
    return line_protocol.point(POSITIONS, [("partition", str(source))], [("next_offset", next_offset)], now_ns // HOUR_NS * HOUR_NS)


def _head(source: PartitionId, series: SeriesKey, dimensions: Dimensions, flags: int, dialect: int, sub: int) -> bytes:
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
    return f"{head}dialect={dialect}i,flags={flags}i,{fields}".encode()


def _place(source: PartitionId, sub: int) -> list[tuple[str, str | None]]:
    """The tags that keep points of different logs, and of one record, apart."""
    return [("partition", str(source)), ("sub", str(sub) if sub else None)]


def _lines(batch: CleanBatch, heads: Heads) -> Lines:
    """One line an event, whole columns at a time. Raises UnfitError when any cannot be written."""
    if not len(batch):
        return Lines.of(())
    if np.isinf(batch.metrics).any():
        raise UnfitError("a metric is infinite")
    present = np.flatnonzero(~np.isnan(batch.metrics).all(axis=0))
    columns = LineColumns(len(batch))
    columns.heads(*_heads_of(batch, heads))
    columns.floats([METRIC_NAMES[i] for i in present.tolist()], batch.metrics[:, present])
    columns.strings("event_id", batch.event_ids)
    columns.strings("trace_id", batch.trace_ids)
    _add_extras(columns, batch.extra)
    columns.ends(("offset", "ts_ns"), np.stack([batch.offsets, batch.ts_ns, point_times(batch.ts_ns, batch.offsets)], axis=1))
    return columns.lines()


def _heads_of(batch: CleanBatch, heads: Heads) -> tuple[list[bytes], Int64]:
    """The distinct heads, and int64[n] which of them each event has: as many look-ups as there are different ones in the batch."""
    key = batch.series.astype(np.int64) * len(batch.dimension_sets) + batch.dimensions
    size = len(batch.names) * len(batch.dimension_sets)
    marks = (batch.subs.astype(np.int64) << 34) | (batch.flags.astype(np.int64) << 8) | batch.dialects
    if marks.any():
        distinct, mark = np.unique(marks, return_inverse=True)
        key = key * len(distinct) + mark
        size *= len(distinct)
    first, group = _numbered(key, size)
    return heads.of(batch, first), group


def _numbered(key: Int64, size: int) -> tuple[Int64, Int64]:
    """Where each distinct key, of 0 to `size` - 1, is found first or again, and int64[n] which of the distinct ones each key is."""
    if size > _TABLE * len(key):
        _, first, group = np.unique(key, return_index=True, return_inverse=True)
        return first, group
    rows = np.arange(len(key))
    table = np.empty(size, np.int64)  # no place is read that was not written
    table[key] = rows
    first = np.flatnonzero(table[key] == rows)
    table[key[first]] = np.arange(len(first))
    return first, table[key]


def _add_extras(columns: LineColumns, extra: Sequence[bytes | None]) -> None:
    """The rest of each event; one that is too long for one field is cut into several."""
    try:
        columns.strings("extra", extra)
    except UnfitError:
        long = {row: text for row, text in enumerate(extra) if text is not None and len(text) > MAX_STRING_BYTES}
        if not long:
            raise
        cut = {row: _cut(text) for row, text in long.items()}
        columns.strings("extra", [cut[row][0] if row in cut else text for row, text in enumerate(extra)])
        for part, name in enumerate(extra_names()[1 : max(map(len, cut.values()))], 1):
            columns.strings(name, [cut[row][part] if part < len(cut.get(row, ())) else None for row in range(len(extra))])


def extra_names() -> list[str]:
    """The fields that hold the rest of an event, in order."""
    return ["extra", *(f"extra_{part}" for part in range(2, MAX_EXTRA_PARTS + 1))]


def _cut(text: bytes) -> list[bytes]:
    """The text in parts that fit into a field, cut between characters. Raises UnfitError when there are too many, or one is unfit."""
    parts = []
    while text:
        end = min(len(text), MAX_STRING_BYTES)
        while end < len(text) and text[end] & 0xC0 == 0x80 and end > MAX_STRING_BYTES - 3:  # no character of UTF-8 is longer
            end -= 1
        parts.append(text[:end])
        text = text[end:]
    if len(parts) > MAX_EXTRA_PARTS:
        raise UnfitError(f"what is kept of the event is larger than {MAX_EXTRA_PARTS * MAX_STRING_BYTES} bytes")
    try:
        decoded = [part.decode() for part in parts]
    except UnicodeDecodeError as error:
        raise UnfitError("the field extra is not UTF-8") from error
    for name, part in zip(extra_names(), decoded, strict=False):
        if fault := line_protocol.fault_of(part):
            raise UnfitError(f"the field {name} {fault}")
    return parts


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


def _anomaly_head(source: PartitionId, series: SeriesKey, metric: int, detector: int, severity: int, sub: int) -> bytes:
    return line_protocol.head(
        ANOMALIES,
        [
            *zip(SeriesKey._fields, series, strict=True),
            ("metric", METRIC_NAMES[metric]),
            ("detector", DETECTORS[detector]),
            ("severity", SEVERITIES[severity]),
            *_place(source, sub),
        ],
    ).encode()
