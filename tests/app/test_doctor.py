"""The doctor's checks, against real servers, files and ports: what each finds when all is well, and when it is not."""

import asyncio
import json
import os
import socket
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from daemon_run import config as configured
from daemon_run import event, names, running

from sentinel.app.doctor import limits, state_database
from sentinel.app.doctor.check import Check, Finding, Status, examine, in_thread, ok, warning, worst
from sentinel.app.doctor.checks import CHECKS
from sentinel.app.doctor.clock import CLOCK, judged
from sentinel.app.doctor.directories import DIRECTORIES
from sentinel.app.doctor.influxdb import INFLUXDB
from sentinel.app.doctor.kafka import KAFKA
from sentinel.app.doctor.port import PORT
from sentinel.app.doctor.rabbitmq import RABBITMQ
from sentinel.app.doctor.redis import REDIS
from sentinel.app.doctor.state_database import STATE_DATABASE
from sentinel.app.doctor.store import STORE
from sentinel.app.doctor.trial import TEST_ALERTS
from sentinel.app.doctor.webhook import WEBHOOK
from sentinel.config.schema import Config
from sentinel.core.errors import StartupError
from sentinel.state.database import StateDatabase
from tools.servers import kafka as apache_kafka
from tools.servers import rabbitmq as rabbit
from tools.servers import redis as redis_server
from tools.servers.process import free_port


def config(path: Path, **sections: Any) -> Config:
    """A configuration with its state in `path`."""
    return Config.model_validate({"state_dir": str(path / "state"), **sections})


async def found(check: Check, settings: Config) -> dict[str, Finding]:
    """The findings of one check by their subjects."""
    return {finding.subject: finding async for _, findings in examine([check], settings) for finding in findings}


# --------------------------------------------------------------------------------------------------------------- the runner


async def test_all_checks_run_at_once_and_each_ends() -> None:
    """One waits for the other: only at the same time can both end. One that hangs is a failure after its time."""
    first, second = asyncio.Event(), asyncio.Event()

    async def left(_config: Config) -> Sequence[Finding]:
        first.set()
        await second.wait()
        return [ok("left", "done")]

    async def right(_config: Config) -> Sequence[Finding]:
        await first.wait()
        second.set()
        return [warning("right", "done", "Nothing.")]

    async def hang(_config: Config) -> Sequence[Finding]:
        await asyncio.Event().wait()
        return []

    checks = [Check("left", left), Check("hang", hang, limit_s=0.01), Check("right", right)]
    findings = [finding async for _, some in examine(checks, Config()) for finding in some]
    assert {finding.subject: finding.status for finding in findings} == {"left": "ok", "right": "warning", "hang": "failed"}
    assert worst(findings) is Status.FAILED


@pytest.mark.parametrize(
    ("error", "what", "cure"),
    [
        (StartupError("no broker answers. Check ingestion.kafka.brokers."), "no broker answers", "Check ingestion.kafka.brokers."),
        (ValueError("password hunter2 is wrong"), "the check itself failed: ValueError", "Report it: this is a defect of ours."),
    ],
)
async def test_what_a_check_raises_is_a_finding(error: Exception, what: str, cure: str) -> None:
    """Our own words are shown; others might quote a secret."""

    async def fail(_config: Config) -> Sequence[Finding]:
        raise error

    finding = (await found(Check("kafka", fail), Config()))["kafka"]
    assert (finding.status, finding.what, finding.cure) == ("failed", what, cure)


async def test_only_what_is_configured_is_looked_at() -> None:
    """The default needs no server; each check belongs to one part."""
    names = [check.name for check in CHECKS if check.applies(Config())]
    assert names == ["directories", "store", "state database", "checkpoints", "limits", "port", "clock"]
    assert len({check.name for check in (*CHECKS, *TEST_ALERTS)}) == len(CHECKS) + len(TEST_ALERTS)


async def test_blocking_work_hands_over_what_it_raises() -> None:
    """From a thread of its own, as if it were called here."""
    assert await in_thread(lambda: 7) == 7
    with pytest.raises(OSError, match="hung"):
        await in_thread(lambda: (_ for _ in ()).throw(OSError("hung")))


