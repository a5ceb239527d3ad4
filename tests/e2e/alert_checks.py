"""What receivers of alerts are promised, held against what they got."""

import asyncio
import hashlib
import hmac
import json
from base64 import b64decode
from collections.abc import Sequence
from typing import Any

import aio_pika
from infrastructure import SECRET, Request, Told
from standardwebhooks.webhooks import Webhook

ALERT = {
    "notification_id": str,
    "alert_id": str,
    "fingerprint": str,
    "status": str,
    "severity": str,
    "title": str,
    "description": str,
    "service": str,
    "model": str,
    "type": str,
    "started_at": str,
    "ended_at": str | None,
    "resolve_reason": str | None,
    "anomalies": list,
    "count": int,
    "labels": dict,
    "links": dict,
}
"""The fields of an alert; there may be more."""

ANOMALY = {
    "id": str,
    "timestamp": str,
    "service": str,
    "model": str,
    "metric": str,
    "detector": str,
    "type": str,
    "severity": str,
    "value": float,
    "expected": float | None,
    "lower": float | None,
    "upper": float | None,
    "score": float,
    "baseline_mean": float | None,
    "baseline_stddev": float | None,
    "z_score": float | None,
    "samples": int,
    "window": int,
    "direction": str,
    "confidence": float,
    "explanation": str,
    "event_id": str | None,
    "trace_id": str | None,
    "partition": str,
    "offset": int,
}
"""The fields of an anomaly; there may be more."""


def check_fields(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Every field is there, and of its type."""
    assert wanted.keys() <= found.keys(), wanted.keys() - found.keys()
    wrong = {name: found[name] for name, kind in wanted.items() if not isinstance(found[name], kind)}
    assert not wrong


def check_alert(alert: dict[str, Any]) -> None:
    """An alert and the anomalies in it have their fields."""
    check_fields(alert, ALERT)
    assert alert["status"] in {"firing", "resolved", "acknowledged"}
    assert alert["severity"] in {"warning", "critical"}
    assert 1 <= len(alert["anomalies"]) <= alert["count"]
    assert alert["links"]["dashboard"].startswith("https://sentinel.example/")
    for anomaly in alert["anomalies"]:
        check_fields(anomaly, ANOMALY)


def check_message(told: Told) -> None:
    """A RabbitMQ message: its body, and everything around it."""
    alert, message = told.alert, told.message
    check_alert(alert)
    assert told.id == alert["notification_id"]
    assert (message.routing_key, message.type) == (f"alert.{alert['severity']}", alert["type"])
    assert (message.content_type, message.delivery_mode) == ("application/json", aio_pika.DeliveryMode.PERSISTENT)
    assert {name: message.headers[name] for name in ("service", "model", "metric")} == {
        "service": alert["service"],
        "model": alert["model"],
        "metric": alert["anomalies"][0]["metric"],
    }


def check_request(request: Request) -> None:
    """A webhook request: taken by the example, genuine by the standard's own library, and by the plain signature of the body."""
    assert 200 <= request.status < 300
    event = Webhook(SECRET).verify(request.body, dict(request.headers))
    digest = hmac.new(b64decode(SECRET.removeprefix("whsec_")), request.body, hashlib.sha256).hexdigest()
    assert request.headers["X-Sentinel-Signature"] == f"sha256={digest}"
    assert event == json.loads(request.body)
    assert event.keys() >= {"type", "timestamp", "data"}
    check_alert(event["data"])
    assert event["type"] == f"alert.{event['data']['status']}"
    assert request.headers["webhook-id"] == event["data"]["notification_id"]


def check_one_id_each(messages: Sequence[Told]) -> None:
    """A repeat is the same message again; the same onset of the same subject is the same alert."""
    bodies, alerts = {}, {}
    for told in messages:
        assert bodies.setdefault(told.id, told.message.body) == told.message.body
        onset = told.alert["fingerprint"], told.alert["started_at"]
        assert alerts.setdefault(onset, told.alert["alert_id"]) == told.alert["alert_id"]
    assert len(set(alerts.values())) == len(alerts)


def sent(sentinel: Any) -> dict[str, set[str]] | None:
    """By the API: the ids of the notifications that each receiver has confirmed; None while any still waits."""
    confirmed: dict[str, set[str]] = {}
    for alert in sentinel.get("/api/v1/alerts?limit=1000")["alerts"]:
        for notification in sentinel.get(f"/api/v1/alerts/{alert['alert_id']}")["notifications"]:
            if notification["state"] != "sent":
                return None
            confirmed.setdefault(notification["receiver"], set()).add(notification["notification_id"])
    return confirmed


async def all_told(sentinel: Any, queue: Sequence[Told]) -> None:
    """Wait until nothing is left to be told, and what RabbitMQ has confirmed has come out of the queue."""

    def told() -> bool:
        confirmed = sent(sentinel)
        return confirmed is not None and {told.id for told in queue} >= confirmed.get("rabbitmq", set())

    await asyncio.to_thread(sentinel.wait_for, told, "all notifications confirmed and received")
