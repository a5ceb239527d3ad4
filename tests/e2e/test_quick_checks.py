"""What people try first: each of the quick checks answers in its documented shape, whichever store is behind it."""

import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from alert_checks import ANOMALY, check_fields
from infrastructure import metric
from prometheus_client.parser import text_string_to_metric_families

from sentinel.testing.faults import FaultKind, fault_plan
from sentinel.testing.profiles import make_fleet
from sentinel.testing.simulator import Simulator

NS = 1_000_000_000
SERVICE = "chat-api"

HEALTH = {"status": str, "timestamp": str}
ANOMALIES = {"anomalies": list, "count": int}
TELEMETRY = {"data": list, "count": int, "timeRange": dict, "nextCursor": str | None}
EVENT = {
    "event_id": str,
    "timestamp": str,
    "service_name": str,
    "model_name": str,
    "latency_ms": float,
    "prompt_tokens": int,
    "completion_tokens": int,
    "total_tokens": int,
    "cost_usd": float,
    "error": bool | None,
    "tenant": str,
    "provider": str,
    "operation": str,
    "trace_id": str | None,
    "ttft_ms": float | None,
    "time_per_output_token_ms": float | None,
    "flags": list,
    "dialect": str,
}
"""The flat dialect's fields as simulated events have them, and the flags."""
BASELINE = {
    "key": str,
    "samples": int,
    "mean": float,
    "stddev": float,
    "median": float,
    "mad": float,
    "q1": float,
    "q3": float,
    "p95": float,
    "p99": float,
    "min": float,
    "max": float,
    "updated_at": str,
}
METRICS = [
    "events_received_total",
    "events_processed_total",
    "ingestion_errors_total",
    "validation_failures_total",
    "kafka_messages_consumed_total",
    "kafka_consumption_errors_total",
    "kafka_consumer_lag",
    "anomalies_detected_total",
    "detection_latency_seconds",
    "detection_errors_total",
    "baseline_updates_total",
    "baseline_samples",
    "baseline_series",
    "storage_writes_total",
    "storage_errors_total",
    "storage_write_seconds",
    "cache_hits_total",
    "cache_misses_total",
    "cache_size",
    "alerts_sent_total",
    "alerts_deduplicated_total",
    "alert_failures_total",
    "rabbitmq_publishes_total",
    "webhook_deliveries_total",
    "webhook_failures_total",
    "pii_redactions_total",
    "dead_letters_total",
    "duplicates_total",
    "pipeline_stage_seconds",
    "end_to_end_latency_seconds",
    "backpressure_paused",
    "queue_bytes",
    "checkpoint_seconds",
    "checkpoint_bytes",
    "rebalances_total",
    "circuit_state",
    "api_requests_total",
    "api_request_seconds",
    "ledger_imbalance",
    "event_loop_lag_seconds",
    "build_info",
]
"""What `/metrics` promises, each with the prefix `sentinel_`."""


@pytest.fixture
def records() -> list[bytes]:
    """The last 45 minutes of the default fleet, with faults."""
    now_ns = time.time_ns()
    start_ns = now_ns - 2_700 * NS
    kinds = (FaultKind.LATENCY_SPIKE, FaultKind.TOKEN_SURGE, FaultKind.COST_RUNAWAY, FaultKind.ERROR_BURST)
    faults = fault_plan(5, start_ns, now_ns, make_fleet().series, kinds=kinds)
    return Simulator(5, rate=2.0, faults=faults).block(start_ns, now_ns)


@pytest.fixture(params=["embedded", "influxdb"])
def daemon(request: pytest.FixtureRequest, make_sentinel: Any, records: list[bytes]) -> Iterator[Any]:
    """A daemon on each store that has taken the records."""
    storage: dict[str, Any] = {}
    if request.param == "influxdb":
        points = request.getfixturevalue("points")
        storage = {"influxdb": {"url": points.url, "token_file": points.token_file}, "cache": {}}
    sentinel = make_sentinel({"storage": storage})
    sentinel.start()
    sentinel.wait_ready()
    for first in range(0, len(records), 1_000):
        assert sentinel.post("/api/v1/events", b"\n".join(records[first : first + 1_000])) == 202
    yield sentinel
    assert sentinel.stop() == 0


