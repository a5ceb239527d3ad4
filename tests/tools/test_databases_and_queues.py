"""RabbitMQ, Redis and PostgreSQL as tests use them: they answer, come back with their data, and leave nothing running."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import aio_pika
import psycopg
import pytest
from aio_pika.abc import AbstractRobustConnection
from redis.asyncio import Redis as RedisClient

from tools.servers import __main__ as command_line
from tools.servers import postgres as postgresql
from tools.servers import rabbitmq as rabbit
from tools.servers.postgres import PostgreSQL
from tools.servers.process import NotInstalledError, ServerError
from tools.servers.rabbitmq import RabbitMQ
from tools.servers.redis import Redis

ROOT = Path(__file__).parents[2]
GONE_WITHIN_S = 60.0


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory that other users, such as the database's own, can reach."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


async def connect(node: RabbitMQ) -> AbstractRobustConnection:
    """A connection that is not tried again when it fails: the node answers."""
    return await aio_pika.connect_robust(node.url, fail_fast=True)


async def publish(node: RabbitMQ, queue: str, body: bytes) -> None:
    """One confirmed, persistent message in a durable queue."""
    async with await connect(node) as connection:
        channel = await connection.channel()
        await channel.declare_queue(queue, durable=True)
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, queue)


def counts(node: RabbitMQ) -> dict[str, int]:
    """Messages by queue, as the node itself counts them."""
    rows = json.loads(node.ctl("list_queues", "name", "messages", "--formatter=json"))
    return {row["name"]: row["messages"] for row in rows}


def processes_naming(text: str) -> list[str]:
    """Command lines of running processes that name something."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue
        if text in line:
            lines.append(line)
    return lines


async def test_a_message_goes_through_a_real_rabbitmq(rabbitmq: RabbitMQ) -> None:
    """What is confirmed lies in its queue, and the node's own tool counts it."""
    queue = f"test-{uuid4().hex}"
    await publish(rabbitmq, queue, b"one")
    assert counts(rabbitmq)[queue] == 1
    with pytest.raises(ServerError, match="ended with code"):
        rabbitmq.ctl("no_such_command")


async def test_rabbitmq_comes_back_with_its_data(own_rabbitmq: RabbitMQ) -> None:
    """After a stop and after a crash, the same address serves what was confirmed before."""
    address = own_rabbitmq.url
    await publish(own_rabbitmq, "kept", b"before the stop")
    await asyncio.to_thread(own_rabbitmq.stop)
    with pytest.raises(ServerError, match="not running"):
        own_rabbitmq.ctl("status")
    await asyncio.to_thread(own_rabbitmq.start)
    await publish(own_rabbitmq, "kept", b"before the crash")
    await asyncio.to_thread(own_rabbitmq.kill)
    assert not own_rabbitmq.running
    await asyncio.to_thread(own_rabbitmq.start)
    assert counts(own_rabbitmq) == {"kept": 2}
    assert own_rabbitmq.url == address


async def test_a_blocked_rabbitmq_takes_nothing_until_unblocked(own_rabbitmq: RabbitMQ) -> None:
    """Without memory it confirms nothing; with memory again it confirms what was sent meanwhile."""
    async with await connect(own_rabbitmq) as connection:
        channel = await connection.channel()
        await channel.declare_queue("blocked")
        await asyncio.to_thread(own_rabbitmq.ctl, "set_vm_memory_high_watermark", "0")
        publishing = asyncio.create_task(channel.default_exchange.publish(aio_pika.Message(b"one"), "blocked"))
        while "blocked" not in await asyncio.to_thread(own_rabbitmq.ctl, "list_connections", "state"):
            assert not publishing.done()
        assert counts(own_rabbitmq) == {"blocked": 0}
        await asyncio.to_thread(own_rabbitmq.ctl, "set_vm_memory_high_watermark", "0.4")
        await publishing
    assert counts(own_rabbitmq) == {"blocked": 1}


async def test_a_value_goes_through_a_real_redis(redis: Redis) -> None:
    """What is set is read."""
    key = f"test-{uuid4().hex}"
    async with RedisClient.from_url(redis.url) as client:
        await client.set(key, b"one")
        assert await client.get(key) == b"one"


async def test_redis_comes_back_empty_at_the_same_address(own_redis: Redis) -> None:
    """It keeps nothing, neither through a stop nor through a crash."""
    for end in (own_redis.stop, own_redis.kill):
        async with RedisClient.from_url(own_redis.url) as client:
            assert await client.dbsize() == 0
            await client.set("key", b"one")
        end()
        assert not own_redis.running
        own_redis.start()


def test_a_database_is_empty_and_gone_after_its_test(postgres: PostgreSQL) -> None:
    """Every database has a name of its own and is dropped even while somebody is connected."""
    first, second = postgres.create_database(), postgres.create_database()
    with psycopg.connect(first) as connection:
        connection.execute("CREATE TABLE kept (number int)")
    connection = psycopg.connect(second)
    assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
    for url in (first, second):
        postgres.drop_database(url)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(first)
    connection.close()