# ------------------------------------------------------------------------------------------------------------- this machine


async def test_a_directory_that_is_not_there_is_made_by_the_daemon(tmp_path: Path) -> None:
    """Nothing is created by looking."""
    findings = await found(DIRECTORIES, config(tmp_path))
    assert findings["state directory"].status == "ok"
    assert findings["disk"].status == "ok"
    assert names(tmp_path) == []


async def test_what_is_wrong_with_a_directory(tmp_path: Path) -> None:
    """A file in its place, other users' rights, another owner: each with its cure."""
    (tmp_path / "state").write_text("")
    assert "not a directory" in (await found(DIRECTORIES, config(tmp_path)))["state directory"].what
    (tmp_path / "state").unlink()
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state").chmod(0o755)
    opened = (await found(DIRECTORIES, config(tmp_path)))["state directory"]
    assert (opened.status, "chmod 700" in opened.cure) == ("warning", True)
    elsewhere = config(tmp_path, storage={"embedded": {"path": str(tmp_path / "other" / "x.db")}})
    assert (await found(DIRECTORIES, elsewhere))["directory of the database"].status == "ok"
    if os.getuid() == 0:
        os.chown(tmp_path / "state", 10_001, -1)
        assert "belongs to user 10001" in (await found(DIRECTORIES, config(tmp_path)))["state directory"].what


async def test_the_store_as_a_daemon_leaves_it(tmp_path: Path) -> None:
    """Free before, held by the process while it runs, free and readable after; nothing is left beside it by looking."""
    settings = configured(tmp_path)
    assert "does not exist yet" in (await found(STORE, settings))["store"].what
    async with running(settings) as daemon:
        assert daemon.context.ingest is not None
        await daemon.context.ingest.submit([event(0)])
        held = (await found(STORE, settings))["store"]
        assert (held.status, f"in use by process {os.getpid()}" in held.what) == ("ok", True)
        port = daemon.server.port
        used = settings.model_copy(update={"api": settings.api.model_copy(update={"bind_addr": f"127.0.0.1:{port}"})})
        assert "used by the running daemon" in (await found(PORT, used))["port"].what
    before = sorted(path.name for path in (tmp_path / "state").iterdir())
    free = (await found(STORE, settings))["store"]
    assert (free.status, "in use" in free.what) == ("ok", False)
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == before


def _sqlite(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: path.write_bytes(b"x" * 200), "is not a database"),
        (lambda path: _sqlite(path, "CREATE TABLE t (a)"), "is a database of another program"),
        (
            lambda path: _sqlite(path, "PRAGMA application_id = 0x4C4C4D53", "PRAGMA user_version = 99", "CREATE TABLE t (a)"),
            "has format 99",
        ),
        (lambda path: _sqlite(path, "PRAGMA application_id = 0x4C4C4D53", "CREATE TABLE t (a)"), "is damaged: no such table"),
    ],
)
async def test_a_file_that_is_not_our_store(tmp_path: Path, make: Callable[[Path], None], what: str) -> None:
    """Named with what to do, and left as it is."""
    (tmp_path / "state").mkdir(mode=0o700)
    path = tmp_path / "state" / "sentinel.db"
    make(path)
    before = path.read_bytes()
    finding = (await found(STORE, config(tmp_path)))["store"]
    assert (finding.status, what in finding.what, bool(finding.cure)) == ("failed", True, True)
    assert path.read_bytes() == before


