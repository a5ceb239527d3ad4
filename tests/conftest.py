"""What all tests share: the compiled kernels' cache, and real servers, started once a session and named at its end."""

import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tools.servers import kafka as apache_kafka
from tools.servers.process import NotInstalledError

# Before the first import of numba: kernels compile once, not once a run.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[1] / ".numba_cache"))

_IN_CI = os.environ.get("CI") == "true"
_started = pytest.StashKey[Counter[str]]()


def _kafka(config: pytest.Config) -> Iterator[apache_kafka.Broker]:
    """A broker; without one the test is skipped, in CI it fails."""
    try:
        with apache_kafka.kafka() as broker:
            config.stash.setdefault(_started, Counter())[f"Apache Kafka {apache_kafka.version()}"] += 1
            yield broker
    except NotInstalledError as reason:
        if _IN_CI:
            raise
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config) -> Iterator[apache_kafka.Broker]:
    """The session's broker. It belongs to all tests: use `own_kafka` to stop or kill one."""
    yield from _kafka(pytestconfig)


@pytest.fixture
def own_kafka(pytestconfig: pytest.Config) -> Iterator[apache_kafka.Broker]:
    """A broker for one test, to stop, kill and start again."""
    yield from _kafka(pytestconfig)


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
    """A test that asks for a broker carries the mark `kafka`, so that `-m "not kafka"` leaves it out."""
    for item in items:
        if {"kafka", "own_kafka"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("kafka")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which real servers the tests ran against."""
    started = config.stash.get(_started, Counter())
    terminalreporter.write_line("real servers: " + (", ".join(f"{name} (started {n} x)" for name, n in started.items()) or "none started"))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI a run in which every test was skipped is no pass."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if _IN_CI and exitstatus == pytest.ExitCode.OK and reporter is not None and not reporter.stats.get("passed"):
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
