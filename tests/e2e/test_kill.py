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
BACKLOG = 20_000
BAD_EVERY = 1_000


def record(i: int) -> bytes:
    """Event number i; every thousandth cannot be one."""
    if i % BAD_EVERY == 7:
        return b'{"service_name": "chat"'
    latency = 100 + (i * 7919) % 97 + (5_000 if i % 331 == 0 else 0)
    event = {"event_id": f"e-{i}", "service_name": f"s{i % 5}", "model_name": "m", "latency_ms": latency, "prompt_tokens": i % 501}
    return json.dumps(event).encode()


async def produce(bootstrap: str, topic: str, over: asyncio.Event) -> int:
    """A backlog first, then about a thousand events a second until `over`; returns how many."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5)
    await producer.start()
    n = 0
    while not over.is_set():
        for _ in range(BACKLOG if n == 0 else 100):
            await producer.send(topic, record(n), partition=n % 4)
            n += 1
        await asyncio.sleep(0.1)
    await producer.stop()
    return n


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
    over = asyncio.Event()
    producing = asyncio.create_task(produce(kafka.bootstrap, name, over))
    rng = random.Random(20)  # noqa: S311  a test's dice
    under_load = 0
    for _ in range(KILLS_KAFKA):
        before = sentinel.stored()
        sentinel.start()
        # Some die while they start; the others once events flow, at any moment of the next half second.
        if rng.random() < 0.8:
            await asyncio.to_thread(sentinel.wait_for, lambda before=before: sentinel.stored() > before, "events flow")
            under_load += 1
            await asyncio.sleep(rng.uniform(0.0, 0.5))
        else:
            await asyncio.sleep(rng.uniform(0.2, 2.5))
        sentinel.kill()
    over.set()
    sent = await producing
    assert under_load >= KILLS_KAFKA // 2
    sentinel.start()
    good = [i for i in range(sent) if i % BAD_EVERY != 7]
    await asyncio.to_thread(sentinel.wait_for, lambda: sentinel.stored() >= len(good), "all events stored")
    assert sentinel.get("/api/v1/ledger")["balanced"]
    assert sentinel.stop() == 0
    tokens = sum(i % 501 for i in good)
    assert sentinel.query("SELECT count(*), count(DISTINCT event_id), sum(prompt_tokens) FROM events") == [(len(good), len(good), tokens)]
    ids = sentinel.query("SELECT count(*), count(DISTINCT id) FROM anomalies")[0]
    assert ids[0] == ids[1] > 0
    assert await dead_letter_offsets(kafka.bootstrap, f"{name}.dlq") == {(i % 4, i // 4) for i in range(sent) if i % BAD_EVERY == 7}
    assert sentinel.query("SELECT sum(requests), sum(prompt_tokens) FROM rollups WHERE series = 0") == [(len(good), tokens)]


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
    rng = random.Random(8)  # noqa: S311  a test's dice
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
