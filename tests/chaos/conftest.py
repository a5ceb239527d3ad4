"""What the tests with many replicas share: servers, worlds, and the table at the end."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import chaos_report
import pytest
from chaos_world import PARTITIONS, World, port_of, world
from fault_points import FaultyPoints
from fault_queue import Queue
from infrastructure import Servers

from tools.servers import toxiproxy
from tools.servers.process import NotInstalledError
from tools.servers.toxiproxy import Proxy


@dataclass(frozen=True)
class ProxiedWorld:
    """A world, and the proxies in front of its servers by their names."""

    world: World
    proxies: dict[str, Proxy]


@dataclass(frozen=True)
class Behind:
    """The store as the replicas reach it."""

    url: str
    token_file: str


Worlds = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture
def points(tmp_path: Path) -> Iterator[FaultyPoints]:
    """The InfluxDB double as a process of its own."""
    server = FaultyPoints(tmp_path, "--max-points", "10000000")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def worlds(
    kafka: Any, topic: Callable[[int], Awaitable[str]], rabbitmq: Any, redis: Any, database: str, points: FaultyPoints, tmp_path: Path
) -> Worlds:
    """Makes a world on the session's servers."""

    @asynccontextmanager
    async def made(**options: Any) -> AsyncIterator[World]:
        servers = Servers(kafka.bootstrap, await topic(PARTITIONS), points, redis.url, database, rabbitmq.url, tmp_path)
        async with world(servers, points, Queue(rabbitmq.url, f"alerts-{uuid4().hex}"), **options) as ready:
            yield ready

    return made


@pytest.fixture
def proxy_server() -> Iterator[toxiproxy.Toxiproxy]:
    """A Toxiproxy without proxies; where it is not installed the test is skipped."""
    try:
        with toxiproxy.toxiproxy() as server:
            yield server
    except NotInstalledError as reason:
        pytest.skip(str(reason))


@pytest.fixture
def proxied(
    own_kafka: Any, rabbitmq: Any, redis: Any, database: str, points: FaultyPoints, proxy_server: toxiproxy.Toxiproxy, tmp_path: Path
) -> Callable[..., AbstractAsyncContextManager[ProxiedWorld]]:
    """Makes a world in which a proxy stands between the replicas and every server."""

    @asynccontextmanager
    async def made(**options: Any) -> AsyncIterator[ProxiedWorld]:
        topic = f"test-{uuid4().hex}"
        await own_kafka.create_topic(topic, PARTITIONS)
        urls = {"influxdb": points.url, "rabbitmq": rabbitmq.url, "redis": redis.url, "postgres": database}
        proxies = {name: proxy_server.proxy(name, port_of(url)) for name, url in urls.items()}
        proxies["kafka"] = proxy_server.proxy("kafka", own_kafka.proxied_port, listen=own_kafka.proxy_port)
        through = {name: url.replace(f":{port_of(url)}", f":{proxies[name].port}") for name, url in urls.items()}
        behind = Behind(through["influxdb"], points.token_file)
        brokers = f"127.0.0.1:{proxies['kafka'].port}"
        servers = Servers(brokers, topic, behind, through["redis"], through["postgres"], through["rabbitmq"], tmp_path)
        queue = Queue(rabbitmq.url, f"alerts-{uuid4().hex}")
        section = Queue(through["rabbitmq"], queue.name).section
        async with world(servers, points, queue, direct=own_kafka.bootstrap, database=database, section=section, **options) as ready:
            yield ProxiedWorld(ready, proxies)

    return made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table."""
    if chaos_report.lines:
        terminalreporter.section("chaos")
        for line in chaos_report.lines:
            terminalreporter.write_line(line)
        chaos_report.write()
