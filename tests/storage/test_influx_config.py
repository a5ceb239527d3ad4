"""Each key of storage.influxdb changes what the store does."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from influx_places import TELEMETRY, TOKEN, opened, plain, stored
from pyarrow import flight
from pydantic import ValidationError

from sentinel.config.schema import InfluxDB
from sentinel.config.secret import Secret
from sentinel.core.errors import RetryableError, StartupError
from sentinel.core.query import AnomalyQuery, TelemetryQuery
from sentinel.observability.metrics import Metrics
from sentinel.storage.database import ReadTimeLimitError
from sentinel.storage.influx import InfluxStore
from sentinel.storage.influx_client import InfluxClient
from sentinel.storage.influx_points import ANOMALIES, EVENTS
from sentinel.testing.fakes import ManualClock
from sentinel.testing.influx_double import InfluxDouble
from sentinel.testing.store_events import LOG, START_NS, anomalies, write_of
from sentinel.testing.store_under_test import ALL_TIME


class Seen:
    """A server that takes everything and remembers the last request."""

    def __init__(self) -> None:
        self.request: web.Request | None = None
        self.body = b""

    async def take(self, request: web.Request) -> web.Response:
        """Any request."""
        self.request, self.body = request, await request.read()
        return web.Response(status=204)

    @property
    def last(self) -> tuple[str, Mapping[str, str], Mapping[str, str]]:
        """Path, query and headers."""
        assert self.request is not None
        return self.request.path, self.request.query, self.request.headers


@pytest.fixture
async def seen() -> AsyncIterator[tuple[Seen, str]]:
    """The server, and its URL."""
    server = Seen()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.take)
    async with TestServer(application) as running:
        yield server, f"http://127.0.0.1:{running.port}"


@pytest.fixture
def double() -> Iterator[InfluxDouble]:
    """A double that wants a token."""
    with InfluxDouble(token=TOKEN) as server:
        yield server


async def sent(url: str, **keys: object) -> None:
    """Write one line through a client with these keys."""
    client = InfluxClient(InfluxDB.model_validate({"url": url, **keys}))
    await asyncio.to_thread(client.write, "bucket", b"m x=1 1")
    client.close()


async def test_api_org_token_and_gzip_go_into_the_request(seen: tuple[Seen, str]) -> None:
    """The endpoint, the organisation, the token and the compression of a write are those of the configuration."""
    server, url = seen
    await sent(url, token=Secret("abc"))
    path, query, headers = server.last
    assert path == "/api/v3/write_lp"
    assert dict(query) == {"org": "sentinel", "db": "bucket", "precision": "nanosecond", "accept_partial": "false"}
    assert headers["Authorization"] == "Token abc"
    assert server.body == b"m x=1 1"
    await sent(url, api="v2", org="acme", gzip=True)
    path, query, headers = server.last
    assert path == "/api/v2/write"
    assert dict(query) == {"org": "acme", "bucket": "bucket", "precision": "ns"}
    assert headers["Content-Encoding"] == "gzip"
    assert server.body == b"m x=1 1"  # aiohttp has undone gzip


async def test_redirects_are_not_followed() -> None:
    """A server that sends us elsewhere does not get our token there: it is a failure like any other."""
    elsewhere = Seen()
    application = web.Application()
    application.router.add_route("*", "/elsewhere", elsewhere.take)

    async def redirect(_: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect("/elsewhere")

    application.router.add_post("/api/v3/write_lp", redirect)
    async with TestServer(application) as running:
        with pytest.raises(RetryableError, match="307"):
            await sent(f"http://127.0.0.1:{running.port}", token=Secret("abc"))
    assert elsewhere.request is None


async def test_buckets(double: InfluxDouble) -> None:
    """Events and anomalies go to the configured databases, also when both are one."""
    write = plain(3)
    write = write_of(write.batch, anomalies(write.batch, [(1, 0, "zscore", 1)]))  # type: ignore[list-item]  # the name will do
    for telemetry, other in (("t1", "a1"), ("both", "both")):
        async with opened(double, telemetry_bucket=telemetry, anomaly_bucket=other) as store:
            await store.write([write])
            assert len(await store.anomalies(AnomalyQuery(range=ALL_TIME))) == 1
        assert double.rows(telemetry, EVENTS) == 3
        assert double.rows(other, ANOMALIES) == 1


@pytest.mark.parametrize(("size", "requests"), [(5_000, 2), (300, 5), (1_000, 2)])
async def test_batch_size(double: InfluxDouble, size: int, requests: int) -> None:
    """No request has more points than configured; one more is the position's."""
    async with opened(double, batch_size=size) as store:
        await store.write([plain(1_000)])
    assert double.write_requests == requests


@pytest.mark.parametrize("parallel", [1, 3])
async def test_parallel_writes(double: InfluxDouble, parallel: int) -> None:
    """As many requests are under way at once as configured, and no more."""
    under_way = most = 0
    real = InfluxClient.write

    def counting(self: InfluxClient, bucket: str, payload: bytes) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        real(self, bucket, payload)
        under_way -= 1

    double.faults.delay_s = 0.02
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InfluxClient, "write", counting)
        async with opened(double, batch_size=10, parallel_writes=parallel) as store:
            await store.write([plain(100)])
    assert most == parallel


async def test_query_timeout(double: InfluxDouble) -> None:
    """A question that takes longer than query_timeout_secs is stopped, in words that name the key."""
    async with opened(double) as store:
        await store.write([plain(10)])
    async with opened(double, query_timeout_secs=0.001) as store:
        with pytest.raises(ReadTimeLimitError, match="query_timeout_secs"):
            await store.telemetry(TelemetryQuery(range=ALL_TIME))


