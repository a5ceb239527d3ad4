"""The questions to InfluxDB as SQL. Pure. Every value is a parameter; what stands in the text itself is names of our own columns and,
where SQL takes no parameter, whole numbers that were checked here.

A column exists only once a point had it, so each statement is made for the columns that are there.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from sentinel.core.anomaly import DETECTORS
from sentinel.core.batch import Dimensions
from sentinel.core.explain import anomaly_type
from sentinel.core.metrics import METRIC_NAMES, METRICS
from sentinel.core.query import AnomalyKind, AnomalyQuery, SeriesFilter, SeriesQuery, TelemetryQuery, TimeRange
from sentinel.core.timestamp import rfc3339
from sentinel.storage import influx_ticks
from sentinel.storage.influx_cursor import Place
from sentinel.storage.influx_points import ANOMALIES, EVENTS, MILLISECOND_NS, POSITIONS, extra_names
from sentinel.storage.line_protocol import encoded_tag

Columns = frozenset[str]
"""The columns that a table has."""

COLUMNS_OF: Final = "SELECT column_name FROM information_schema.columns WHERE table_name = $table"

EVENT_COLUMNS: Final = (
    "tenant",
    "service",
    "model",
    *Dimensions._fields,
    "partition",
    "sub",
    "offset",
    "ts_ns",
    "flags",
    "dialect",
    "event_id",
    "trace_id",
    *METRIC_NAMES,
    *extra_names(),
)
ANOMALY_NUMBERS: Final = ("value", "score", "expected", "lower", "upper", "mean", "sd")
ANOMALY_COLUMNS: Final = (
    "id",
    "tenant",
    "service",
    "model",
    "metric",
    "detector",
    "severity",
    "partition",
    "offset",
    "ts_ns",
    "event_id",
    "trace_id",
    "samples",
    "window",
    *ANOMALY_NUMBERS,
    *influx_ticks.FIELDS,
)
QUANTILES: Final = (
    ("latency_p50_ms", "latency_ms", 0.5),
    ("latency_p95_ms", "latency_ms", 0.95),
    ("latency_p99_ms", "latency_ms", 0.99),
    ("ttft_p50_ms", "ttft_ms", 0.5),
    ("ttft_p95_ms", "ttft_ms", 0.95),
)
SUMS: Final = (
    ("errors", "error"),
    ("prompt_tokens", "prompt_tokens"),
    ("completion_tokens", "completion_tokens"),
    ("total_tokens", "total_tokens"),
    ("cost_usd", "cost_usd"),
)
CENTROIDS: Final = 400
"""Accuracy of the percentiles: four times the engine's default."""
MINUTE_NS: Final = 60_000_000_000

_INT64: Final = np.iinfo(np.int64)
_RANK: Final = "CASE severity WHEN 'critical' THEN 2 WHEN 'warning' THEN 1 ELSE 0 END"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


_EVENTS_ONLY: Final = f"(metric IN ({_listed(METRIC_NAMES)}) AND detector IN ({_listed(DETECTORS)}))"
_EVENT_TYPE: Final = " ".join(
    (
        "CASE",
        *(
            f"WHEN metric = '{metric.name}' AND detector = '{detector}' THEN '{anomaly_type(metric, detector)}'"
            for metric in METRICS
            for detector in DETECTORS
        ),
        "END",
    )
)


class Statement(NamedTuple):
    """SQL and its parameters."""

    text: str
    parameters: dict[str, object]


def telemetry(query: TelemetryQuery, columns: Columns, limit: int, after: Place | None) -> Statement:
    """Events of a range, newest first, `limit` of them behind a place."""
    conditions, parameters = _within(query.range, exact=True)
    _series(query.series, conditions, parameters)
    if after is not None:
        _behind(after, columns, conditions, parameters)
    text = (
        f"SELECT CAST(time AS BIGINT) AS time_ns, {_existing(EVENT_COLUMNS, columns)} FROM {EVENTS} WHERE {' AND '.join(conditions)} "  # noqa: S608  see the module
        f'ORDER BY time DESC, "offset" DESC, partition DESC{_then_sub(columns, " DESC")} LIMIT {limit:d}'
    )
    return Statement(text, parameters)