def test_the_database_fixture_gives_a_database(database: str) -> None:
    """Its URL is good for a connection."""
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_postgres_comes_back_with_its_data(own_postgres: PostgreSQL) -> None:
    """After a stop and after a crash with a connection open, the same address serves what was committed before."""
    url = own_postgres.create_database()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept (number int)")
    for number, end in enumerate((own_postgres.stop, own_postgres.kill)):
        connection = psycopg.connect(url)
        connection.execute("INSERT INTO kept VALUES (%s)", [number])
        connection.commit()
        connection.execute("INSERT INTO kept VALUES (-1)")
        end()
        assert not own_postgres.running
        connection.close()
        own_postgres.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT number FROM kept ORDER BY number").fetchall() == [(0,), (1,)]


def test_nothing_listens_beyond_loopback(rabbitmq: RabbitMQ, redis: Redis, postgres: PostgreSQL) -> None:
    """Nobody outside of this machine can reach a test's server."""
    table = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    listening = [row.split()[1].rpartition(":") for row in table.splitlines() if " 0A " in row]
    hosts = {int(port, 16): host for host, _, port in listening}
    for port in (rabbitmq.port, redis.port, postgres.port):
        assert hosts[port] == "0100007F"


@pytest.mark.parametrize(
    ("server", "end"), [("rabbitmq", "SIGKILL"), ("redis", "SIGKILL"), ("postgres", "SIGKILL"), ("rabbitmq", "SIGINT")]
)
def test_no_process_outlives_its_starter(scratch: Path, server: str, end: str, request: pytest.FixtureRequest) -> None:
    """Whether interrupted or killed, whoever ran a server leaves none of its processes behind, the port mapper included."""
    request.getfixturevalue(server)  # skips where it is not installed
    command = [sys.executable, "-m", "tools.servers", "run", server]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment) as starter:
        assert starter.stdout is not None
        assert " listens on " in starter.stdout.readline()
        lines = "\n".join(processes_naming(str(scratch)))
        assert lines
        mapper = re.search(r"-epmd_port \d+", lines)
        assert mapper is not None or server != "rabbitmq"
        starter.send_signal(getattr(signal, end))
        starter.wait()
    deadline = time.monotonic() + GONE_WITHIN_S
    traces = [str(scratch)] + ([mapper[0].removeprefix("-epmd_")] if mapper else [])
    while left := [line for trace in traces for line in processes_naming(trace)]:
        assert time.monotonic() < deadline, left


def test_one_missing_server_does_not_keep_the_others_away(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every server is tried; what is missing is named at the end, and the exit code says so."""

    def missing() -> None:
        raise NotInstalledError("no such package")

    tried = []
    servers = {
        "first": command_line._Server("First", lambda: "1", missing, command_line._run_redis),
        "second": command_line._Server("Second", lambda: "2", lambda: tried.append("second"), command_line._run_redis),
    }
    monkeypatch.setattr(command_line, "_SERVERS", servers)
    monkeypatch.setattr(command_line, "_FOR_TESTS", tuple(servers))
    monkeypatch.setattr(sys, "argv", ["tools.servers", "install"])
    assert command_line.main() == 1
    printed = capsys.readouterr()
    assert tried == ["second"]
    assert printed.out == "Second 2 is installed\n"
    assert printed.err == "First: no such package\n"


def test_what_is_not_installed_is_named_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a server says which one and what to run."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(postgresql, "_DEBIAN", tmp_path)
    monkeypatch.setattr(rabbit, "_LIBRARY", tmp_path)
    for kind, name in ((Redis, "Redis"), (PostgreSQL, "PostgreSQL"), (RabbitMQ, "RabbitMQ")):
        with pytest.raises(NotInstalledError, match=rf"^{name} is not installed: .* Run: python -m tools\.servers install$"):
            kind(tmp_path)


def test_where_nothing_can_be_installed_the_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without apt-get the message has the packages to install by hand."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(postgresql, "_DEBIAN", tmp_path)
    monkeypatch.setattr(rabbit, "_LIBRARY", tmp_path)
    for kind, package in ((command_line.redis, "redis-server"), (postgresql, "postgresql"), (rabbit, "rabbitmq-server")):
        with pytest.raises(NotInstalledError, match=f"apt-get install {package}"):
            kind.install()


def test_the_newest_rabbitmq_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions are compared as numbers."""
    for number in ("3.9.30", "3.10.8"):
        (tmp_path / f"rabbitmq_server-{number}" / "sbin").mkdir(parents=True)
    for program in ("erl", "epmd"):
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(rabbit, "_LIBRARY", tmp_path)
    assert rabbit.version() == "3.10.8"


def test_ports_are_closed_after_the_end(own_redis: Redis) -> None:
    """A stopped server refuses connections."""
    own_redis.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", own_redis.port), timeout=5)
