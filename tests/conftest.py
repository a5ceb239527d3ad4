"""What all tests share: the compiled kernels' cache, and real servers, started once a session and named at its end."""

import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar
from uuid import uuid4

import pytest
from hypothesis import settings

from tools.servers import kafka as apache_kafka
from tools.servers import postgres as postgresql
from tools.servers import rabbitmq as rabbit
from tools.servers import redis as redis_server
from tools.servers import s3 as s3_server
from tools.servers.process import NotInstalledError

# Before the first import of numba: kernels compile once, not once a run.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[1] / ".numba_cache"))

# No example of a property is timed: a test that compiles or a busy machine says nothing about the code.
settings.register_profile("sentinel", deadline=None)
settings.load_profile("sentinel")

_IN_CI = os.environ.get("CI") == "true"
_SERVERS = ("kafka", "postgres", "rabbitmq", "redis", "s3")
_started = pytest.StashKey[Counter[str]]()
Server = TypeVar("Server")


class ServerKind(Protocol):
    """What the modules of `tools.servers` share."""

    NAME: str

    def version(self) -> str:
        """The version that is installed."""
        ...


def _running(config: pytest.Config, kind: ServerKind, server: AbstractContextManager[Server]) -> Iterator[Server]:
    """A server of a kind; where it is not installed the test is skipped, in CI it fails."""
    try:
        with server as running:
            config.stash.setdefault(_started, Counter())[f"{kind.NAME} {kind.version()}"] += 1
            yield running
    except NotInstalledError as reason:
        if _IN_CI:
            raise
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config) -> Iterator[apache_kafka.Broker]:
    """The session's broker. It belongs to all tests: use `own_kafka` to stop or kill one."""
    yield from _running(pytestconfig, apache_kafka, apache_kafka.kafka())


@pytest.fixture
def own_kafka(pytestconfig: pytest.Config) -> Iterator[apache_kafka.Broker]:
    """A broker for one test, to stop, kill and start again."""
    yield from _running(pytestconfig, apache_kafka, apache_kafka.kafka())


@pytest.fixture(scope="session")
def rabbitmq(pytestconfig: pytest.Config) -> Iterator[rabbit.RabbitMQ]:
    """The session's RabbitMQ. It belongs to all tests: give exchanges and queues names of their own, use `own_rabbitmq` for outages."""
    yield from _running(pytestconfig, rabbit, rabbit.rabbitmq())


@pytest.fixture
def own_rabbitmq(pytestconfig: pytest.Config) -> Iterator[rabbit.RabbitMQ]:
    """A RabbitMQ for one test, to stop, kill, block and start again."""
    yield from _running(pytestconfig, rabbit, rabbit.rabbitmq())


@pytest.fixture(scope="session")
def redis(pytestconfig: pytest.Config) -> Iterator[redis_server.Redis]:
    """The session's Redis. It belongs to all tests: give keys a prefix of their own, use `own_redis` for outages."""
    yield from _running(pytestconfig, redis_server, redis_server.redis())


@pytest.fixture
def own_redis(pytestconfig: pytest.Config) -> Iterator[redis_server.Redis]:
    """A Redis for one test, to stop, kill and start again."""
    yield from _running(pytestconfig, redis_server, redis_server.redis())


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[postgresql.PostgreSQL]:
    """The session's PostgreSQL. It belongs to all tests: use `database` for a database, `own_postgres` for outages."""
    yield from _running(pytestconfig, postgresql, postgresql.postgres())


@pytest.fixture
def own_postgres(pytestconfig: pytest.Config) -> Iterator[postgresql.PostgreSQL]:
    """A PostgreSQL for one test, to stop, kill and start again."""
    yield from _running(pytestconfig, postgresql, postgresql.postgres())


@pytest.fixture(scope="session")
def s3(pytestconfig: pytest.Config) -> Iterator[s3_server.S3]:
    """The session's S3. It belongs to all tests: make a bucket of your own, use `own_s3` for outages."""
    yield from _running(pytestconfig, s3_server, s3_server.s3())


@pytest.fixture
def own_s3(pytestconfig: pytest.Config) -> Iterator[s3_server.S3]:
    """An S3 for one test, to kill and start again."""
    yield from _running(pytestconfig, s3_server, s3_server.s3())


@pytest.fixture
def database(postgres: postgresql.PostgreSQL) -> Iterator[str]:
    """The URL of an empty database of the session's PostgreSQL, for one test."""
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture
def topic(kafka: apache_kafka.Broker) -> Callable[..., Awaitable[str]]:
    """A coroutine function that creates a new topic on the session's broker at each call and returns its name."""

    async def create(partitions: int = 4) -> str:
        name = f"test-{uuid4().hex}"
        await kafka.create_topic(name, partitions)
        return name

    return create


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for a server carries its mark, so that `-m "not kafka"` leaves it out."""
    for item in items:
        asked = set(getattr(item, "fixturenames", ()))
        for server in _SERVERS:
            if {server, f"own_{server}"} & asked:
                item.add_marker(server)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which real servers the tests ran against."""
    started = config.stash.get(_started, Counter())
    terminalreporter.write_line("real servers: " + (", ".join(f"{name} (started {n} x)" for name, n in started.items()) or "none started"))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI a run in which every test was skipped is no pass."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if _IN_CI and exitstatus == pytest.ExitCode.OK and reporter is not None and not reporter.stats.get("passed"):
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
