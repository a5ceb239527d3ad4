"""SIGKILL at random moments under load: nothing is lost, nothing is doubled."""

import asyncio
import json
import random
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

KILLS_KAFKA, KILLS_HTTP = 20, 8
EVENTS = 60_000
BAD_EVERY = 1_000


def record(i: int) -> bytes:
    """Event number i; every thousandth cannot be one."""
    if i % BAD_EVERY == 7:
        return b'{"service_name": "chat"'
    latency = 100 + (i * 7919) % 97 + (5_000 if i % 331 == 0 else 0)
    event = {"event_id": f"e-{i}", "service_name": f"s{i % 5}", "model_name": "m", "latency_ms": latency, "prompt_tokens": i % 501}
    return json.dumps(event).encode()


def expected() -> tuple[int, int]:
    """How many events are good, and the sum of their tokens."""
    good = [i for i in range(EVENTS) if i % BAD_EVERY != 7]
    return len(good), sum(i % 501 for i in good)


async def produce(bootstrap: str, topic: str, over_s: float) -> None:
    """All events, a third at once and the rest over `over_s` seconds."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5)
    await producer.start()
    pieces = 200
    for start in range(0, EVENTS, EVENTS // pieces):
        for i in range(start, min(start + EVENTS // pieces, EVENTS)):
            await producer.send(topic, record(i), partition=i % 4)
        if start > EVENTS // 3:
            await asyncio.sleep(over_s / pieces * 1.5)
    await producer.stop()


@pytest.mark.slow
async def test_twenty_kills_under_load_from_kafka(kafka: Any, topic: Callable[[int], Awaitable[str]], make_sentinel: Any) -> None:
    """Every good event is a row exactly once, every bad one a dead letter, whenever the process dies."""
    name = await topic(4)
    section = {
        "brokers": [kafka.bootstrap],
        "topic": name,
        "group_id": name,
        "group_instance_id": "one",
        "auto_offset_reset": "earliest",
        "max_poll_records": 500,
        "dead_letter_topic": f"{name}.dlq",
    }
    sentinel = make_sentinel(
        {"ingestion": {"kafka": section}, "detection": {"baseline": {"update_interval_secs": 0.5, "window_size": 100}}}
    )
    producing = asyncio.create_task(produce(kafka.bootstrap, name, over_s=60))
    rng = random.Random(20)
    grew = 0
    for _ in range(KILLS_KAFKA):
        before = sentinel.stored()
        sentinel.start()
        # Some die while starting, most while events flow.
        if rng.random() < 0.8:
            await asyncio.to_thread(sentinel.wait_ready)
        await asyncio.sleep(rng.uniform(0.0, 1.5))
        sentinel.kill()
        grew += sentinel.stored() > before
    await producing
    assert grew >= KILLS_KAFKA // 3, "the kills did not happen under load"
    sentinel.start()
    await asyncio.to_thread(sentinel.wait_ready)
    count, tokens = expected()
    await asyncio.to_thread(sentinel.wait_for, lambda: sentinel.stored() >= count, "all events stored")
    assert sentinel.get("/api/v1/ledger")["balanced"]
    assert sentinel.stop() == 0
    assert sentinel.query("SELECT count(*), count(DISTINCT event_id), sum(prompt_tokens) FROM events") == [(count, count, tokens)]
    ids = sentinel.query("SELECT count(*), count(DISTINCT id) FROM anomalies")[0]
    assert ids[0] == ids[1] > 0
    assert await dead_letter_offsets(kafka.bootstrap, f"{name}.dlq") == {(i % 4, i // 4) for i in range(EVENTS) if i % BAD_EVERY == 7}
    rollups = sentinel.query("SELECT sum(requests), sum(prompt_tokens) FROM rollups WHERE series = 0")
    assert rollups == [(count, tokens)]


async def dead_letter_offsets(bootstrap: str, topic: str) -> set[tuple[int, int]]:
    """Partition and offset of every dead letter; repeats fall together."""
    from aiokafka import AIOKafkaConsumer

    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=None)
    await consumer.start()
    found: set[tuple[int, int]] = set()
    while batch := await consumer.getmany(timeout_ms=2_000):
        for records in batch.values():
            for letter in records:
                body = json.loads(letter.value or b"")
                found.add((body["partition"], body["offset"]))
    await consumer.stop()
    return found


@pytest.mark.slow
def test_kills_under_load_over_http(make_sentinel: Any) -> None:
    """What was answered with 202 is there exactly once; what was not may be sent again without harm."""
    sentinel = make_sentinel({"detection": {"baseline": {"update_interval_secs": 0.5}}})
    sent: list[int] = []
    over = threading.Event()

    def send() -> None:
        start = 0
        while not over.is_set():
            body = b"\n".join(record(i) for i in range(start, start + 50) if i % BAD_EVERY != 7)
            if sentinel.post("/api/v1/events", body) == 202:
                sent.extend(i for i in range(start, start + 50) if i % BAD_EVERY != 7)
                start += 50
            else:
                time.sleep(0.02)

    sender = threading.Thread(target=send)
    sender.start()
    rng = random.Random(8)
    for _ in range(KILLS_HTTP):
        sentinel.start()
        sentinel.wait_ready()
        time.sleep(rng.uniform(0.1, 1.0))
        sentinel.kill()
    over.set()
    sender.join()
    assert len(sent) > 1_000
    rows = sentinel.query("SELECT event_id, count(*) FROM events GROUP BY event_id")
    assert {row[0] for row in rows} >= {f"e-{i}" for i in sent}
    assert {row[1] for row in rows} == {1}
