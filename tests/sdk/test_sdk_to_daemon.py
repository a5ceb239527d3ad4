"""From the SDK to the daemon: what is sent is read under the canonical names, and nothing is rejected."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from daemon_run import config, running, stored
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka_bench import section, until
from llm_sentinel import DeliveryError, InvalidEventError, TelemetryFields, TelemetryProducer, create_telemetry_event
from llm_sentinel.event import record

from sentinel.app.daemon import Daemon
from sentinel.config.schema import HttpIngest, Ingestion, Parsing
from sentinel.core.batch import PartitionId
from sentinel.core.delivery import Delivery
from sentinel.core.query import TelemetryQuery, TimeRange
from sentinel.ingestion.decode import Decoded, decode
from tools.servers.kafka import Broker

Topic = Callable[..., Awaitable[str]]
NOW = datetime.now(UTC).replace(microsecond=250_000)
EVERYTHING: TelemetryFields = {
    "event_id": "everything",
    "timestamp": NOW,
    "tenant": "acme",
    "prompt_tokens": 612,
    "completion_tokens": 184,
    "total_tokens": 796,
    "cached_tokens": 100,
    "cache_write_tokens": 50,
    "reasoning_tokens": 80,
    "cost_usd": 0.00337,
    "ttft_ms": 320.5,
    "time_per_output_token_ms": 13.25,
    "streaming": True,
    "error": "timeout",
    "errors": ["timeout", "retry exhausted"],
    "status": "error",
    "success": False,
    "user_id": "user-17",
    "session_id": uuid.UUID(int=7),
    "request_id": 99,
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "span_id": "00f067aa0ba902b7",
    "parent_span_id": "b7ad6b7169203331",
    "provider": "openai",
    "operation": "chat",
    "environment": "production",
    "region": "eu-west-1",
    "finish_reason": "length",
    "prompt_version": "v7",
    "prompt_text": "What is a lease?",
    "response_text": "A contract.",
    "prompt_length": 16,
    "prompt_hash": "aa",
    "response_length": 11,
    "response_hash": "bb",
    "memory_used_bytes": 1e9,
    "image_count": 1,
    "audio_count": 2,
    "video_count": 3,
    "audio_seconds": 4.5,
    "video_seconds": 5.5,
    "metadata": {"plan": "pro", "retries": 2, "cached": True, "none": None},
    "schema_version": 1,
}


def read(*values: bytes) -> Decoded:
    """What the daemon makes of records."""
    n, now_ns = len(values), int(NOW.timestamp() * 1e9)
    return decode(Delivery(PartitionId("c", "t", 0), values, np.arange(n), np.full(n, now_ns), now_ns, 0, 1), Parsing())


def test_every_field_is_read_under_its_own_name() -> None:
    """No field of the SDK is one that the daemon skips, and none comes back changed."""
    assert set(EVERYTHING) == set(TelemetryFields.__annotations__)
    event = create_telemetry_event("chat-api", "gpt-4o", 2_871.4, **EVERYTHING)
    decoded = read(record(event).value)
    assert not decoded.rejects
    assert decoded.batch is not None
    assert not decoded.batch.flags.any()
    wire = decoded.batch.wire[0]
    for field, value in event.items():
        found = getattr(wire, field)
        assert (found if field != "timestamp" else found.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z") == value, field
    assert decoded.batch.names[0] == ("acme", "chat-api", "gpt-4o")


SOME_TEXT = st.text(max_size=30)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "event_id": SOME_TEXT | st.integers() | st.uuids(),
        "timestamp": st.datetimes(timezones=st.just(UTC)) | st.integers() | st.floats() | SOME_TEXT,
        "tenant": SOME_TEXT,
        "prompt_tokens": st.integers() | st.floats(),
        "cost_usd": st.floats() | st.decimals(),
        "error": SOME_TEXT | st.booleans(),
        "errors": st.lists(SOME_TEXT, max_size=3),
        "status": SOME_TEXT | st.integers(),
        "success": st.booleans(),
        "user_id": SOME_TEXT | st.integers(),
        "prompt_text": st.text(st.characters(), max_size=30),
        "prompt_length": st.integers(min_value=0),
        "metadata": st.dictionaries(SOME_TEXT, SOME_TEXT | st.integers() | st.floats() | st.booleans() | st.none(), max_size=4),
    },
)


@settings(max_examples=500)
@given(service=SOME_TEXT, model=SOME_TEXT, latency=st.floats() | st.integers(), fields=FIELDS)
def test_what_the_sdk_lets_pass_the_daemon_takes(service: str, model: str, latency: float, fields: Any) -> None:
    """Whatever the values: either the SDK names the field at fault, or the daemon makes an event of it."""
    try:
        value = record(create_telemetry_event(service, model, latency, **fields)).value
    except InvalidEventError:
        return
    assert not read(value).rejects, value


async def rows(daemon: Daemon) -> dict[str, dict[str, Any]]:
    """All stored events by their id."""
    page = await daemon.store.telemetry(TelemetryQuery(range=TimeRange(0, 2**62), limit=100_000))
    return {item["event_id"]: item for item in page.items}


async def test_over_kafka_into_the_store(kafka: Broker, topic: Topic, tmp_path: Path) -> None:
    """A thousand events and one with every field: all are stored, none is rejected, the columns have the values that were sent."""
    ours = config(tmp_path, Ingestion(kafka=section(kafka, await topic())))
    assert ours.ingestion.kafka is not None
    async with running(ours) as daemon:
        with TelemetryProducer(brokers=[kafka.bootstrap], topic=ours.ingestion.kafka.topic) as producer:
            for i in range(1_000):
                producer.send_event(producer.create_telemetry_event("chat", "m", 100.0 + i % 7, event_id=f"e{i}", prompt_tokens=i))
            producer.send_event(producer.create_telemetry_event("chat-api", "gpt-4o", 2_871.4, **EVERYTHING))
            assert await asyncio.to_thread(producer.flush, 20) == 0
        await until(lambda: daemon.pipeline.ledger.total().stored >= 1_001)
        total = daemon.pipeline.ledger.total()
        assert (total.received, total.stored, total.dead_lettered, total.duplicate) == (1_001, 1_001, 0, 0)
        found = await rows(daemon)
    assert sum(row["prompt_tokens"] for row in found.values()) == sum(range(1_000)) + 612
    row = found["everything"]
    for field in (
        "tenant",
        "latency_ms",
        "completion_tokens",
        "cost_usd",
        "ttft_ms",
        "trace_id",
        "region",
        "cached_tokens",
        "memory_used_bytes",
    ):
        sent = {"latency_ms": 2_871.4, **EVERYTHING}[field]
        assert row[field] == sent, field
    assert (row["service_name"], row["model_name"]) == ("chat-api", "gpt-4o")
    assert row["session_id"] == str(uuid.UUID(int=7))


async def test_over_http_into_the_store(tmp_path: Path) -> None:
    """Embedded, without Kafka: all events are stored; the same ids again are stored once and count as delivered."""
    ours = config(tmp_path)
    async with running(ours) as daemon:
        url = f"http://127.0.0.1:{daemon.server.port}"
        for _ in range(2):
            with TelemetryProducer(url=url) as producer:
                for i in range(1_000):
                    producer.send_event(producer.create_telemetry_event("chat", "m", 100.0 + i % 7, event_id=f"e{i:03}"))
                assert await asyncio.to_thread(producer.flush, 20) == 0
            assert (producer.stats().delivered, producer.stats().failed) == (1_000, 0)
        total = daemon.pipeline.ledger.total()
        assert (total.stored, total.duplicate, total.dead_lettered) == (1_000, 1_000, 0)
    assert stored(ours) == [f"e{i:03}" for i in range(1_000)]


async def test_over_http_a_full_queue_delays_and_a_reject_is_named(tmp_path: Path) -> None:
    """The daemon's 429, 413 and its reject codes are understood as it really answers them."""
    parsing = Parsing(max_record_bytes=2_000)
    ours = config(tmp_path, Ingestion(parsing=parsing, http=HttpIngest(queue_max_bytes=4_096, max_events_per_request=50)))
    told: list[DeliveryError] = []
    async with running(ours) as daemon:
        url = f"http://127.0.0.1:{daemon.server.port}"
        producers = [TelemetryProducer(url=url, on_error=told.append) for _ in range(4)]
        for number, producer in enumerate(producers):
            for i in range(200):
                producer.send_event(producer.create_telemetry_event("chat", "m", 100.0, event_id=f"p{number}-{i}"))
            producer.send_event(producer.create_telemetry_event("chat", "m", 100.0, event_id=f"large-{number}", prompt_text="x" * 3_000))
        for producer in producers:
            assert await asyncio.to_thread(producer.flush, 60) == 0
            producer.close()
            assert (producer.stats().delivered, producer.stats().failed) == (200, 1)
        assert daemon.pipeline.ledger.total().stored == 800
    assert any("busy (429)" in error.reason for error in told)
    rejected = [error for error in told if error.lost]
    assert {error.event_ids[0] for error in rejected} == {f"large-{number}" for number in range(4)}
    assert all("too_large" in error.reason for error in rejected)