async def test_lookback_hours(double: InfluxDouble) -> None:
    """A position is searched for 15 times lookback_hours back, and a replay leaves out what is older than one."""
    clock = ManualClock(START_NS)
    section = InfluxDB(url=double.url, token=Secret(TOKEN), lookback_hours=2)
    store = InfluxStore(section, clock, Metrics())
    await store.open()
    batch = plain(10).batch
    batch.ts_ns[:5] -= 3 * 3_600_000_000_000
    await store.write([write_of(batch)])
    assert [offset async for block in store.replay(LOG, 0) for offset in block.offsets.tolist()] == [5, 6, 7, 8, 9]
    for hours, position in ((29, 10), (3, None)):
        clock.advance(hours * 3_600)
        assert await store.position(LOG) == position
    await store.close()


@pytest.mark.parametrize("url", ["ftp://host", "http://host/path", "http://host?db=x", "https://host/#x", "host:8086"])
def test_urls_that_say_more_are_refused(url: str) -> None:
    """What the client would ignore in a URL is an error, not a surprise."""
    with pytest.raises(ValidationError):
        InfluxDB(url=url)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://influx", "http://influx:80"),
        ("https://influx", "https://influx:443"),
        ("http://[::1]:8181/", "http://[::1]:8181"),
    ],
)
def test_urls_keep_their_scheme_and_port(url: str, base: str) -> None:
    """A URL without a port means the scheme's own."""
    client = InfluxClient(InfluxDB(url=url))
    assert client._client.base_url == base  # type: ignore[attr-defined]  # not in our stub
    client.close()


# ---------------------------------------------------------------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost that nobody knows, and its key."""
    place = tmp_path_factory.mktemp("tls")
    cert, key = place / "cert.pem", place / "key.pem"
    openssl = shutil.which("openssl") or pytest.skip("openssl is not installed")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


async def test_writes_verify_the_certificate(certificate: tuple[Path, Path]) -> None:
    """A certificate nobody vouches for is refused; ca_file vouches for it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = Seen()
    application = web.Application()
    application.router.add_post("/api/v3/write_lp", server.take)
    running = TestServer(application, scheme="https")
    await running.start_server(ssl=context)
    url = f"https://127.0.0.1:{running.port}"
    with pytest.raises(RetryableError, match="certificate"):
        await sent(url, token=Secret("abc"))
    assert server.request is None
    await sent(url, ca_file=str(certificate[0]))
    assert server.request is not None
    await running.close()


class OneRow(flight.FlightServerBase):
    """Answers every question with one row."""

    def do_get(self, _context: flight.ServerCallContext, _ticket: flight.Ticket) -> flight.RecordBatchStream:
        """One row."""
        table = pa.Table.from_batches([pa.RecordBatch.from_pydict({"x": pa.array([1])})])
        return flight.RecordBatchStream(pa.RecordBatchReader.from_batches(table.schema, table.to_batches()))


async def test_questions_verify_the_certificate(certificate: tuple[Path, Path]) -> None:
    """Reading is held to the same: an unknown certificate is refused, ca_file vouches for it."""
    port = unused_port()
    cert, key = certificate
    server = OneRow(f"grpc+tls://127.0.0.1:{port}", tls_certificates=[(cert.read_bytes(), key.read_bytes())])
    serving = asyncio.create_task(asyncio.to_thread(server.serve))
    for ca_file in (None, str(cert)):
        client = InfluxClient(InfluxDB(url=f"https://127.0.0.1:{port}", ca_file=ca_file))
        if ca_file is None:
            with pytest.raises(RetryableError):
                await asyncio.to_thread(lambda asked=client: list(asked.ask("db", "SELECT 1", {})))
        else:
            (batch,) = await asyncio.to_thread(lambda asked=client: list(asked.ask("db", "SELECT 1", {})))
            assert batch.to_pylist() == [{"x": 1}]
        client.close()
    await asyncio.to_thread(server.shutdown)
    await serving


async def test_a_ca_file_that_is_missing_stops_the_start(tmp_path: Path) -> None:
    """A CA file that cannot be read is an error at start, with its name."""
    store = InfluxStore(InfluxDB(url="https://localhost", ca_file=str(tmp_path / "none.pem")), ManualClock(), Metrics())
    with pytest.raises(StartupError, match=r"none\.pem"):
        await store.open()


async def test_a_missing_package_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the error says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "sentinel.storage.influx_client", None)
    with pytest.raises(StartupError, match=r"pip install 'llm-sentinel\[influxdb\]'"):
        await InfluxStore(InfluxDB(), ManualClock(), Metrics()).open()


async def test_a_store_that_is_not_open_says_so() -> None:
    """Using a store before it is open is an error in words."""
    store = InfluxStore(InfluxDB(), ManualClock(), Metrics())
    for use in (store.ping(), store.position(LOG), store.write([plain(1)]), store.counts()):
        with pytest.raises(RuntimeError, match="not open"):
            await use


async def test_counts_and_retention(double: InfluxDouble) -> None:
    """Counts are what this process stored; retention is the server's."""
    async with opened(double) as store:
        await store.write([plain(7)])
        await store.write([plain(7)])
        counts = await store.counts()
        assert (counts.events, counts.anomalies) == (7, 0)
        assert await store.prune(START_NS * 2) == 0
    assert stored(double) == double.rows(TELEMETRY, EVENTS) == 7
