"""A real hour of traffic through real Kafka, with five known faults in it."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from sentinel.core.anomaly import DETECTORS
from sentinel.core.metrics import METRIC_INDEX
from sentinel.testing.azure import azure_events
from sentinel.testing.faults import FaultKind

TRACE = Path(__file__).resolve().parents[3] / "shared" / "data" / "azure" / "AzureLLMInferenceTrace_conv.csv"

DETECTED_BY = {
    FaultKind.LATENCY_SPIKE: ("latency_ms", "latency_spike"),
    FaultKind.ERROR_BURST: ("error", "error_rate_increase"),
    FaultKind.TOKEN_SURGE: ("total_tokens", "token_usage_spike"),
    FaultKind.COST_RUNAWAY: ("cost_usd", "cost_anomaly"),
    FaultKind.LATENCY_DRIFT: ("latency_ms", "latency_drift"),
}
"""Metric and type an anomaly must have to count as having seen the fault."""


async def produce(bootstrap: str, topic: str, records: list[bytes]) -> None:
    """All records, each with its event's own time as the log's time."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5)
    await producer.start()
    for i, record in enumerate(records):
        await producer.send(topic, record, partition=i % 2, timestamp_ms=when_ms(json.loads(record)))
    await producer.stop()


def when_ms(event: dict[str, Any]) -> int:
    """The event's time in milliseconds since the epoch."""
    from datetime import datetime

    return int(datetime.fromisoformat(event["timestamp"]).timestamp() * 1_000)


@pytest.mark.slow
async def test_the_azure_trace_is_stored_exactly_once_and_its_faults_are_found(
    kafka: Any, topic: Callable[[int], Awaitable[str]], make_sentinel: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Count and sum of tokens are equal, and each fault raises critical anomalies of its kind well above their rate outside it."""
    import asyncio

    if not TRACE.exists():
        pytest.skip(f"the Azure trace is not at {TRACE}")
    records, faults = azure_events(TRACE, seed=1)
    events = [json.loads(record) for record in records]
    name = await topic(2)
    await produce(kafka.bootstrap, name, records)
    sentinel = make_sentinel(
        {
            "ingestion": {"kafka": {"brokers": [kafka.bootstrap], "topic": name, "group_id": name, "auto_offset_reset": "earliest"}},
            "detection": {"zscore": {"metrics": ["latency_ms", "total_tokens", "cost_usd", "error"]}},
            "storage": {"embedded": {"telemetry_retention_hours": 1e6, "anomaly_retention_hours": 1e6}},
        }
    )
    sentinel.start()
    await asyncio.to_thread(sentinel.wait_for, lambda: sentinel.stored() >= len(events), "all events stored")
    sums = sentinel.query("SELECT count(*), count(DISTINCT event_id), sum(prompt_tokens), sum(completion_tokens) FROM events")
    wanted = (len(events), len(events), sum(e["prompt_tokens"] for e in events), sum(e["completion_tokens"] for e in events))
    assert sums == [wanted]
    span_s = (faults[-1].end_ns - when_ms(events[0]) * 10**6) / 1e9
    with capsys.disabled():
        for fault in faults:
            inside, outside = found(sentinel, fault, span_s)
            print(f"\n  {fault.kind.value}: {inside:.3f} anomalies/s during the fault, {outside:.3f} outside", end="")  # noqa: T201  figures people ask for
            # CUSUM on skewed latency fires without any fault too: a drift stands out less than a spike.
            assert inside > (1.5 if fault.kind is FaultKind.LATENCY_DRIFT else 10) * outside, fault
    assert sentinel.stop() == 0


def found(sentinel: Any, fault: Any, span_s: float) -> tuple[float, float]:
    """Anomalies of the fault's kind per second, through the API: during the fault, and over the rest of the trace."""
    metric, kind = DETECTED_BY[fault.kind]
    detector = "cusum" if kind == "latency_drift" else "zscore"
    length_s = (fault.end_ns - fault.start_ns) / 1e9
    numbers = METRIC_INDEX[metric], [name.value for name in DETECTORS].index(detector)
    total = sentinel.query("SELECT count(*) FROM anomalies WHERE metric = {} AND detector = {}".format(*numbers))[0][0]
    inside = count(sentinel, metric, detector, kind, fault.start_ns, fault.end_ns)
    return inside / length_s, (total - inside) / (span_s - length_s)


def count(sentinel: Any, metric: str, detector: str, kind: str, start_ns: int, end_ns: int) -> int:
    """Anomalies between two times that the API gives; a thousand at the most."""
    from sentinel.core.timestamp import rfc3339

    answer = sentinel.get(
        f"/api/v1/anomalies?metric={metric}&detector={detector}&start={rfc3339(start_ns)}&end={rfc3339(end_ns)}&limit=1000"
    )
    assert all(anomaly["type"] == kind for anomaly in answer["anomalies"])
    return int(answer["count"])
