"""The webhook receiver against real HTTP servers."""

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from delivery_inputs import notification
from standardwebhooks.webhooks import Webhook as ReferenceWebhook
from tls_inputs import certificate, server_context

from sentinel.alerting.errors import GoneError, RefusedError
from sentinel.alerting.sign import BODY_SIGNATURE, ID, SIGNATURE, TIMESTAMP
from sentinel.alerting.webhook import MOST_READ_BYTES, Webhook
from sentinel.app.clock import SystemClock
from sentinel.config.secret import Secret
from sentinel.config.sections_alerting import Webhook as WebhookConfig
from sentinel.core.errors import RetryableError, StartupError
from sentinel.observability.metrics import Metrics
from sentinel.testing.fakes import ManualClock

SECRET = "whsec_c2VudGluZWwtc2VudGluZWwtc2VudGluZWw="
Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Target:
    """A server that keeps what it got and answers as told."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.peers: set[object] = set()
        self.answer: Answer = self.plain
        self.status = 204
        self.headers: dict[str, str] = {}
        self.port = 0

    async def got(self, request: web.BaseRequest) -> web.StreamResponse:
        """Keep the request and answer."""
        self.requests.append((request.method, dict(request.headers), await request.read()))
        if request.transport is not None:
            self.peers.add(request.transport.get_extra_info("peername"))
        return await self.answer(request)

    async def plain(self, _request: web.BaseRequest) -> web.StreamResponse:
        """The status and headers."""
        return web.Response(status=self.status, headers=self.headers)


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    """A server on this machine."""
    async with serving() as made:
        yield made


@contextlib.asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Target]:
    """A server on this machine, with TLS when asked."""
    target = Target()
    server = web.Server(target.got)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0, ssl=tls)
    target.port = listener.sockets[0].getsockname()[1]
    try:
        yield target
    finally:
        listener.close()
        await server.shutdown(0.1)


@contextlib.asynccontextmanager
async def webhook(
    target: Target | None = None, clock: object = None, metrics: Metrics | None = None, **settings: object
) -> AsyncIterator[Webhook]:
    """An open webhook to the server."""
    basic = {"enabled": True, "allowed_networks": ["127.0.0.0/8"], "secret": Secret(SECRET), "timeout_secs": 5.0}
    if target is not None:
        basic["url"] = f"http://127.0.0.1:{target.port}/hook?token=hush"
    made = Webhook(WebhookConfig(**(basic | settings)), clock or SystemClock(), metrics or Metrics())  # type: ignore[arg-type]  # any Clock
    await made.open()
    try:
        yield made
    finally:
        await made.close()


async def test_an_alert_arrives_signed(target: Target) -> None:
    """One POST with the JSON body, the standard's headers and ours; the reference library verifies it."""
    async with webhook(target) as hook:
        await hook.send(notification(1))
    (method, headers, body) = target.requests[0]
    assert method == "POST"
    assert headers["Content-Type"] == "application/json"
    assert headers[ID] == "ntf-000001"
    assert headers[BODY_SIGNATURE].startswith("sha256=")
    assert ReferenceWebhook(SECRET).verify(body, headers)["data"]["notification_id"] == "ntf-000001"


async def test_a_repeat_has_the_same_id_and_a_fresh_time(target: Target) -> None:
    """Receivers know it again by its id, and do not take it for a replay."""
    clock = ManualClock()
    async with webhook(target, clock) as hook:
        await hook.send(notification(1))
        clock.advance(3_600)
        await hook.send(notification(1, attempts=4))
    (_, first, body), (_, second, again) = target.requests
    assert (first[ID], body) == (second[ID], again)
    assert int(second[TIMESTAMP]) - int(first[TIMESTAMP]) == 3_600
    assert first[SIGNATURE] != second[SIGNATURE]


async def test_while_rotating_both_secrets_sign(target: Target) -> None:
    """No delivery fails: a receiver with either secret verifies."""
    other = "whsec_" + "bmV3" * 10
    async with webhook(target, secret_next=Secret(other)) as hook:
        await hook.send(notification(1))
    for secret in (SECRET, other):
        ReferenceWebhook(secret).verify(target.requests[0][2], target.requests[0][1])


async def test_without_a_secret_nothing_is_signed(target: Target) -> None:
    """It is sent all the same."""
    async with webhook(target, secret=None) as hook:
        await hook.send(notification(1))
    assert SIGNATURE not in target.requests[0][1]


