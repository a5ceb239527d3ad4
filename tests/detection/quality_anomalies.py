"""Anomalies at given times, for the tests of what measures detection."""

from sentinel.core.anomaly import Anomaly
from sentinel.core.timestamp import rfc3339
from sentinel.testing.quality_columns import NS, START_NS


def found(at_s: float, kind: str = "latency_spike", *, service: str = "chat", severity: str = "warning") -> Anomaly:
    """An anomaly at a time."""
    return Anomaly(
        id=f"{at_s}",
        timestamp=rfc3339(START_NS + int(at_s * NS)),
        service=service,
        model="m",
        metric="latency_ms",
        detector="level",
        type=kind,
        severity=severity,
        value=1.0,
        expected=None,
        lower=None,
        upper=None,
        score=2.0,
        baseline_mean=None,
        baseline_stddev=None,
        z_score=None,
        samples=1,
        window=1,
        direction="above",
        confidence=1.0,
        explanation="it was high.",
        event_id=None,
        trace_id=None,
        partition="p",
        offset=0,
    )
