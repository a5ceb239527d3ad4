"""Canaries: synthetic events of the daemon's own, which show that the whole path works.

A canary is known by its event id, which only who has the installation's secret can make, for one log alone. An event that only bears the
reserved name is an event like any other: it is stored and judged, and measures nothing.
"""

import hmac
from base64 import b32encode
from typing import Final, NamedTuple

import msgspec

from sentinel.core.alert import Alert, AlertStatus
from sentinel.core.anomaly import Anomaly, Severity
from sentinel.core.batch import PartitionId, SeriesKey
from sentinel.core.ids import alert_id, anomaly_id, fingerprint, notification_id
from sentinel.core.timestamp import rfc3339

CANARY: Final = SeriesKey("default", "__sentinel_canary__", "canary")
"""The series of all canaries."""
CANARY_TYPE: Final = "canary"
"""Type, and detector, of their anomalies."""
NONCE_BYTES: Final = 10
"""What tells two canaries of one log apart."""
_METRIC: Final = "latency_ms"
_MAC_BYTES: Final = 20


class Canary(NamedTuple):
    """A canary as it came out of its log.

    Attributes:
        source, offset, sub: where it stood.
        event_id: by which its sender knows it.
        ts_ns: event time.
    """

    source: PartitionId
    offset: int
    sub: int
    event_id: str
    ts_ns: int


def canary_key(secret: bytes) -> bytes:
    """The key of canary ids that follows from the installation's secret."""
    return hmac.digest(secret, b"canary", "sha256")


def canary_id(key: bytes, log: PartitionId, nonce: str) -> str:
    """The event id of a canary for one log.

    >>> canary_id(b"key", PartitionId("c", "t", 0), "abc")
    'canary-abc-3tcjlijpjbpghlizbrmcp4peg3js7dlr'
    """
    mac = hmac.digest(key, f"{log.cluster}\x1f{log.topic}\x1f{log.partition}\x1f{nonce}".encode(), "sha256")
    return f"canary-{nonce}-{_text(mac[:_MAC_BYTES])}"


def nonce_of(chance: bytes) -> str:
    """Random bytes as they stand in an id."""
    return _text(chance[:NONCE_BYTES])


def is_canary(key: bytes, log: PartitionId, event_id: str | None) -> bool:
    """Whether an event of this log was made by somebody who has the key."""
    parts = (event_id or "").split("-")
    if len(parts) != 3 or event_id is None or not event_id.isascii():
        return False
    return hmac.compare_digest(canary_id(key, log, parts[1]), event_id)


def canary_record(event_id: str, now_ns: int, latency_ms: float) -> bytes:
    """The record of a canary; `latency_ms` is any plausible one."""
    return msgspec.json.encode(
        {
            "event_id": event_id,
            "timestamp": rfc3339(now_ns),
            "service_name": CANARY.service,
            "model_name": CANARY.model,
            _METRIC: latency_ms,
        }
    )


def canary_alert(canary: Canary, receiver: str) -> Alert:
    """What becomes of a canary: an anomaly and its alert, the same on every replay."""
    subject, at = fingerprint(CANARY, CANARY_TYPE), rfc3339(canary.ts_ns)
    alert = alert_id(f"{subject}\x1f{canary.event_id}", canary.ts_ns)
    return Alert(
        notification_id=notification_id(alert, "firing", 0, receiver),
        alert_id=alert,
        fingerprint=subject,
        status=AlertStatus.FIRING,
        severity=Severity.INFO,
        title="A canary of the daemon",
        description="The path from a log to a receiver is being tried out.",
        service=CANARY.service,
        model=CANARY.model,
        type=CANARY_TYPE,
        metric=_METRIC,
        started_at=at,
        anomalies=[_anomaly(canary, at)],
    )


def _anomaly(canary: Canary, at: str) -> Anomaly:
    return Anomaly(
        id=anomaly_id(canary.source, canary.offset, canary.sub, CANARY, _METRIC, CANARY_TYPE),
        timestamp=at,
        service=CANARY.service,
        model=CANARY.model,
        metric=_METRIC,
        detector=CANARY_TYPE,
        type=CANARY_TYPE,
        severity=Severity.INFO,
        value=0.0,
        expected=None,
        lower=None,
        upper=None,
        score=1.0,
        baseline_mean=None,
        baseline_stddev=None,
        z_score=None,
        samples=0,
        window=0,
        direction="above",
        confidence=1.0,
        explanation="A canary of the daemon.",
        event_id=canary.event_id,
        trace_id=None,
        partition=str(canary.source),
        offset=canary.offset,
    )


def _text(raw: bytes) -> str:
    return b32encode(raw).decode().rstrip("=").lower()
