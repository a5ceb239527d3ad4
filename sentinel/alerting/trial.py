"""An alert that only tries out a receiver, and says so everywhere."""

from sentinel.alerting.render import TEST_TYPE
from sentinel.core.alert import Alert, AlertStatus, Notification
from sentinel.core.anomaly import Severity
from sentinel.core.timestamp import rfc3339


def trial(receiver: str, name: str, now_ns: int) -> Notification:
    """A test alert.

    Args:
        receiver: for whom.
        name: its id, different each time.
        now_ns: wall clock.
    """
    alert = Alert(
        notification_id=name,
        alert_id=name,
        fingerprint="test",
        status=AlertStatus.FIRING,
        severity=Severity.INFO,
        title="Test alert from LLM-Sentinel: nothing is wrong",
        description="Somebody tried out whether alerts arrive here. Nothing need be done.",
        service="llm-sentinel",
        model="none",
        type=TEST_TYPE,
        metric="none",
        started_at=rfc3339(now_ns),
        labels={"test": "true"},
    )
    return Notification(id=name, receiver=receiver, alert=alert, created_ns=now_ns)