async def test_a_raw_text_secret_is_its_own_key(target: Target) -> None:
    """A secret without `whsec_` is used as it is."""
    async with webhook(target, secret=Secret("a secret of more than 24 bytes")) as hook:
        await hook.send(notification(1))
    ReferenceWebhook(b"a secret of more than 24 bytes").verify(target.requests[0][2], target.requests[0][1])


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_the_method_is_the_configured_one(target: Target, method: str) -> None:
    """POST or PUT."""
    async with webhook(target, method=method) as hook:
        await hook.send(notification(1))
    assert target.requests[0][0] == method


async def test_several_alerts_share_a_request(target: Target) -> None:
    """One body of type `alert.batch`, signed, with every alert in it."""
    async with webhook(target) as hook:
        await hook.send_together([notification(1), notification(2)])
    body = ReferenceWebhook(SECRET).verify(target.requests[0][2], target.requests[0][1])
    assert body["type"] == "alert.batch"
    assert [alert["notification_id"] for alert in body["data"]["alerts"]] == ["ntf-000001", "ntf-000002"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(target: Target, status: int) -> None:
    """One request, to the configured place only, and an error that says what to do."""
    async with serving() as inner:
        target.status, target.headers = status, {"Location": f"http://127.0.0.1:{inner.port}/inner"}
        async with webhook(target) as hook:
            with pytest.raises(RefusedError, match="redirects are not followed"):
                await hook.send(notification(1))
        assert (len(target.requests), len(inner.requests)) == (1, 0)


@pytest.mark.parametrize(("status", "kind"), [(410, GoneError), (404, RefusedError), (500, RetryableError), (429, RetryableError)])
async def test_the_answer_decides(target: Target, status: int, kind: type[Exception]) -> None:
    """410 ends it, 4xx is for people, the rest passes; none is a success, and the URL's secret part is never told."""
    target.status = status
    metrics = Metrics()
    async with webhook(target, metrics=metrics) as hook:
        with pytest.raises(kind) as raised:
            await hook.send(notification(1))
    assert type(raised.value) is kind
    assert "hush" not in str(raised.value)
    assert metrics.registry.get_sample_value("sentinel_webhook_failures_total") == 1


async def test_success_is_counted(target: Target) -> None:
    """By the delivery, not by the alert."""
    metrics = Metrics()
    async with webhook(target, metrics=metrics) as hook:
        await hook.send_together([notification(1), notification(2)])
    assert metrics.registry.get_sample_value("sentinel_webhook_deliveries_total") == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_told_on(target: Target, status: int) -> None:
    """The seconds it asks for stand in the error."""
    target.status, target.headers = status, {"Retry-After": "17"}
    async with webhook(target) as hook:
        with pytest.raises(RetryableError) as raised:
            await hook.send(notification(1))
    assert raised.value.after_s == 17


async def test_a_body_without_end_is_cut(target: Target) -> None:
    """A success with a gigabyte behind it is a success; what is read is bounded, and the connection is not used again."""
    written = 0

    async def flood(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while written < 10**9:
                await response.write(b"x" * 65_536)
                written += 65_536
        return response

    target.answer = flood
    async with webhook(target) as hook:
        await hook.send(notification(1))
        target.answer = target.plain
        await hook.send(notification(2))
    assert written < 200 * MOST_READ_BYTES
    assert len(target.peers) == 2


async def test_a_slow_body_costs_the_connection_not_the_delivery(target: Target) -> None:
    """The status came in time: that is what counts."""
    ended = asyncio.Event()

    async def drip(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x")
        await ended.wait()
        return response

    target.answer = drip
    async with webhook(target) as hook:
        await hook.send(notification(1))
    ended.set()


async def test_one_connection_serves_many_messages(target: Target) -> None:
    """An answer that is read to its end leaves the connection open."""
    async with webhook(target) as hook:
        for number in range(5):
            await hook.send(notification(number))
    assert len(target.peers) == 1


@pytest.mark.parametrize("timeout_s", [0.2, 0.4])
async def test_a_silent_server_is_given_up(target: Target, timeout_s: float) -> None:
    """After the configured time the sending fails, and says so."""
    never = asyncio.Event()

    async def silent(_request: web.BaseRequest) -> web.StreamResponse:
        await never.wait()
        return web.Response()

    target.answer = silent
    async with webhook(target, timeout_secs=timeout_s) as hook:
        with pytest.raises(RetryableError, match=f"did not answer within {timeout_s:g} s"):
            await hook.send(notification(1))
    never.set()


@pytest.mark.parametrize(
    "reply", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"SSH-2.0-OpenSSH_9\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 99_999]
)
async def test_what_speaks_no_http_is_a_failure(reply: bytes) -> None:
    """A connection that ends, other protocols and endless headers: tried again later."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server, webhook(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/") as hook:
        with pytest.raises(RetryableError, match="hung up, or did not speak HTTP"):
            await hook.send(notification(1))


async def test_nobody_there_is_a_failure() -> None:
    """A closed port and a name that does not exist: both said in words."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    async with webhook(url=f"http://127.0.0.1:{port}/") as hook:
        with pytest.raises(RetryableError, match="cannot be connected to"):
            await hook.send(notification(1))
    async with webhook(url="https://name.invalid/") as hook:
        with pytest.raises(RetryableError, match="cannot be resolved"):
            await hook.send(notification(1))


async def test_proxies_of_the_environment_are_not_used(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would connect where we must not."""
    async with serving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with webhook(target) as hook:
            await hook.send(notification(1))
        assert (len(target.requests), len(proxy.requests)) == (1, 0)


async def test_cookies_are_not_kept(target: Target) -> None:
    """What one answer sets, the next request does not tell."""
    target.headers = {"Set-Cookie": "a=b; Path=/"}
    async with webhook(target) as hook:
        await hook.send(notification(1))
        await hook.send(notification(2))
    assert "Cookie" not in target.requests[1][1]


async def test_tls_is_verified(tmp_path: Path) -> None:
    """With the right authority it arrives; with the system's, or a certificate of another name, it does not, and says why."""
    good, foreign = certificate(tmp_path), certificate(tmp_path, "other.example")
    async with serving(server_context(good)) as target:
        url = f"https://localhost:{target.port}/"
        nets = ["127.0.0.0/8", "::1/128"]
        async with webhook(url=url, ca_file=str(good[0]), allowed_networks=nets) as hook:
            await hook.send(notification(1))
        async with webhook(url=url, allowed_networks=nets) as hook:
            with pytest.raises(RefusedError, match="cannot be trusted"):
                await hook.send(notification(2))
    async with serving(server_context(foreign)) as target:
        url = f"https://localhost:{target.port}/"
        async with webhook(url=url, ca_file=str(foreign[0]), allowed_networks=nets) as hook:
            with pytest.raises(RefusedError, match="cannot be trusted"):
                await hook.send(notification(3))
        assert not target.requests


async def test_a_port_without_tls_is_told() -> None:
    """https:// to a plain port: the error names the URL."""
    async with serving() as target, webhook(url=f"https://127.0.0.1:{target.port}/") as hook:
        with pytest.raises(RefusedError, match="does not speak TLS"):
            await hook.send(notification(1))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"url": None}, "alerting.webhook.url is not set"),
        ({"secret": Secret("whsec_%%%")}, "alerting.webhook.secret cannot be used"),
        ({"secret_next": Secret("whsec_")}, "alerting.webhook.secret_next cannot be used"),
        ({"ca_file": "/nowhere/ca.pem"}, "alerting.webhook.ca_file /nowhere/ca.pem"),
    ],
)
async def test_what_cannot_work_is_said_at_the_start(settings: dict[str, object], words: str) -> None:
    """With the key and the cure, and without the secret."""
    with pytest.raises(StartupError, match=words) as raised:
        async with webhook(**({"url": "https://alerts.example/"} | settings)):
            pass
    assert "%%%" not in str(raised.value)


@pytest.mark.parametrize("limit", [1, 3])
async def test_as_many_requests_at_once_as_allowed(target: Target, limit: int) -> None:
    """More wait for a connection."""
    running = most = 0

    async def counted(_request: web.BaseRequest) -> web.StreamResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(20):
            await asyncio.sleep(0)
        running -= 1
        return web.Response()

    target.answer = counted
    async with webhook(target, max_in_flight=limit) as hook:
        await asyncio.gather(*(hook.send(notification(number)) for number in range(9)))
    assert most == limit


async def test_bodies_are_json_as_documented(target: Target) -> None:
    """`{"type", "timestamp", "data"}` and nothing else."""
    async with webhook(target) as hook:
        await hook.send(notification(1))
    assert set(json.loads(target.requests[0][2])) == {"type", "timestamp", "data"}


async def test_closing_twice_is_harmless() -> None:
    """And a closed one fails as an outage does."""
    async with webhook(url="https://alerts.example/") as hook:
        await hook.close()
        with pytest.raises(RetryableError):
            await hook.send(notification(1))
