"""Anomalies of time windows in the embedded store: each once, by its id. Every function works on one connection.

Names stand as text: there are few rows, and their metrics and detectors are no columns of events.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from sentinel.core.anomaly import Anomaly
from sentinel.core.query import AnomalyQuery
from sentinel.core.timestamp import nanoseconds
from sentinel.storage.tick_fields import SEVERITY_NUMBERS, plain

_INSERT: Final = """
    INSERT INTO tick_anomalies (id, ts_ns, tenant, service, model, metric, detector, type, severity, body)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING
"""
_DELETE: Final = "DELETE FROM tick_anomalies WHERE id IN (SELECT id FROM tick_anomalies WHERE ts_ns < ? ORDER BY ts_ns LIMIT ?)"
_FIND: Final = """
    SELECT ts_ns, severity, body FROM tick_anomalies WHERE ts_ns >= :start AND ts_ns < :end {matching}
    ORDER BY ts_ns DESC, severity DESC, id DESC LIMIT :limit
"""
_FILTERS: Final = ("metric", "detector", "type")
_DECODER: Final = msgspec.json.Decoder(Anomaly)

Timed = tuple[int, int, Anomaly]
"""Time in nanoseconds since the epoch, severity as index into SEVERITIES, and the anomaly."""


def insert(connection: sqlite3.Connection, anomalies: Sequence[Anomaly]) -> int:
    """Store anomalies; one whose id is there already changes nothing.

    Returns:
        How many were new.
    """
    return connection.executemany(_INSERT, [_row(plain(anomaly)) for anomaly in anomalies]).rowcount if anomalies else 0


def delete_older(connection: sqlite3.Connection, cutoff_ns: int, limit: int) -> int:
    """Delete up to `limit` from before a time; their number."""
    return connection.execute(_DELETE, (cutoff_ns, limit)).rowcount


def find(connection: sqlite3.Connection, query: AnomalyQuery, bounds: dict[str, int]) -> list[Timed]:
    """The anomalies that match, newest first, of one time the most severe first; `bounds` are start, end and limit."""
    matching, parameters = "", dict[str, Any](bounds)
    wanted = {name: getattr(query.series, name) for name in ("tenant", "service", "model")}
    wanted |= {name: getattr(query, name) for name in _FILTERS}
    wanted["severity"] = None if query.severity is None else SEVERITY_NUMBERS.get(query.severity, -1)
    for name, value in wanted.items():
        if value is not None:
            matching += f" AND {name} = :{name}"
            parameters[name] = value
    rows = connection.execute(_FIND.format(matching=matching), parameters)
    return [(ts_ns, severity, _DECODER.decode(body)) for ts_ns, severity, body in rows]


def by_id(connection: sqlite3.Connection, anomaly_id: str) -> Anomaly | None:
    """One anomaly; None when there is none of this id."""
    row = connection.execute("SELECT body FROM tick_anomalies WHERE id = ?", (anomaly_id,)).fetchone()
    return _DECODER.decode(row[0]) if row else None


def _row(anomaly: Anomaly) -> tuple[Any, ...]:
    return (
        anomaly.id,
        nanoseconds(anomaly.timestamp),
        anomaly.tenant,
        anomaly.service,
        anomaly.model,
        anomaly.metric,
        anomaly.detector,
        anomaly.type,
        SEVERITY_NUMBERS[anomaly.severity],
        msgspec.json.encode(anomaly).decode(),
    )
