"""Anomalies of time windows as points of InfluxDB, and back. Pure.

They stand in the measurement of all anomalies, with the same tags and the same fields as those of events, and the rest of them as further
fields; the field `type` tells them apart. A point's time is the window's end in milliseconds with a number made of the id in its
nanoseconds, so that two of one instant stay two. All of that follows from the anomaly alone, so writing it again overwrites the same point.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sentinel.core.anomaly import Anomaly, Contributor
from sentinel.core.timestamp import nanoseconds, rfc3339
from sentinel.storage import line_protocol
from sentinel.storage.influx_points import ANOMALIES, MILLISECOND_NS
from sentinel.storage.line_protocol import plain_tag
from sentinel.storage.tick_fields import plain

_TAGS: Final = ("tenant", "service", "model", "metric", "detector", "severity", "partition")
_SAME: Final = ("id", "value", "score", "expected", "lower", "upper", "samples", "window", "offset", "event_id", "trace_id")
"""Fields that those of events have too, by the same name."""
_TEXTS_AND_NUMBERS: Final = ("type", "z_score", "direction", "confidence", "explanation", "since")
_LISTS: Final[dict[str, type]] = {"contributors": list[Contributor], "exemplars": list[str], "markers": list[str]}
"""Kept as JSON."""

FIELDS: Final = (*_TEXTS_AND_NUMBERS, *_LISTS)
"""Fields that those of events do not have."""


def line(anomaly: Anomaly) -> str:
    """The anomaly as a line. Raises UnfitError when something in it cannot be written."""
    anomaly = plain(anomaly)
    ts_ns = nanoseconds(anomaly.timestamp)
    lists = {name: values for name in _LISTS if (values := getattr(anomaly, name))}
    return line_protocol.point(
        ANOMALIES,
        [(name, getattr(anomaly, name) or None) for name in _TAGS],
        [
            *((name, getattr(anomaly, name)) for name in (*_SAME, *_TEXTS_AND_NUMBERS)),
            ("mean", anomaly.baseline_mean),
            ("sd", anomaly.baseline_stddev),
            *((name, msgspec.json.encode(values).decode()) for name, values in lists.items()),
            ("ts_ns", ts_ns),
        ],
        ts_ns - ts_ns % MILLISECOND_NS + int.from_bytes(hashlib.sha256(anomaly.id.encode()).digest()[:8]) % MILLISECOND_NS,
    )


def anomaly(row: Mapping[str, Any]) -> Anomaly:
    """The anomaly of a row."""
    fields: dict[str, Any] = {name: plain_tag(row.get(name) or "") for name in _TAGS}
    fields |= {name: row.get(name) for name in (*_SAME, *_TEXTS_AND_NUMBERS)}
    fields |= {name: msgspec.json.decode(text, type=kind) for name, kind in _LISTS.items() if (text := row.get(name)) is not None}
    return Anomaly(timestamp=rfc3339(row["ts_ns"]), baseline_mean=row.get("mean"), baseline_stddev=row.get("sd"), **fields)