async def test_ports(tmp_path: Path) -> None:
    """Free, used by somebody else, of another machine."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finding = (await found(PORT, config(tmp_path, api={"bind_addr": f"127.0.0.1:{port}"})))["port"]
        assert (finding.status, "another program" in finding.what) == ("failed", True)
    assert (await found(PORT, config(tmp_path, api={"bind_addr": f"127.0.0.1:{free_port()}"})))["port"].status == "ok"
    elsewhere = (await found(PORT, config(tmp_path, api={"bind_addr": "192.0.2.1:8080"})))["port"]
    assert (elsewhere.status, "EADDRNOTAVAIL" in elsewhere.what) == ("failed", True)


@pytest.mark.parametrize(("soft", "status"), [(64, "failed"), (512, "warning"), (65_536, "ok")])
def test_open_files(soft: int, status: str) -> None:
    """Few open files fail, some warn."""
    assert limits.open_files(soft).status == status


def test_memory_is_held_against_the_series_that_may_be_kept() -> None:
    """The most that one partition can take by its configuration, against what there is."""
    few = Config.model_validate({"detection": {"baseline": {"max_series": 1_000}}})
    assert limits.memory(few, 2**30).status == "ok"
    assert limits.memory(Config(), 480 * 2**20).status == "warning"
    assert limits.memory(Config(), 2**28).status == "failed"
    assert limits.memory(Config(), None).status == "ok"
    one = Config.model_validate({"detection": {"enabled_detectors": ["mad"], "baseline": {"metrics": []}}})
    assert limits.watched_metrics(one.detection) == {"latency_ms"}
    assert (limits.memory_bytes() or 0) > 2**20


def test_a_clock_that_differs_is_told() -> None:
    """By more than five seconds from any other; with nothing to compare it says so."""
    assert judged({"Redis": 4.9, "PostgreSQL": -1.0}).status == "ok"
    assert judged({"Redis": 0.1, "PostgreSQL": -5.1}).status == "warning"
    assert "nothing that is configured" in judged({}).what


async def test_the_state_database_file(tmp_path: Path) -> None:
    """Not there, made by us, foreign."""
    assert "does not exist yet" in (await found(STATE_DATABASE, config(tmp_path)))["state database"].what
    settings = config(tmp_path)
    database = StateDatabase(settings.state, tmp_path / "state" / "state.db")
    await database.open()
    assert (await found(STATE_DATABASE, settings))["state database"].status == "ok"
    await database.close()
    assert "schema" in (await found(STATE_DATABASE, settings))["state database"].what
    _sqlite(tmp_path / "state" / "state.db", "UPDATE alembic_version SET version_num = 'later'")
    later = (await found(STATE_DATABASE, settings))["state database"]
    assert (later.status, "which this version does not know" in later.what) == ("failed", True)


# ----------------------------------------------------------------------------------------------------------------- servers


async def test_postgresql(tmp_path: Path, database: str) -> None:
    """Empty, then with our tables; its clock is compared; one that is not there is a failure in our words."""
    pytest.importorskip("psycopg")
    parts = urlsplit(database)
    url = f"postgresql://127.0.0.1:{parts.port}{parts.path}"
    settings = config(tmp_path, state={"url": url, "username": parts.username, "tls": "off"})
    assert "has no tables yet" in (await found(STATE_DATABASE, settings))["state database"].what
    opened = StateDatabase(settings.state, tmp_path / "unused.db")
    await opened.open()
    await opened.close()
    assert "schema" in (await found(STATE_DATABASE, settings))["state database"].what
    assert abs(await in_thread(lambda: state_database.server_time_s(settings.state))) < 5
    assert "PostgreSQL" in (await found(CLOCK, settings))["clock"].what
    gone = config(
        tmp_path, state={"url": f"postgresql://127.0.0.1:{free_port()}/x", "username": "u", "password": "hunter2-hunter2", "tls": "off"}
    )
    finding = (await found(STATE_DATABASE, gone))["state database"]
    assert finding.status == "failed"
    assert "hunter2" not in finding.what + finding.cure


async def test_redis(tmp_path: Path, redis: redis_server.Redis) -> None:
    """It answers and its clock is compared; without it the daemon goes on, so that is a warning."""
    settings = config(tmp_path, storage={"redis": {"enabled": True, "url": redis.url, "timeout_secs": 2}})
    assert (await found(REDIS, settings))["redis"].status == "ok"
    assert "Redis" in (await found(CLOCK, settings))["clock"].what
    hasty = config(tmp_path, storage={"redis": {"enabled": True, "url": redis.url, "timeout_secs": 1e-9}})
    assert "more than storage.redis.timeout_secs" in (await found(REDIS, hasty))["redis"].what
    gone = config(tmp_path, storage={"redis": {"enabled": True, "url": f"redis://127.0.0.1:{free_port()}"}})
    assert (await found(REDIS, gone))["redis"].status == "warning"


async def test_rabbitmq(tmp_path: Path, rabbitmq: rabbit.RabbitMQ) -> None:
    """Nothing there yet and nothing declared by looking; after a test alert the exchange, the queue and one message are."""
    name = f"doctor-{uuid4().hex}"
    section = {
        "url": f"amqp://127.0.0.1:{rabbitmq.port}",
        "exchange": name,
        "queue": f"{name}-all",
        "username": "guest",
        "password": "guest",
    }
    settings = config(tmp_path, alerting={"rabbitmq": section})
    for _ in range(2):
        findings = await found(RABBITMQ, settings)
        assert findings["rabbitmq exchange"].what == f"{name} does not exist yet; the daemon declares it"
        assert {finding.status for finding in findings.values()} == {"ok"}
    assert (await found(TEST_ALERTS[0], settings))["test alert to rabbitmq"].status == "ok"
    findings = await found(RABBITMQ, settings)
    assert findings["rabbitmq queue"].what == f"{name}-all: 1 messages, 0 readers"
    wrong = config(tmp_path, alerting={"rabbitmq": section | {"password": "hunter2"}})
    refused = (await found(RABBITMQ, wrong))["rabbitmq"]
    assert (refused.status, "does not let us in" in refused.what) == ("failed", True)
    assert "hunter2" not in refused.what + refused.cure


async def test_kafka(tmp_path: Path, kafka: apache_kafka.Broker, topic: Callable[..., Awaitable[str]]) -> None:
    """Brokers, topic, group, and the right to write, asked without writing."""
    name, letters = await topic(3), await topic(1)
    section = {"brokers": [kafka.bootstrap], "topic": name, "dead_letter_topic": letters, "group_id": name}
    findings = await found(KAFKA, config(tmp_path, ingestion={"kafka": section}))
    assert {finding.status for finding in findings.values()} == {"ok"}
    assert f"{name}: 3 partitions" in findings["kafka topic"].what
    assert "has never committed" in findings["kafka group"].what
    assert "is writable" in findings["kafka dead letters"].what
    again = await found(KAFKA, config(tmp_path, ingestion={"kafka": section | {"auto_offset_reset": "earliest"}}))
    assert "earliest" in again["kafka group"].what
    ends = await _ends(kafka, letters)
    assert ends == 0, "asking for the right to write has written"


async def _ends(kafka: apache_kafka.Broker, topic: str) -> int:
    from aiokafka import AIOKafkaConsumer, TopicPartition

    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap)
    await consumer.start()
    try:
        return (await consumer.end_offsets([TopicPartition(topic, 0)]))[TopicPartition(topic, 0)]
    finally:
        await consumer.stop()


async def test_kafka_lag_and_clock(tmp_path: Path, kafka: apache_kafka.Broker, topic: Callable[..., Awaitable[str]]) -> None:
    """What the group has left unread is counted; a newest record of the future shows that clocks differ."""
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

    name, ahead_ms = await topic(1), time.time_ns() // 10**6 + 600_000
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    for _ in range(5):
        await producer.send_and_wait(name, b"{}", timestamp_ms=ahead_ms)
    await producer.stop()
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, group_id=name, enable_auto_commit=False)
    await consumer.start()
    consumer.assign([TopicPartition(name, 0)])
    await consumer.commit({TopicPartition(name, 0): 2})
    await consumer.stop()
    section = {"brokers": [kafka.bootstrap], "topic": name, "dead_letter_topic": f"{name}.dlq", "group_id": name}
    settings = config(tmp_path, ingestion={"kafka": section})
    findings = await found(KAFKA, settings)
    assert "3 records behind in 1 of 1 partitions" in findings["kafka group"].what
    assert "the daemon creates it" in findings["kafka dead letters"].what
    assert (await found(CLOCK, settings))["clock"].status == "warning"


async def test_kafka_that_is_not_right(tmp_path: Path, kafka: apache_kafka.Broker) -> None:
    """No such topic: the command that makes it. One broker gone: a warning. All gone: a failure."""
    gone = f"127.0.0.1:{free_port()}"
    section = {"brokers": [kafka.bootstrap, gone], "topic": f"no-{uuid4().hex}"}
    findings = await found(KAFKA, config(tmp_path, ingestion={"kafka": section}))
    assert findings["kafka brokers"].status == "warning"
    assert "kafka-topics.sh" in findings["kafka topic"].cure
    alone = await found(KAFKA, config(tmp_path, ingestion={"kafka": section | {"brokers": [gone]}}))
    assert {subject: finding.status for subject, finding in alone.items()} == {"kafka brokers": "failed"}
    assert "Connection refused" in alone["kafka brokers"].what


async def test_influxdb(tmp_path: Path) -> None:
    """It answers, both buckets may be queried and written, and nothing is stored; a wrong token is a failure that does not show it."""
    pytest.importorskip("influxdb_client_3")
    pytest.importorskip("datafusion")
    from sentinel.testing.influx_double import InfluxDouble

    with InfluxDouble(token="right-token") as double:
        settings = config(tmp_path, storage={"influxdb": {"url": double.url, "token": "right-token"}})
        findings = await found(INFLUXDB, settings)
        assert {finding.status for finding in findings.values()} == {"ok"}
        assert "may be written" in findings["influxdb bucket telemetry"].what
        wrong = (await found(INFLUXDB, config(tmp_path, storage={"influxdb": {"url": double.url, "token": "wrong-token"}})))["influxdb"]
    assert (wrong.status, "refuses our credentials" in wrong.what) == ("failed", True)
    assert "wrong-token" not in wrong.what + wrong.cure


# ----------------------------------------------------------------------------------------------------------------- webhook


def webhook(path: Path, url: str, **more: Any) -> Config:
    """A configuration with this target."""
    return config(path, alerting={"webhook": {"enabled": True, "url": url, **more}})


async def test_a_webhook_in_a_private_network_is_refused_as_the_guard_does(tmp_path: Path) -> None:
    """The guard's own words and its cure; once the network is allowed it is reached, and nothing is sent."""
    sent: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent.append(await reader.read())
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook/with-a-secret-path"
    refused = (await found(WEBHOOK, webhook(tmp_path, url)))["webhook"]
    assert (refused.status, "allowed_networks" in refused.cure) == ("failed", True)
    findings = await found(WEBHOOK, webhook(tmp_path, url, allowed_networks=["127.0.0.0/8"]))
    assert findings["webhook"].status == "ok"
    assert findings["webhook secret"].status == "warning"
    assert "secret-path" not in str(findings)
    server.close()
    await server.wait_closed()
    assert b"".join(sent) == b""