def anomalies(query: AnomalyQuery, columns: Columns, limit: int) -> Statement:
    """Anomalies of a range, newest first; of one event the most severe first."""
    conditions, parameters = _within(query.range, exact=True)
    _series(query.series, conditions, parameters)
    for name, expression in (("severity", "severity"), ("metric", "metric"), ("detector", "detector"), ("type", _type(columns))):
        if (value := getattr(query, name)) is not None:
            conditions.append(f"{expression} = ${name}")
            parameters[name] = value
    conditions += _of_kind(query.kind, columns)
    return Statement(
        f"SELECT {_existing(ANOMALY_COLUMNS, columns)} FROM {ANOMALIES} WHERE {' AND '.join(conditions)} "  # noqa: S608  see the module
        f"ORDER BY time DESC, {_RANK} DESC, metric DESC, detector DESC, id DESC LIMIT {limit:d}",
        parameters,
    )


def anomaly(anomaly_id: str, span: TimeRange, columns: Columns) -> Statement:
    """One anomaly by its id."""
    conditions, parameters = _within(span, exact=False)
    conditions += _of_kind(None, columns)
    return Statement(
        f"SELECT {_existing(ANOMALY_COLUMNS, columns)} FROM {ANOMALIES} WHERE {' AND '.join(conditions)} AND id = $id LIMIT 1",  # noqa: S608  see the module
        parameters | {"id": anomaly_id},
    )


def position(partition: str, span: TimeRange) -> Statement:
    """The newest position of a log, and the hour it was written in."""
    conditions, parameters = _within(span, exact=False)
    return Statement(
        f"SELECT next_offset, CAST(time AS BIGINT) AS time_ns FROM {POSITIONS} WHERE {' AND '.join(conditions)} "  # noqa: S608  see the module
        "AND partition = $partition ORDER BY next_offset DESC LIMIT 1",
        parameters | {"partition": encoded_tag(partition)},
    )


def replay(partition: str, since_ns: int, after: tuple[int, int], columns: Columns, limit: int) -> Statement:
    """Rows of a log behind a place in log order."""
    conditions, parameters = _within(TimeRange(since_ns, int(_INT64.max)), exact=False)
    offset, sub = after
    wanted = ("tenant", "service", "model", "offset", "sub", "ts_ns", "flags", "event_id", *METRIC_NAMES)
    conditions += ["partition = $partition", f'("offset" > $offset OR ("offset" = $offset AND {_sub(columns)} > $sub))']
    return Statement(
        f"SELECT {_existing(wanted, columns)} FROM {EVENTS} WHERE {' AND '.join(conditions)} "  # noqa: S608  see the module
        f'ORDER BY "offset"{_then_sub(columns)} LIMIT {limit:d}',
        parameters | {"partition": encoded_tag(partition), "offset": offset, "sub": sub},
    )


