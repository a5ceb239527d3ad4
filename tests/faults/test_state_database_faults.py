"""The PostgreSQL state database crashes while alerts are made: nothing is lost, every alert is delivered."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

import pytest
from fault_alerts import StateRows, alerts, owed
from fault_receiver import Receiver
from fault_traffic import configuration, flowing, until
from fault_watch import MIB, watching

pytestmark = pytest.mark.slow

RATE = 1_000.0
QUEUE_MAX_BYTES = MIB // 2
LARGEST_DELIVERY_BYTES = 500 * 1_024
LARGEST_GROWTH = 32 * MIB


async def test_ingestion_waits_and_nothing_is_lost(
    kafka: Any, topic: Any, own_postgres: Any, receiver: Receiver, make_sentinel: Any, fault_s: float
) -> None:
    """Alerts go before rows, so what is worth one waits, within the configured memory; afterwards all is stored and told."""
    name, url = await topic(4), await asyncio.to_thread(own_postgres.create_database)
    parts = urlsplit(url)
    settings = configuration(
        kafka.bootstrap,
        name,
        state={"url": f"postgresql://{parts.hostname}:{parts.port}{parts.path}", "username": parts.username, "tls": "off"},
        alerting={"webhook": receiver.section(), "event_anomalies": True, "deduplication": {"window_secs": 1.0}},
        pipeline={"queue_max_bytes": QUEUE_MAX_BYTES},
    )
    sentinel = make_sentinel(settings)
    sentinel.start()
    await asyncio.to_thread(sentinel.wait_ready)
    rows = StateRows(url.replace("postgresql://", "postgresql+psycopg://"))
    async with flowing(kafka.bootstrap, name, rate=RATE, storm=True) as known:
        await until(lambda: len(receiver.alerts) > 50, "alerts flow")
        async with watching(sentinel) as watched:
            await asyncio.to_thread(own_postgres.kill)
            await asyncio.sleep(fault_s)
        told = len(receiver.alerts)
        await asyncio.to_thread(own_postgres.start)
        await until(lambda: len(receiver.alerts) > told, "alerts flow again")
    grown, queue = watched.grew("rss_bytes"), watched.largest("queue_bytes")
    print(f"{fault_s:g} s: memory {watched.looks[0].status['rss_bytes'] / MIB:.0f} MiB + {grown / MIB:.1f}, queue {queue:,} bytes")  # noqa: T201
    assert watched.unready_since("alerts: the state database")
    assert queue <= QUEUE_MAX_BYTES + LARGEST_DELIVERY_BYTES
    assert grown <= LARGEST_GROWTH
    await until(lambda: asyncio.to_thread(lambda: sentinel.stored() == len(known.good)), "everything is stored")
    await until(lambda: asyncio.to_thread(lambda: not rows.waiting()), "everything is delivered")
    assert sentinel.query("SELECT count(*), count(DISTINCT event_id) FROM events") == [(len(known.good), len(known.good))]
    put = await asyncio.to_thread(rows.outbox)
    assert receiver.ids() == put == owed(await asyncio.to_thread(alerts, sentinel), "webhook")
    assert await asyncio.to_thread(rows.states) == {"sent": len(put)}
    assert (await asyncio.to_thread(sentinel.get, "/api/v1/ledger"))["balanced"]
    assert await asyncio.to_thread(sentinel.stop) == 0
