"""A topic that is not keyed by series: it is told, and people hear of an incident once all the same."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from daemon_run import config, event, running
from kafka_bench import section, until
from state_databases import section_of
from structlog.testing import capture_logs

from sentinel.app import housekeeping
from sentinel.app.daemon import Daemon
from sentinel.app.doctor.check import examine
from sentinel.app.doctor.series import SERIES
from sentinel.app.split_series import Split, split_of
from sentinel.config.schema import Config, Ingestion, Kafka, Privacy
from sentinel.config.secret import Secret
from sentinel.config.sections_alerting import Alerting
from sentinel.core.batch import OVERFLOW, PartitionId, SeriesKey
from sentinel.state.alerts import AlertQuery, Alerts
from sentinel.state.database import StateDatabase
from tools.servers.kafka import Broker

Topic = Callable[..., Awaitable[str]]
CHAT, SEARCH = SeriesKey("default", "chat", "m"), SeriesKey("default", "search", "m")


def at(partition: int, topic: str = "t") -> PartitionId:
    """A partition."""
    return PartitionId("c", topic, partition)


def test_a_series_in_two_partitions_is_split() -> None:
    """Counted once, however many partitions it is in; what is too much of each partition is no series."""
    found = split_of([(at(0), [CHAT, SEARCH, OVERFLOW]), (at(1), [CHAT, OVERFLOW]), (at(2), [CHAT])])
    assert found == Split(2, 1, [CHAT])


def test_two_logs_are_no_partitions_of_one() -> None:
    """A file and a topic, or two topics, may both have a series."""
    assert split_of([(at(0), [CHAT]), (at(0, "other"), [CHAT])]) == Split(1, 0, [])
    assert split_of([]) == Split(0, 0, [])


async def sent(broker: Broker, topic: str, events: dict[int, list[bytes]]) -> None:
    """Events to partitions."""
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
        await asyncio.gather(
            *[await producer.send(topic, record, partition=partition) for partition, records in events.items() for record in records]
        )


def of(service: str, count: int) -> list[bytes]:
    """Events of a service."""
    return [event(i, event_id=None, service_name=service) for i in range(count)]


async def test_the_daemon_counts_and_tells_once(tmp_path: Path, kafka: Broker, topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its housekeeping looks by itself: the gauge has how many, the log says it once, with an example and the cure."""
    monkeypatch.setattr(housekeeping, "TICK_S", 0.05)
    monkeypatch.setattr(housekeeping, "PRUNE_EVERY_S", 0.0)
    group = section(kafka, await topic(partitions=2))
    await sent(kafka, group.topic, {0: of("chat", 10) + of("search", 10), 1: of("chat", 10)})
    with capture_logs() as lines:
        async with running(replica(tmp_path, group)) as daemon:
            await until(lambda: daemon.metrics.registry.get_sample_value("sentinel_series_split") == 1)
            await daemon._housekeeping._split.look(daemon.context)
    told = [str(line) for line in lines if "spread over several partitions" in line["event"]]
    assert len(told) == 1
    assert "default/chat/m" in told[0]


async def test_the_doctor_looks_at_the_topic(tmp_path: Path, kafka: Broker, topic: Topic) -> None:
    """Keyed: all is well. Not keyed: a warning with how many and the cure. No topic: the check of Kafka tells. No names are shown."""
    keyed, split = await topic(partitions=2), await topic(partitions=2)
    await sent(kafka, keyed, {0: of("chat", 300), 1: of("search", 5)})
    await sent(kafka, split, {0: of("chat", 300), 1: of("chat", 5)})
    assert await looked(tmp_path, kafka, keyed) == [
        ("ok", "2 series, each in one partition, in the newest 205 records of 2 partitions", "")
    ]
    ((status, what, cure),) = await looked(tmp_path, kafka, split)
    assert (status, what) == ("warning", "1 of 1 series are spread over several partitions, in the newest 205 records of 2 partitions")
    assert cure.startswith("Key the records by service and model")
    assert await looked(tmp_path, kafka, await topic(partitions=1)) == [
        ("ok", "0 series, each in one partition, in the newest 0 records of 1 partitions", "")
    ]
    assert await looked(tmp_path, kafka, "missing") == []


async def looked(path: Path, broker: Broker, topic: str) -> list[tuple[str, str, str]]:
    """What the doctor finds."""
    settings = config(path, Ingestion(kafka=section(broker, topic)))
    return [(str(one.status), one.what, one.cure) async for _, findings in examine([SERIES], settings) for one in findings]


def replica(path: Path, kafka: Kafka, **more: Any) -> Config:
    """A replica with its state in `path`."""
    return config(path, Ingestion(kafka=kafka), privacy=Privacy(pseudonym_key=Secret("0123456789abcdef")), **more)


async def test_one_alert_for_a_series_in_two_replicas(tmp_path: Path, kafka: Broker, topic: Topic, database: str) -> None:
    """Two replicas, a partition of the series each, one PostgreSQL: both see the incident, and there is one episode of both."""
    group, state = section(kafka, await topic(partitions=2)), section_of(database)
    told = Alerting(event_anomalies=True, webhook={"enabled": True, "url": "https://hooks.example.com/", "secret": "whsec_" + "a" * 32})  # type: ignore[arg-type]  # as the file has it
    more = {"state": state, "alerting": told}
    async with running(replica(tmp_path / "one", group, **more)) as one, running(replica(tmp_path / "two", group, **more)) as two:
        await until(
            lambda: (
                one.pipeline.shards.keys() ^ two.pipeline.shards.keys() == {*one.pipeline.shards, *two.pipeline.shards}
                and len(one.pipeline.shards) == 1
            )
        )
        await sent(kafka, group.topic, {partition: of("chat", 400) for partition in (0, 1)})
        await until(lambda: stored(one) + stored(two) == 800)
        slow = [event(400 + i, event_id=None, latency_ms=60_000) for i in range(5)]
        await sent(kafka, group.topic, {0: slow, 1: slow})
        await until(lambda: stored(one) + stored(two) == 810)
        assert (stored(one), stored(two)) == (405, 405)
    asked = StateDatabase(state, tmp_path / "unused.db")
    await asked.open()
    found = [alert for alert in await Alerts(asked).find(AlertQuery()) if alert.service == "chat"]
    await asked.close()
    by_type = {alert.type: alert.count for alert in found}
    assert len(by_type) == len(found), "an episode of each type, not one of each partition"
    assert max(by_type.values()) >= 10, "with the anomalies of both partitions"


def stored(daemon: Daemon) -> int:
    """Events this replica has stored."""
    return daemon.pipeline.ledger.total().stored
