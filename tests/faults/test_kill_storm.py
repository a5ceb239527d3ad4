"""SIGKILL at random moments of an alert storm: every alert is delivered, every repeat carries the same id."""

import asyncio
import os
import random
from collections import defaultdict
from typing import Any
from uuid import uuid4

import pytest
from fault_alerts import StateRows, alerts, owed
from fault_queue import Queue
from fault_receiver import Receiver
from fault_traffic import configuration, dead_letters, flowing, until

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("FAULT_KILLS", "10"))
RATE = 1_000.0
CONFIRM_S = 0.3
"""How long the webhook receiver takes to confirm, so that some notifications are always under way."""


async def test_kills_in_an_alert_storm(kafka: Any, topic: Any, rabbitmq: Any, receiver: Receiver, make_sentinel: Any) -> None:
    """Whenever it dies: events and anomalies are stored once, and each telling of each alert arrives at both receivers under one id."""
    name, queue = await topic(4), Queue(rabbitmq.url, f"alerts-{uuid4().hex}")
    await queue.bind()
    receiver.pause_s = CONFIRM_S
    alerting = {"webhook": receiver.section(), "rabbitmq": queue.section(), "event_anomalies": True, "deduplication": {"window_secs": 1.0}}
    sentinel = make_sentinel(configuration(kafka.bootstrap, name, alerting=alerting))
    rng, under_way = random.Random(50), 0  # noqa: S311  a test's dice
    async with flowing(kafka.bootstrap, name, rate=RATE, storm=True) as known:
        for kill in range(KILLS):
            before = len(receiver.alerts)
            sentinel.start()
            # One in five dies while it starts; the others once alerts flow, at any moment of the next half second.
            if kill % 5 != 1:
                await until(lambda before=before: len(receiver.alerts) > before, "alerts flow")
                await asyncio.sleep(rng.uniform(0.0, 0.5))
            else:
                await asyncio.sleep(rng.uniform(0.2, 2.5))
            under_way += receiver.waiting > 0
            await asyncio.to_thread(sentinel.kill)
    receiver.pause_s = 0.0
    sentinel.start()
    rows = StateRows.beside(sentinel)
    await until(lambda: asyncio.to_thread(lambda: sentinel.stored() >= len(known.good)), "everything is stored")
    await asyncio.to_thread(sentinel.wait_ready)
    await until(lambda: asyncio.to_thread(lambda: not rows.waiting()), "everything is delivered", 300.0)

    bodies = defaultdict(list)
    for notification, alert in receiver.alerts:
        bodies[notification].append(alert)
    published = await queue.message_ids()
    told_of = await asyncio.to_thread(alerts, sentinel)
    twice = len(receiver.alerts) - len(bodies), len(published) - len(set(published))
    print(  # noqa: T201
        f"{KILLS} kills, {under_way} with requests under way; {len(known.good):,} events, {len(told_of)} alerts, "
        f"{len(bodies)} notifications to the webhook, {len(set(published))} to RabbitMQ; repeats: {twice[0]} and {twice[1]}"
    )
    assert under_way >= KILLS // 2
    assert set(bodies) == owed(told_of, "webhook")
    assert set(published) == owed(told_of, "rabbitmq")
    assert all(alert == same[0] for same in bodies.values() for alert in same)
    assert all(alert["notification_id"] == notification for notification, (alert, *_) in bodies.items())
    assert {alert["alert_id"] for same in bodies.values() for alert in same} == {alert["alert_id"] for alert in told_of}

    n = len(known.good)
    sums = sentinel.query("SELECT count(*), count(DISTINCT event_id), sum(prompt_tokens), sum(completion_tokens) FROM events")
    assert sums == [(n, n, known.prompt_tokens, known.completion_tokens)]
    ((anomalies, ids, worthy),) = sentinel.query("SELECT count(*), count(DISTINCT id), sum(severity > 0) FROM anomalies")
    assert anomalies == ids
    assert sum(alert["count"] for alert in told_of) == worthy
    assert len(await dead_letters(kafka.bootstrap, name)) == known.bad
    assert (await asyncio.to_thread(sentinel.get, "/api/v1/ledger"))["balanced"]
    assert await asyncio.to_thread(sentinel.stop) == 0
