"""The reading side of the embedded store: each question is a function of one read-only connection. Values are always SQL parameters;
names in the statements come from this file.
"""

import sqlite3
from typing import Any, Final

import msgspec
import numpy as np
import orjson

from sentinel.core.anomaly import DETECTORS, Anomaly
from sentinel.core.batch import Dialect, PartitionId, SeriesKey
from sentinel.core.explain import anomaly_type, described, finding_of
from sentinel.core.flags import flag_names
from sentinel.core.metrics import ERROR, METRIC_INDEX, METRIC_NAMES, METRICS
from sentinel.core.ports import StoredMetrics
from sentinel.core.query import AnomalyQuery, Page, SeriesFilter, TelemetryQuery, TimeRange
from sentinel.core.timestamp import rfc3339
from sentinel.storage import schema, tick_table
from sentinel.storage.cursor import Place, decode_cursor, encode_cursor
from sentinel.storage.tick_fields import SEVERITY_NUMBERS
from sentinel.storage.tick_table import Timed

MAX_LIMIT: Final = 10_000
"""Most items in one answer; a larger limit means this one."""
MAX_PAGE_BYTES: Final = 16_777_216
"""Stored bytes after which a page ends early."""
REPLAY_ROWS: Final = 5_000
"""Rows in one block of a replay."""

_EXTRA: Final = 9
_TS_NS, _SEVERITY = 1, 4
_INT64: Final = np.iinfo(np.int64)

_PAGE: Final = """
    SELECT ts_ns, part, off, sub FROM events
    WHERE ts_ns >= :start AND ts_ns < :end {matching}
    ORDER BY ts_ns DESC, part DESC, off DESC, sub DESC LIMIT :limit
"""
_EVENT: Final = f"""
    SELECT e.ts_ns, e.off, s.tenant, s.service, s.model, e.flags, e.dialect, e.event_id, d.names, e.extra,
        l.cluster, l.topic, l.partition, {", ".join(f"e.{name}" for name in METRIC_NAMES)}
    FROM events e JOIN logs l USING (part) JOIN series s ON s.id = e.series LEFT JOIN dimensions d ON d.id = e.dimensions
    WHERE e.part = ? AND e.off = ? AND e.sub = ?
"""  # noqa: S608  names of our own columns
_AFTER: Final = " AND (ts_ns, part, off, sub) < (:ts_ns, :part, :off, :sub)"

_ANOMALY: Final = """
    SELECT a.id, a.ts_ns, a.metric, a.detector, a.severity, a.value, a.score, a.expected, a.lower, a.upper, a.mean, a.sd, a.samples,
        a.window_size, a.off, a.event_id, a.trace_id, s.tenant, s.service, s.model, l.cluster, l.topic, l.partition
    FROM anomalies a JOIN series s ON s.id = a.series JOIN logs l ON l.part = a.part
"""
_ONE_ANOMALY: Final = f"{_ANOMALY} WHERE a.n = ?"
_NUMBER_OF_ID: Final = """
    SELECT n FROM anomaly_ids WHERE id = :id
    UNION ALL SELECT n FROM anomalies WHERE n > (SELECT anomaly_ids_to FROM totals) AND id = :id LIMIT 1
"""
"""Anomalies that are not in the rollups yet are few, and looked through."""
_TYPES: Final = [
    (anomaly_type(metric, detector), i * len(DETECTORS) + j) for i, metric in enumerate(METRICS) for j, detector in enumerate(DETECTORS)
]
"""The type of each metric and detector, and the number of the pair."""
_OF_TYPE: Final = f" AND metric * {len(DETECTORS)} + detector IN (SELECT value FROM json_each(:pairs))"  # noqa: S608  a number of our own
_ANOMALIES: Final = f"""{_ANOMALY}
    WHERE a.n IN (
        SELECT n FROM anomalies WHERE ts_ns >= :start AND ts_ns < :end {{matching}}
        ORDER BY ts_ns DESC, severity DESC, metric DESC, detector DESC, series DESC, n DESC LIMIT :limit
    )
    ORDER BY a.ts_ns DESC, a.severity DESC, a.metric DESC, a.detector DESC, a.series DESC, a.n DESC
"""  # noqa: S608  statements of this file

_REPLAY: Final = f"""
    SELECT off, sub, ts_ns, series, flags, event_id, {", ".join(METRIC_NAMES)} FROM events
    WHERE part = ? AND (off, sub) > (?, ?) ORDER BY off, sub LIMIT ?
"""  # noqa: S608  names of our own columns


class SeriesSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A series the store knows: when its newest event was, and how many it ever had."""

    tenant: str
    service: str
    model: str
    last_seen: str
    events: int


def bounds(span: TimeRange) -> dict[str, int]:
    """The range as parameters that SQLite can hold."""
    return {"start": min(max(span.start_ns, _INT64.min), _INT64.max), "end": min(max(span.end_ns, _INT64.min), _INT64.max)}


def capped(limit: int) -> int:
    """The limit, at most MAX_LIMIT. Raises ValueError below 1."""
    if limit < 1:
        raise ValueError("limit must be at least 1")
    return min(limit, MAX_LIMIT)


def series_condition(series: SeriesFilter) -> tuple[str, dict[str, Any]]:
    """A condition on the column `series` and its parameters; empty when any series will do."""
    wanted = {name: value for name in ("tenant", "service", "model") if (value := getattr(series, name)) is not None}
    if not wanted:
        return "", {}
    matches = " AND ".join(f"{name} = :{name}" for name in wanted)
    return f" AND series IN (SELECT id FROM series WHERE {matches})", wanted  # noqa: S608  names from the line above, values are parameters


def telemetry(connection: sqlite3.Connection, query: TelemetryQuery) -> Page:
    """Events, newest first; equal times by their place in the log. A page of very large events ends early.

    Raises:
        ValueError: the limit or the cursor is unusable.
    """
    limit = capped(query.limit)
    matching, parameters = series_condition(query.series)
    parameters |= bounds(query.range) | {"limit": limit + 1}
    if query.cursor is not None:
        start = decode_cursor(query.cursor)
        matching += _AFTER
        parameters |= start._asdict()
        # Nothing newer than the cursor can match: the scan starts there, not at the end of the range.
        parameters["end"] = min(parameters["end"], start.ts_ns + 1 if start.ts_ns < _INT64.max else start.ts_ns)
    places = [Place(*row) for row in connection.execute(_PAGE.format(matching=matching), parameters)]
    events: list[dict[str, Any]] = []
    size = 0
    for place in places:
        if len(events) == limit or size > MAX_PAGE_BYTES:
            return Page(events, encode_cursor(places[len(events) - 1]))
        row = connection.execute(_EVENT, place[1:]).fetchone()
        events.append(_event(row))
        size += len(row[_EXTRA] or "")
    return Page(events, None)


def _event(row: tuple[Any, ...]) -> dict[str, Any]:
    """One event in the flat dialect's names. Where the producer used a name of ours for something else, ours stands."""
    ts_ns, off, tenant, service, model, flags, dialect, event_id, dimensions, extra, *rest = row
    metrics = dict(zip(METRIC_NAMES, rest[3:], strict=True))
    error = metrics[METRIC_NAMES[ERROR]]
    event: dict[str, Any] = orjson.loads(extra) if extra else {}
    named: dict[str, str] = orjson.loads(dimensions) if dimensions else {}
    return (
        {"trace_id": None}
        | event
        | named
        | metrics
        | {
            "timestamp": rfc3339(ts_ns),
            "tenant": tenant,
            "service_name": service,
            "model_name": model,
            "error": None if error is None else bool(error),
            "flags": flag_names(flags),
            "dialect": Dialect(dialect).name.lower(),
            "partition": str(PartitionId(*rest[:3])),
            "offset": off,
            "event_id": event_id,
        }
    )


def anomalies(connection: sqlite3.Connection, query: AnomalyQuery) -> list[Anomaly]:
    """Anomalies, newest first; of one time the most severe first. A severity, metric, detector or type nobody knows matches nothing.

    Raises:
        ValueError: the limit is unusable.
    """
    limits = bounds(query.range) | {"limit": capped(query.limit)}
    found = [] if query.kind == "event" else tick_table.find(connection, query, limits)
    if query.kind != "window":
        found += _of_events(connection, query, limits)
        found.sort(key=lambda row: row[:2], reverse=True)  # stable: where all is equal, windows come first
    return [found_anomaly for _, _, found_anomaly in found[: limits["limit"]]]


def _of_events(connection: sqlite3.Connection, query: AnomalyQuery, limits: dict[str, int]) -> list[Timed]:
    matching, parameters = series_condition(query.series)
    parameters |= limits
    detectors: dict[str, int] = {str(name): number for number, name in enumerate(DETECTORS)}
    for column, name, numbers in (
        ("severity", query.severity, SEVERITY_NUMBERS),
        ("metric", query.metric, METRIC_INDEX),
        ("detector", query.detector, detectors),
    ):
        if name is not None:
            matching += f" AND {column} = :{column}"
            parameters[column] = numbers.get(name, -1)
    if query.type is not None:
        matching += _OF_TYPE
        parameters["pairs"] = orjson.dumps([pair for name, pair in _TYPES if name == query.type]).decode()
    rows = connection.execute(_ANOMALIES.format(matching=matching), parameters)
    return [(row[_TS_NS], row[_SEVERITY], _anomaly(row)) for row in rows]