def timeseries(query: SeriesQuery, columns: Columns, limit: int, rows: int) -> Statement:
    """Traffic of whole minutes by step and, if wanted, by series of the `limit` busiest; up to `rows` rows.

    Raises ValueError when the step is no multiple of 60 s.
    """
    if query.step_s < 60 or query.step_s % 60:
        raise ValueError("step_s must be a multiple of 60")
    span = TimeRange(query.range.start_ns // MINUTE_NS * MINUTE_NS, -(-query.range.end_ns // MINUTE_NS) * MINUTE_NS)
    conditions, parameters = _within(span, exact=False)
    _series(query.series, conditions, parameters)
    where = " AND ".join(conditions)
    step = f"date_bin(INTERVAL '{query.step_s:d} seconds', time)"
    chosen = [f"count(*) AS requests, avg({_or_null('latency_ms', columns)}) AS latency_mean_ms"]
    chosen += [f"sum({_or_null(column, columns)}) AS {name}" for name, column in SUMS]
    chosen += [f"approx_percentile_cont({_or_null(column, columns)}, {q}, {CENTROIDS}) AS {name}" for name, column, q in QUANTILES]
    if not query.by_series:
        together = f"""
            SELECT CAST({step} AS BIGINT) AS step_ns, {", ".join(chosen)} FROM {EVENTS} WHERE {where}
            GROUP BY {step} ORDER BY {step} LIMIT {rows:d}
        """  # noqa: S608  see the module
        return Statement(together, parameters)
    by_series = f"""
        WITH kept AS (SELECT * FROM {EVENTS} WHERE {where}),
        busiest AS (
            SELECT tenant, service, model, count(*) AS traffic FROM kept GROUP BY tenant, service, model
            ORDER BY traffic DESC, tenant, service, model LIMIT {limit:d}
        )
        SELECT CAST({step} AS BIGINT) AS step_ns, kept.tenant, kept.service, kept.model, max(traffic) AS traffic, {", ".join(chosen)}
        FROM kept JOIN busiest ON kept.tenant = busiest.tenant AND kept.service = busiest.service AND kept.model = busiest.model
        GROUP BY {step}, kept.tenant, kept.service, kept.model
        ORDER BY traffic DESC, kept.tenant, kept.service, kept.model, {step} LIMIT {rows:d}
    """  # noqa: S608  see the module
    return Statement(by_series, parameters)


def clamped(span: TimeRange) -> TimeRange:
    """The range within the times that InfluxDB knows."""
    low, high = int(_INT64.min) + MILLISECOND_NS, int(_INT64.max) - MILLISECOND_NS
    return TimeRange(min(max(span.start_ns, low), high), min(max(span.end_ns, low), high))


def _within(span: TimeRange, *, exact: bool) -> tuple[list[str], dict[str, object]]:
    """Points of a half-open range: by their own time, and where this is coarser than the range by that of the event."""
    span = clamped(span)
    first = span.start_ns // MILLISECOND_NS * MILLISECOND_NS
    last = -(-span.end_ns // MILLISECOND_NS) * MILLISECOND_NS
    conditions = ["time >= $first", "time < $last"]
    parameters: dict[str, object] = {"first": rfc3339(first), "last": rfc3339(last)}
    if exact and first != span.start_ns:
        conditions.append("ts_ns >= $start")
        parameters["start"] = span.start_ns
    if exact and last != span.end_ns:
        conditions.append("ts_ns < $end")
        parameters["end"] = span.end_ns
    return conditions, parameters


def _series(series: SeriesFilter, conditions: list[str], parameters: dict[str, object]) -> None:
    for name in ("tenant", "service", "model"):
        if (value := getattr(series, name)) is not None:
            conditions.append(f"{name} = ${name}")
            parameters[name] = encoded_tag(value)


def _behind(place: Place, columns: Columns, conditions: list[str], parameters: dict[str, object]) -> None:
    """Only what stands behind a place in the order of pages."""
    conditions.append(
        'time <= $at AND (time < $at OR "offset" < $offset OR ("offset" = $offset AND '
        f"(partition < $partition OR (partition = $partition AND {_sub(columns)} < $sub))))"
    )
    parameters |= {"at": rfc3339(place.time_ns), "offset": place.offset, "sub": place.sub, "partition": encoded_tag(place.partition)}


def _of_kind(kind: AnomalyKind | None, columns: Columns) -> list[str]:
    """Conditions for the anomalies of this kind that can be told from the columns that are known.

    Those of time windows have their type as a field. While that column is not known, rows that hold it may have come: they wait.
    """
    if "type" not in columns:
        return ["FALSE"] if kind == "window" else [_EVENTS_ONLY]
    return [] if kind is None else ['"type" IS NULL' if kind == "event" else '"type" IS NOT NULL']


def _type(columns: Columns) -> str:
    """The type of an anomaly: a field of those of time windows, and what metric and detector say of those of events."""
    return f'coalesce("type", {_EVENT_TYPE})' if "type" in columns else _EVENT_TYPE


def _existing(wanted: Sequence[str], columns: Columns) -> str:
    return ", ".join(f'"{name}"' for name in wanted if name in columns)


def _or_null(column: str, columns: Columns) -> str:
    return column if column in columns else "CAST(NULL AS DOUBLE)"


def _sub(columns: Columns) -> str:
    """The position of an event within its record: a tag where it is not 0."""
    return "coalesce(CAST(sub AS BIGINT), 0)" if "sub" in columns else "0"


def _then_sub(columns: Columns, direction: str = "") -> str:
    """The last part of an order, where there is something to order."""
    return f", {_sub(columns)}{direction}" if "sub" in columns else ""
