"""Canaries on their whole way: in embedded mode and through a real Kafka; nobody sees them, and their silence is told."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from daemon_run import config, event, running
from fault_receiver import Receiver, receiving

from sentinel.app.daemon import Daemon
from sentinel.config.schema import Alarms, Alerting, Canary, Config, Ingestion, Kafka, Validation, Webhook
from sentinel.core.canary import CANARY
from sentinel.core.errors import RetryableError
from sentinel.core.ports import StoreWrite
from sentinel.core.query import AnomalyQuery, SeriesQuery, TelemetryQuery, TimeRange
from sentinel.state.alerts import AlertQuery
from tools.servers.kafka import Broker

EVER = TimeRange(0, 2**62)
OFTEN = Canary(enabled=True, interval_secs=0.05, silence_secs=60.0)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Who is told."""
    async with receiving() as made:
        yield made


def settings(path: Path, receiver: Receiver | None, ingestion: Ingestion | None = None, canary: Canary = OFTEN, **more: Any) -> Config:
    """A daemon that sends canaries, and tells a receiver where there is one."""
    webhook = {"alerting": Alerting(webhook=Webhook(**receiver.section()))} if receiver is not None else {}
    return config(path, ingestion, canary=canary, **webhook, **more)


def sample(daemon: Daemon, name: str, **labels: str) -> float:
    """A metric's value; 0 before it has one."""
    return daemon.metrics.registry.get_sample_value(f"sentinel_{name}", labels) or 0.0


def arrived(daemon: Daemon) -> float:
    """Canaries that were delivered."""
    return sample(daemon, "canaries_total", result="arrived")


async def until(fact: Callable[[], object]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(60):
        while not fact():  # noqa: ASYNC110  what is waited for comes from threads and other tasks
            await asyncio.sleep(0.02)


async def nobody_sees_them(daemon: Daemon, stored: int) -> None:
    """Not one of the answers that people get holds a canary; the ledger knows them as filtered."""
    query = daemon.store
    page = await query.telemetry(TelemetryQuery(range=EVER))
    assert [row["service_name"] for row in page.items] == ["chat"] * stored
    assert await query.anomalies(AnomalyQuery(range=EVER)) == []
    assert {points.service for points in await query.timeseries(SeriesQuery(range=EVER, by_series=True))} <= {"chat"}
    assert await daemon.context.alerts.find(AlertQuery()) == []
    for shard in daemon.pipeline.shards.values():
        assert CANARY not in shard.baselines.names
    total = daemon.pipeline.ledger.total()
    assert (total.stored, total.dead_lettered, total.imbalance) == (stored, 0, 0)
    assert total.filtered > 0


def outbox_rows(path: Path) -> int:
    """What is left in the outbox and in the log of deliveries."""
    connection = sqlite3.connect(f"file:{path / 'state' / 'state.db'}?mode=ro", uri=True)
    try:
        return sum(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("outbox", "delivery_attempts", "alerts"))
    finally:
        connection.close()


async def test_canaries_travel_the_whole_path_and_are_not_seen(tmp_path: Path, receiver: Receiver) -> None:
    """Log, worker, store, outbox, courier: measured from end to end; no receiver, no query and no table has one."""
    async with running(settings(tmp_path, receiver)) as daemon:
        assert daemon.context.ingest is not None
        assert (await daemon.context.ingest.submit([event(1)])).stored == 1
        await until(lambda: arrived(daemon) >= 3)
        assert sample(daemon, "canary_seconds_count") >= 3
        assert daemon.context.alarms() == []
        await nobody_sees_them(daemon, 1)
        assert [channel.name for channel in daemon.context.receivers()] == ["webhook"]
    assert receiver.alerts == []
    assert outbox_rows(tmp_path) <= 1  # one may be on its way at the stop


async def test_without_receivers_a_canary_has_arrived_once_stored(tmp_path: Path) -> None:
    """Where no alerts are made, the path ends behind the store."""
    async with running(settings(tmp_path, None)) as daemon:
        await until(lambda: arrived(daemon) >= 2)
        await nobody_sees_them(daemon, 0)


async def test_canaries_are_off_by_default(tmp_path: Path) -> None:
    """Nothing is sent where nobody asked for it."""
    async with running(config(tmp_path)) as daemon:
        assert daemon.context.ingest is not None
        await daemon.context.ingest.submit([event(1)])
        assert daemon.pipeline.ledger.total().received == 1


async def test_the_interval_acts(tmp_path: Path) -> None:
    """With a long interval there is one canary, with a short one there are more."""
    seldom = OFTEN.model_copy(update={"interval_secs": 3_600.0})
    async with running(settings(tmp_path / "a", None, canary=seldom)) as few, running(settings(tmp_path / "b", None)) as many:
        await until(lambda: arrived(many) >= 5)
        await until(lambda: arrived(few))
        assert sample(few, "canaries_total", result="sent") == 1


async def test_limits_on_values_leave_canaries_alone(tmp_path: Path) -> None:
    """Whatever an installation takes for plausible, its canaries are."""
    validation = Validation(min_latency_ms=500.0, on_out_of_range="reject")
    async with running(settings(tmp_path, None, Ingestion(validation=validation))) as daemon:
        await until(lambda: arrived(daemon))
        assert daemon.pipeline.ledger.total().dead_lettered == 0


async def test_silence_of_the_canary_is_told(tmp_path: Path, receiver: Receiver) -> None:
    """A store that takes nothing: the alert says where canaries stop, and ends when they come back."""
    quick = Canary(enabled=True, interval_secs=0.2, silence_secs=0.5)
    alarms = Alarms(quiet_secs=1.0, held_secs=3_600.0)
    async with running(settings(tmp_path, receiver, canary=quick, alarms=alarms)) as daemon:
        await until(lambda: arrived(daemon))
        down, write = True, daemon.store.write

        async def refuse(items: Sequence[StoreWrite]) -> None:
            if down:
                raise RetryableError("the disk is full", after_s=0.05)
            await write(items)

        daemon.store.write = refuse  # type: ignore[method-assign]
        await until(lambda: receiver.alerts)
        alert = receiver.alerts[0][1]
        assert (alert["type"], alert["severity"]) == ("daemon_canary_silent", "critical")
        assert "no canary came back from embedded/http/0 for" in alert["description"]
        assert "the last one was sent and is not stored" in alert["description"]
        assert sample(daemon, "canary_silence_seconds") > 0.5
        down = False
        await until(lambda: receiver.alerts[-1][1]["status"] == "resolved")


async def test_every_partition_of_a_topic_has_its_canary(
    tmp_path: Path, receiver: Receiver, kafka: Broker, topic: Callable[..., Awaitable[str]]
) -> None:
    """Through a real Kafka: each partition gets its own, commits move past them, and people see only the events."""
    name = await topic(2)
    source = Kafka(brokers=[kafka.bootstrap], topic=name, group_id=name, dead_letter_topic=await topic(1), auto_offset_reset="earliest")
    made = settings(tmp_path, receiver, Ingestion(kafka=source), privacy={"pseudonym_key": "0123456789abcdef"})
    async with running(made) as daemon:
        assert daemon.context.ingest is not None
        assert (await daemon.context.ingest.submit([event(1)])).stored == 1
        accounts = daemon.pipeline.ledger.accounts
        await until(lambda: len(accounts) == 2 and all(account.filtered >= 2 for account in accounts.values()))
        await until(lambda: arrived(daemon) >= 4)
        await until(lambda: daemon.pipeline.ledger.total().stored)
        await nobody_sees_them(daemon, 1)
        for log in accounts:
            assert await daemon.store.position(log)
    assert receiver.alerts == []
