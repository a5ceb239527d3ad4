"""RabbitMQ down, without a queue, out of memory while alerts are made: no alert is lost, and ingestion goes on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fault_alerts import StateRows, alerts, owed
from fault_queue import Queue
from fault_traffic import configuration, flowing, until
from fault_watch import watching

from tools.servers.rabbitmq import RabbitMQ

pytestmark = pytest.mark.slow

RATE = 1_000.0
QUICK_RETRIES = {"max_attempts": 100, "initial_delay_ms": 100, "max_delay_ms": 500}
"""For short faults; long ones are waited for by the defaults, with their long pauses."""
LONG_S = 30.0

Fault = Callable[[RabbitMQ, Queue, float], Awaitable[None]]


async def down(server: RabbitMQ, _queue: Queue, fault_s: float) -> None:
    """Crash, and come back with what was on disk."""
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(fault_s)
    await asyncio.to_thread(server.start)


async def unroutable(_server: RabbitMQ, queue: Queue, fault_s: float) -> None:
    """No queue wants alerts."""
    await queue.unbind()
    await asyncio.sleep(fault_s)
    await queue.bind()


async def blocked(server: RabbitMQ, _queue: Queue, fault_s: float) -> None:
    """Its memory alarm stops all publishers."""
    await asyncio.to_thread(server.ctl, "set_vm_memory_high_watermark", "0")
    await asyncio.sleep(fault_s)
    await asyncio.to_thread(server.ctl, "set_vm_memory_high_watermark", "0.4")


@pytest.mark.parametrize(
    ("fault", "words"),
    [(down, "cannot be reached, or hung up"), (unroutable, "has no queue for alert."), (blocked, "short of memory or disk")],
    ids=["down", "unroutable", "blocked"],
)
async def test_no_alert_is_lost(
    fault: Fault, words: str, kafka: Any, topic: Any, own_rabbitmq: Any, make_sentinel: Any, fault_s: float
) -> None:
    """Every notification that was ever in the outbox arrives, every alert of the API has all of its own, and events flow all the time."""
    name = await topic(4)
    queue = Queue(own_rabbitmq.url, "alerts-of-this-test")
    await queue.bind()
    section = queue.section(timeout_secs=2.0, **({"retry_config": QUICK_RETRIES} if fault_s < LONG_S else {}))
    alerting = {"rabbitmq": section, "event_anomalies": True, "deduplication": {"window_secs": 1.0}}
    sentinel = make_sentinel(configuration(kafka.bootstrap, name, alerting=alerting))
    sentinel.start()
    await asyncio.to_thread(sentinel.wait_ready)
    rows = StateRows.beside(sentinel)
    async with flowing(kafka.bootstrap, name, rate=RATE, storm=True) as known:
        await until(lambda: asyncio.to_thread(lambda: rows.states()["sent"] > 20), "alerts flow")
        sent = known.sent
        async with watching(sentinel) as watched:
            await fault(own_rabbitmq, queue, fault_s)
        (receiver,) = watched.looks[-1].status["receivers"]
        assert words in receiver["last_error"]
        assert watched.always_ready()
        assert watched.largest("events_stored") > sent
        waited = await asyncio.to_thread(rows.waiting)
        assert waited > 0
    await until(lambda: asyncio.to_thread(lambda: sentinel.stored() == len(known.good)), "everything is stored")
    await until(lambda: asyncio.to_thread(lambda: not rows.waiting()), "everything is delivered", 600.0)
    came = await queue.message_ids()
    put = await asyncio.to_thread(rows.outbox)
    print(f"{fault.__name__} {fault_s:g} s: {len(put)} notifications, {waited} waited, {len(came) - len(set(came))} came twice")  # noqa: T201
    assert set(came) == put == owed(await asyncio.to_thread(alerts, sentinel), "rabbitmq")
    assert await asyncio.to_thread(rows.states) == {"sent": len(put)}
    assert await asyncio.to_thread(sentinel.stop) == 0