async def test_a_webhook_that_cannot_be_reached(tmp_path: Path) -> None:
    """A name nobody knows, a port nobody listens on."""
    unknown = (await found(WEBHOOK, webhook(tmp_path, "https://nobody.invalid/")))["webhook"]
    assert (unknown.status, "cannot be resolved" in unknown.what) == ("failed", True)
    closed = (await found(WEBHOOK, webhook(tmp_path, f"http://127.0.0.1:{free_port()}/", allowed_networks=["127.0.0.0/8"])))["webhook"]
    assert (closed.status, "Connection refused" in closed.what) == ("failed", True)


async def test_a_test_alert_to_a_webhook(tmp_path: Path) -> None:
    """Signed, and plainly a test; an answer that is no 2xx is a failure."""
    from aiohttp import web

    got: list[tuple[dict[str, str], dict[str, Any]]] = []
    status = 200

    async def take(request: web.Request) -> web.Response:
        got.append((dict(request.headers), json.loads(await request.read())))
        return web.Response(status=status)

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    settings = webhook(
        tmp_path, f"http://127.0.0.1:{runner.addresses[0][1]}/", allowed_networks=["127.0.0.0/8"], secret="whsec_" + "YWJj" * 11
    )
    assert (await found(TEST_ALERTS[1], settings))["test alert to webhook"].status == "ok"
    status = 500
    assert (await found(TEST_ALERTS[1], settings))["test alert to webhook"].status == "failed"
    await runner.cleanup()
    headers, body = got[0]
    assert body["type"] == "alert.test"
    assert body["data"]["severity"] == "info"
    assert {"webhook-id", "webhook-signature"} <= {name.lower() for name in headers}