def anomaly(connection: sqlite3.Connection, anomaly_id: str) -> Anomaly | None:
    """One anomaly by id; None when there is no such."""
    number = connection.execute(_NUMBER_OF_ID, {"id": anomaly_id}).fetchone()
    if number is None:
        return tick_table.by_id(connection, anomaly_id)
    return _anomaly(connection.execute(_ONE_ANOMALY, number).fetchone())


def _anomaly(row: tuple[Any, ...]) -> Anomaly:
    anomaly_id, ts_ns, metric, detector, severity, *numbers = row[:12]
    samples, window, off, event_id, trace_id, *names = row[12:]
    return described(
        finding_of(metric, detector, *numbers, samples=samples, window=window),
        SeriesKey(*names[:3]),
        PartitionId(*names[3:]),
        anomaly_id=anomaly_id,
        ts_ns=ts_ns,
        severity=severity,
        offset=off,
        event_id=event_id,
        trace_id=trace_id,
    )


def position(connection: sqlite3.Connection, source: PartitionId) -> int | None:
    """The offset after the last stored one of a log; None when nothing of it was ever stored."""
    row = connection.execute("SELECT position FROM logs WHERE cluster = ? AND topic = ? AND partition = ?", source).fetchone()
    return row[0] if row else None


def replay_block(
    connection: sqlite3.Connection, source: PartitionId, after: tuple[int, int]
) -> tuple[StoredMetrics, tuple[int, int]] | None:
    """Up to REPLAY_ROWS rows of a log behind a place, and the place of the last; None when there are no more.

    Args:
        connection: a reader.
        source: the log.
        after: offset and sub; rows behind them are given.
    """
    part = connection.execute("SELECT part FROM logs WHERE cluster = ? AND topic = ? AND partition = ?", source).fetchone()
    if part is None:
        return None
    rows = connection.execute(_REPLAY, (*part, *after, REPLAY_ROWS)).fetchall()
    if not rows:
        return None
    columns = np.array([row[:5] for row in rows], dtype=np.int64)
    numbers, first, index = np.unique(columns[:, 3], return_index=True, return_inverse=True)
    appearance = np.argsort(first)
    rank = np.empty(len(numbers), dtype=np.int32)
    rank[appearance] = np.arange(len(numbers), dtype=np.int32)
    names = series_names(connection, numbers.tolist())
    block = StoredMetrics(
        offsets=columns[:, 0].copy(),
        names=tuple(names[number] for number in numbers[appearance].tolist()),
        series=rank[index],
        metrics=np.array([row[6:] for row in rows], dtype=np.float64),
        flags=columns[:, 4].astype(np.int32),
        ts_ns=columns[:, 2].copy(),
        event_ids=[row[5] for row in rows],
    )
    return block, (rows[-1][0], rows[-1][1])


def series_names(connection: sqlite3.Connection, numbers: list[int]) -> dict[int, SeriesKey]:
    """The names of series by number."""
    rows = connection.execute(
        "SELECT id, tenant, service, model FROM series WHERE id IN (SELECT value FROM json_each(?))", (orjson.dumps(numbers).decode(),)
    )
    return {number: SeriesKey(*name) for number, *name in rows}


def series_seen(connection: sqlite3.Connection, limit: int) -> list[SeriesSeen]:
    """Known series, the most recently seen first."""
    rows = connection.execute(
        "SELECT tenant, service, model, last_ns, events FROM series WHERE last_ns IS NOT NULL ORDER BY last_ns DESC, id LIMIT ?",
        (capped(limit),),
    )
    return [
        SeriesSeen(tenant=tenant, service=service, model=model, last_seen=rfc3339(last_ns), events=events)
        for tenant, service, model, last_ns, events in rows
    ]


def counts(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """How many events and anomalies are stored, and the bytes of the file's pages, without scanning it."""
    events, found = connection.execute("SELECT events, anomalies FROM totals").fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    return events, found, pages * page_bytes


assert len(schema.EVENT_COLUMNS) == 5 + len(METRIC_NAMES) + 5  # noqa: S101  the statements above count columns