def test_the_quick_checks_answer_as_documented(daemon: Any, records: list[bytes]) -> None:
    """Health, metrics, recent anomalies, telemetry by service and hours."""
    for path in ("/health/live", "/health/ready"):
        check_health(daemon.get(path))
    check_metrics(daemon.text("/metrics"), len(records))
    check_anomalies(daemon.get("/api/v1/anomalies/recent?limit=10"), 10)
    page = daemon.get(f"/api/v1/telemetry?service={SERVICE}&hours=1")
    check_telemetry(page)
    assert all_pages(daemon, page) == {event["event_id"] for event in map(json.loads, records) if event["service_name"] == SERVICE}


def test_the_other_queries_answer_as_documented(daemon: Any) -> None:
    """Anomalies by severity, telemetry by model too, baselines."""
    found = daemon.get("/api/v1/anomalies?severity=critical&hours=1&limit=50")
    check_anomalies(found, 50)
    assert {anomaly["severity"] for anomaly in found["anomalies"]} == {"critical"}
    page = daemon.get(f"/api/v1/telemetry?service={SERVICE}&model=gpt-4o&hours=24")
    check_telemetry(page, timedelta(hours=24))
    assert {event["model_name"] for event in page["data"]} == {"gpt-4o"}
    baselines = daemon.get(f"/api/v1/baselines?service={SERVICE}&model=gpt-4o&metric=latency_ms&kind=event")["baselines"]
    assert [baseline["key"] for baseline in baselines] == [f"{SERVICE}:gpt-4o:latency_ms"]
    check_fields(baselines[0], BASELINE)


def check_health(found: dict[str, Any]) -> None:
    """It is well, now."""
    check_fields(found, HEALTH)
    assert found["status"] == "healthy"
    assert abs(datetime.fromisoformat(found["timestamp"]).timestamp() - time.time()) < 60


def check_metrics(text: str, events: int) -> None:
    """Every promised metric is described, and no name from an event is in it."""
    described = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    assert {f"sentinel_{name}" for name in METRICS} <= described
    assert len({name.removesuffix("_created") for name in described}) >= 50
    assert metric(text, "sentinel_events_processed_total") == events
    assert metric(text, "sentinel_anomalies_detected_total", severity="critical") > 0
    labels = {value for family in text_string_to_metric_families(text) for sample in family.samples for value in sample.labels.values()}
    assert labels.isdisjoint(name for series in make_fleet().series for name in series)


def check_anomalies(found: dict[str, Any], limit: int) -> None:
    """As many as asked for, newest first, with all their fields."""
    check_fields(found, ANOMALIES)
    assert found["count"] == len(found["anomalies"]) == limit
    for anomaly in found["anomalies"]:
        check_fields(anomaly, ANOMALY)
    times = [datetime.fromisoformat(anomaly["timestamp"]) for anomaly in found["anomalies"]]
    assert times == sorted(times, reverse=True)


def check_telemetry(page: dict[str, Any], back: timedelta = timedelta(hours=1)) -> None:
    """Events of the service in the range, newest first, with all their fields."""
    check_fields(page, TELEMETRY)
    assert page["count"] == len(page["data"]) == 100
    for event in page["data"]:
        check_fields(event, EVENT)
    assert {event["service_name"] for event in page["data"]} == {SERVICE}
    start, end = (datetime.fromisoformat(page["timeRange"][name]) for name in ("start", "end"))
    times = [datetime.fromisoformat(event["timestamp"]) for event in page["data"]]
    assert times == sorted(times, reverse=True)
    assert start <= times[-1] <= times[0] <= end
    assert end - start == back


def all_pages(daemon: Any, page: dict[str, Any]) -> set[str]:
    """The ids of the events of a page and all that follow; none comes twice."""
    span = "&".join(f"{name}={page['timeRange'][name]}" for name in ("start", "end"))
    found = [event["event_id"] for event in page["data"]]
    while page["nextCursor"] is not None:
        page = daemon.get(f"/api/v1/telemetry?service={SERVICE}&{span}&limit=1000&cursor={page['nextCursor']}")
        found += [event["event_id"] for event in page["data"]]
    assert len(set(found)) == len(found)
    return set(found)
