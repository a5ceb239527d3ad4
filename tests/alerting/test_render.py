"""What notifications look like on the wire."""

import json
import math

import pytest
from delivery_inputs import notification

from sentinel.alerting import render
from sentinel.core.alert import AlertStatus
from sentinel.core.anomaly import Severity
from sentinel.core.timestamp import rfc3339

FIELDS = {
    "notification_id", "alert_id", "fingerprint", "status", "severity", "title", "description", "service", "model", "type", "metric",
    "started_at", "ended_at", "resolve_reason", "anomalies", "count", "labels", "links", "tenant",
}  # fmt: skip


@pytest.mark.parametrize("status", list(AlertStatus))
def test_a_webhook_body_is_an_event_of_the_alerts_status(status: AlertStatus) -> None:
    """Type, the time it was put into the outbox, and the alert with all its fields."""
    sent = notification(7, status=status, severity=Severity.CRITICAL)
    body = json.loads(render.webhook_body(sent))
    assert (body["type"], body["timestamp"]) == (f"alert.{status}", rfc3339(sent.created_ns))
    assert set(body["data"]) == FIELDS
    assert (body["data"]["notification_id"], body["data"]["severity"], body["data"]["labels"]) == (sent.id, "critical", {"team": "search"})


def test_a_repeat_has_the_same_bytes() -> None:
    """Receivers may compare them."""
    assert render.webhook_body(notification(1, attempts=0)) == render.webhook_body(notification(1, attempts=5))


def test_messages_of_several_name_each_of_them() -> None:
    """Every alert keeps its own id, and the message's severity is the highest."""
    several = [notification(1), notification(2, severity=Severity.CRITICAL), notification(3, severity=Severity.INFO)]
    webhook, amqp = json.loads(render.webhook_batch_body(several)), json.loads(render.amqp_batch_body(several))
    assert webhook["type"] == "alert.batch"
    assert [alert["notification_id"] for alert in webhook["data"]["alerts"]] == [one.id for one in several]
    assert amqp == webhook["data"]
    assert render.highest_severity(several) is Severity.CRITICAL


def test_the_id_of_several_says_which_they_are() -> None:
    """The same ones give the same id, others another."""
    one, two, three = (notification(number) for number in range(3))
    assert render.batch_id([one, two]) == render.batch_id([one, two])
    assert len({render.batch_id(some) for some in ([one, two], [two, one], [one, two, three], [one])}) == 4


def test_hostile_text_stays_text() -> None:
    """Line ends, quotes, controls and not-a-number cannot break the JSON, and no header holds them unescaped on a line of its own."""
    text = 'a"}\r\nX-Injected: 1\x00\u2028</script>'
    body = json.loads(render.webhook_body(notification(1, text=text)))
    assert body["data"]["title"] == text
    assert render._encode({"value": math.nan}) == b'{"value":null}'


def test_amqp_headers_are_for_filters() -> None:
    """Service, model, metric, severity and status can be bound to without a look into the body."""
    assert render.amqp_headers(notification(1)) == {
        "service": "chat",
        "model": "gpt-4",
        "metric": "latency_ms",
        "severity": "warning",
        "status": "firing",
    }
