"""What stands in front of every request: who may ask from where, how errors look, which headers every answer has."""

import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
import structlog
from api_client import Client, Started, event
from yarl import URL

from sentinel.api import guard
from sentinel.config.schema import Api

PAGE = "https://dashboard.example.com"
JSON = {"Content-Type": "application/json"}
BODY = json.dumps(event(1)).encode()


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """What is logged meanwhile."""
    with structlog.testing.capture_logs() as entries:
        yield entries


# ------------------------------------------------------------------------------------------------------------------- CORS


async def test_without_cors_no_other_page_may_read_or_write(client: Client) -> None:
    """CORS is off: no permission in any answer, and a POST of another page is refused before it does anything."""
    read = await client.get("/api/v1/status", headers={"Origin": PAGE})
    assert "Access-Control-Allow-Origin" not in read.headers
    for origin in (PAGE, "null", "http://127.0.0.1:1", "http://[", "x", f"https://127.0.0.1:{client.daemon.server.port}.evil.com"):
        assert (await client.post(BODY, headers={"Origin": origin})).status == 403, origin
    asked = await client.call("OPTIONS", "/api/v1/events", headers={"Origin": PAGE, "Access-Control-Request-Method": "POST"})
    assert (asked.status, "Access-Control-Allow-Origin" in asked.headers) == (403, False) or asked.status == 405
    assert (await client.get("/api/v1/status")).json["events_received"] == 0


async def test_our_own_page_may_write(client: Client) -> None:
    """The same origin, as browsers send it with every POST."""
    assert (await client.post(BODY, headers={"Origin": client.url})).status == 202


async def test_cors_lets_the_named_origins_in_and_no_other(start: Started) -> None:
    """cors_origins: exactly these, in answers, errors and preflights; never with credentials."""
    client = await start(api=Api(enable_cors=True, cors_origins=[PAGE]))
    for path, status in (("/api/v1/status", 200), ("/api/v1/telemetry?limit=0", 400), ("/nothing", 404)):
        answer = await client.get(path, headers={"Origin": PAGE})
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"], answer.headers["Vary"]) == (status, PAGE, "Origin")
        assert "Access-Control-Allow-Credentials" not in answer.headers
    preflight = await client.call("OPTIONS", "/api/v1/events", headers={"Origin": PAGE, "Access-Control-Request-Method": "POST"})
    assert (preflight.status, preflight.headers["Access-Control-Allow-Origin"]) == (204, PAGE)
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    assert "Content-Type" in preflight.headers["Access-Control-Allow-Headers"]
    assert (await client.post(BODY, headers={"Origin": PAGE})).status == 202
    for other in ("https://evil.example.com", PAGE + ".evil.com", PAGE.upper(), "http://dashboard.example.com"):
        assert "Access-Control-Allow-Origin" not in (await client.get("/api/v1/status", headers={"Origin": other})).headers
        assert (await client.post(BODY, headers={"Origin": other})).status == 403


async def test_cors_for_any_origin(start: Started) -> None:
    """`*` lets every page in, and says so without naming one."""
    client = await start(api=Api(enable_cors=True, cors_origins=["*"]))
    answer = await client.post(BODY, headers={"Origin": "https://anything.example"})
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (202, "*")
    assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_origins_without_enable_cors_do_nothing(start: Started) -> None:
    """Both keys are needed: a list alone opens nothing."""
    client = await start(api=Api(enable_cors=False, cors_origins=[PAGE, "*"]))
    assert (await client.post(BODY, headers={"Origin": PAGE})).status == 403


# ------------------------------------------------------------------------------------------------------------------ hosts


@pytest.mark.parametrize(
    "host", ["evil.example.com", "evil.example.com:8080", "127.0.0.1.evil.com", "[", "", "localhost.evil", "10.0.0.1", "@"]
)
async def test_a_foreign_host_name_is_turned_away(client: Client, host: str) -> None:
    """A name that was pointed at loopback (DNS rebinding) gets nothing, on any path."""
    for path in ("/api/v1/telemetry", "/", "/metrics", "/static/app.js", "/nothing"):
        answer = await client.get(path, headers={"Host": host})
        assert (answer.status, b"evil" in answer.body) == (421, False)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:9", "[::1]:8080"])
async def test_loopback_names_are_ours(client: Client, host: str) -> None:
    """All spellings of loopback, with any port: port forwarding changes it."""
    assert (await client.get("/health/live", headers={"Host": host})).status == 200


# ---------------------------------------------------------------------------------------------------------------- answers


