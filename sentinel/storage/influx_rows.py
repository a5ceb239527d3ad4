"""Rows of InfluxDB as what the ports promise: events, anomalies, blocks to learn from, points of traffic. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson

from sentinel.core.anomaly import DETECTORS, SEVERITIES, Anomaly
from sentinel.core.batch import Dialect, Dimensions, PartitionId, SeriesKey
from sentinel.core.explain import described, finding_of
from sentinel.core.flags import flag_names
from sentinel.core.metrics import ERROR, METRIC_INDEX, METRIC_NAMES
from sentinel.core.ports import StoredMetrics
from sentinel.core.query import SeriesPoint
from sentinel.core.timestamp import rfc3339
from sentinel.storage import influx_ticks
from sentinel.storage.influx_cursor import Place
from sentinel.storage.influx_points import extra_names
from sentinel.storage.influx_sql import ANOMALY_NUMBERS
from sentinel.storage.line_protocol import plain_tag

Row = Mapping[str, Any]

_COUNTS: Final = tuple(name for name in METRIC_NAMES if name.endswith("_tokens"))


def event(row: Row) -> dict[str, Any]:
    """One event in the flat dialect's names. Where the producer used a name of ours for something else, ours stands."""
    rest = _rest(row)
    error = row.get(METRIC_NAMES[ERROR])
    return (
        (orjson.loads(rest) if rest else {})
        | {name: plain_tag(value) for name in Dimensions._fields if (value := row.get(name)) is not None}
        | {name: row.get(name) for name in METRIC_NAMES}
        | {name: int(count) for name in _COUNTS if (count := row.get(name)) is not None and count.is_integer()}
        | {
            "timestamp": rfc3339(row["ts_ns"]),
            "tenant": _plain(row.get("tenant")),
            "service_name": _plain(row.get("service")),
            "model_name": _plain(row.get("model")),
            "error": None if error is None else bool(error),
            "flags": flag_names(row["flags"]),
            "dialect": Dialect(row["dialect"]).name.lower(),
            "partition": _plain(row["partition"]),
            "offset": row["offset"],
            "event_id": row.get("event_id"),
            "trace_id": row.get("trace_id"),
        }
    )


def size_of(row: Row) -> int:
    """Bytes of an event's free part, for limits on answers."""
    return len(_rest(row))


def place(row: Row) -> Place:
    """Where an event stands in the order of pages."""
    return Place(row["time_ns"], row["offset"], int(row.get("sub") or 0), plain_tag(row["partition"]))


def anomaly(row: Row) -> Anomaly:
    """One anomaly in words."""
    if row.get("type") is not None:
        return influx_ticks.anomaly(row)
    return described(
        finding_of(
            METRIC_INDEX[row["metric"]],
            [str(name) for name in DETECTORS].index(row["detector"]),
            *(row.get(name) for name in ANOMALY_NUMBERS),
            samples=row["samples"],
            window=row["window"],
        ),
        _series(row),
        partition_id(plain_tag(row["partition"])),
        anomaly_id=row["id"],
        ts_ns=row["ts_ns"],
        severity=[str(name) for name in SEVERITIES].index(row["severity"]),
        offset=row["offset"],
        event_id=row.get("event_id"),
        trace_id=row.get("trace_id"),
    )


def partition_id(name: str) -> PartitionId:
    """The log of a name.

    >>> partition_id(str(PartitionId("file", "/var/log/llm.jsonl", 0)))
    PartitionId(cluster='file', topic='/var/log/llm.jsonl', partition=0)
    """
    cluster, _, rest = name.partition("/")
    topic, _, number = rest.rpartition("/")
    return PartitionId(cluster, topic, int(number))


def block(rows: Sequence[Row]) -> StoredMetrics:
    """Rows of one log, in log order, to learn from; at least one."""
    names: dict[SeriesKey, int] = {}
    series = [names.setdefault(_series(row), len(names)) for row in rows]
    return StoredMetrics(
        offsets=np.array([row["offset"] for row in rows], dtype=np.int64),
        names=tuple(names),
        series=np.array(series, dtype=np.int32),
        metrics=np.array([[row.get(name) for name in METRIC_NAMES] for row in rows], dtype=np.float64),
        flags=np.array([row["flags"] for row in rows], dtype=np.int32),
        ts_ns=np.array([row["ts_ns"] for row in rows], dtype=np.int64),
        event_ids=[row.get("event_id") for row in rows],
    )


def traffic(row: Row) -> SeriesPoint:
    """One step of traffic."""
    return SeriesPoint(
        timestamp=rfc3339(row["step_ns"]),
        requests=row["requests"],
        errors=int(row["errors"] or 0),
        **{name: row[name] or 0.0 for name in ("prompt_tokens", "completion_tokens", "total_tokens", "cost_usd")},
        **{
            name: row[name]
            for name in ("latency_mean_ms", "latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "ttft_p50_ms", "ttft_p95_ms")
        },
    )


def series_of(row: Row) -> tuple[str | None, str | None, str | None]:
    """Tenant, service and model of a row; None where the row is of all together."""
    return _plain(row.get("tenant")), _plain(row.get("service")), _plain(row.get("model"))


def _series(row: Row) -> SeriesKey:
    return SeriesKey(plain_tag(row["tenant"]), plain_tag(row["service"]), plain_tag(row["model"]))


def _rest(row: Row) -> str:
    """The free part of an event, put together again."""
    return "".join(row.get(name) or "" for name in extra_names())


def _plain(stored: str | None) -> str | None:
    return None if stored is None else plain_tag(stored)