async def test_every_answer_has_the_security_headers(client: Client) -> None:
    """Pages, files, data, errors: no sniffing, no referrer, no store, a strict content security policy, no version of the server."""
    paths = (
        "/",
        "/docs",
        "/static/app.js",
        "/metrics",
        "/health/ready",
        "/api/v1/status",
        "/api/v1/openapi.json",
        "/nothing",
        "/static/no",
    )
    answers = [await client.get(path) for path in paths]
    answers.append(await client.get("/", headers={"Host": "evil"}))
    answers.append(await client.post(BODY, headers={"Origin": PAGE}))
    answers.append(await client.call("DELETE", "/api/v1/status"))
    answers.append(await client.post(b"x" * 11_000_000))
    assert {answer.status for answer in answers} == {200, 403, 404, 405, 413, 421}
    for answer in answers:
        for name, value in guard.HEADERS.items():
            assert answer.headers[name] == value
        assert "aiohttp" not in str(answer.headers)
        assert "unsafe" not in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("method", "path", "status", "title"),
    [
        ("GET", "/nothing", 404, "Not Found"),
        ("GET", "/api/v1/nothing", 404, "Not Found"),
        ("GET", "/static/none.js", 404, "Not Found"),
        ("GET", "/static/", 404, "Not Found"),
        ("POST", "/api/v1/status", 405, "Method Not Allowed"),
        ("GET", "/api/v1/events", 405, "Method Not Allowed"),
        ("DELETE", "/api/v1/anomalies/x", 405, "Method Not Allowed"),
    ],
)
async def test_errors_are_problems(client: Client, method: str, path: str, status: int, title: str) -> None:
    """What is not there and what may not be done: problem+json with status, title and where to look."""
    answer = await client.call(method, path)
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert (answer.json["status"], answer.json["title"], answer.json["type"]) == (status, title, "about:blank")
    assert (status == 405) == ("Allow" in answer.headers)


async def test_a_failure_of_ours_says_nothing_about_our_insides(client: Client, logged: list[Any]) -> None:
    """500: the answer is general, the log has the traceback."""

    async def broken() -> object:
        raise RuntimeError("secret insides at /etc/passwd")

    client.daemon.context.counts = broken
    answer = await client.get("/api/v1/status")
    assert (answer.status, answer.headers["Content-Type"]) == (500, "application/problem+json")
    assert b"secret" not in answer.body
    assert b"RuntimeError" not in answer.body
    (entry,) = [entry for entry in logged if entry["event"] == "request failed"]
    assert entry["log_level"] == "error"
    assert (await client.get("/health/ready")).status == 200


# ------------------------------------------------------------------------------------------------------------------ pages


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/docs", "text/html"),
        ("/static/app.js", ("text/javascript", "application/javascript")),
        ("/static/style.css", "text/css"),
    ],
)
async def test_pages_and_files_are_served(client: Client, path: str, kind: str | tuple[str, ...]) -> None:
    """The status page, the reference and what they load."""
    answer = await client.get(path)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith(kind)
    assert len(answer.body) > 100


@pytest.mark.parametrize(
    "path", ["/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2fserver.py", "/static/%2fetc/passwd", "//etc/passwd"]
)
async def test_nothing_else_is_served(client: Client, path: str) -> None:
    """No path leads out of the directory."""
    async with aiohttp.ClientSession() as session, session.get(URL(client.url + path, encoded=True)) as answer:
        assert answer.status in {403, 404}
        assert b"import" not in await answer.read()


# -------------------------------------------------------------------------------------------------------------------- keys


@pytest.mark.parametrize("enabled", [True, False])
async def test_requests_are_logged_when_wanted(start: Started, logged: list[Any], *, enabled: bool) -> None:
    """api.enable_logging: one entry a request with method, route and status, without the path, which comes from outside."""
    client = await start(api=Api(enable_logging=enabled))
    await client.get("/api/v1/anomalies/secret-id")
    entries = [entry for entry in logged if entry["event"] == "request"]
    assert len(entries) == int(enabled)
    assert "secret-id" not in str(entries)
    if enabled:
        assert (entries[0]["method"], entries[0]["route"], entries[0]["status"]) == ("GET", "/api/v1/anomalies/{id}", 404)


async def test_the_metrics_path_is_where_it_is_configured(start: Started) -> None:
    """api.metrics_path moves the metrics and their documentation."""
    client = await start(api=Api(metrics_path="/observe/prometheus"))
    assert b"sentinel_ready" in (await client.get("/observe/prometheus")).body
    assert (await client.get("/metrics")).status == 404
    assert "/observe/prometheus" in (await client.get("/api/v1/openapi.json")).json["paths"]
