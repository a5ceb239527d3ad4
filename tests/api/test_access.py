"""Keys at the door: how they are sent, what they open, that they act at once, and that they are never told to anybody."""

import asyncio
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from api_client import Client, Started, running
from key_ring import KeyRing

from sentinel.api.access import QUERY_NAMES, Access, actor, keys_required, metrics_are_public
from sentinel.config.schema import Api, Config
from sentinel.core import access
from sentinel.core.access import GRANTS, ApiKey, Refusal, Role, Scope, admitted, digest_of, spelled
from sentinel.observability.metrics import Metrics

STATUS = "/api/v1/status"
EVERYWHERE = "0.0.0.0:0"
LOOPBACK = "127.0.0.1:0"


@pytest.fixture
async def guarded(start: Started, ring: KeyRing) -> Client:
    """A client of a daemon that requires keys."""
    return await start(api=Api(require_keys=True), prepare=ring.under)


# ------------------------------------------------------------------------------------------------------------- how it is sent


async def test_a_key_is_sent_in_one_of_two_headers(guarded: Client, ring: KeyRing) -> None:
    """X-API-Key, or Authorization: Bearer in any case; the first wins, and other schemes are not ours."""
    key, other = ring.texts["viewer"], ring.texts["ingester"]
    for headers, status in (
        ({"X-API-Key": key}, 200),
        ({"x-api-key": key}, 200),
        ({"Authorization": f"Bearer {key}"}, 200),
        ({"Authorization": f"bearer   {key} "}, 200),
        ({"X-API-Key": key, "Authorization": f"Bearer {other}"}, 200),
        ({"X-API-Key": other, "Authorization": f"Bearer {key}"}, 403),
        ({"X-API-Key": key, "Authorization": "Basic dTpw"}, 200),
        ({"Authorization": f"Basic {key}"}, 401),
        ({"Authorization": key}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Cookie": f"X-API-Key={key}"}, 401),
        ({"X-API-Key": key.upper()}, 401),
        ({"X-API-Key": key + "0"}, 401),
        ({"X-API-Key": "k\u00e4y\udc80"}, 401),
    ):
        assert (await guarded.get(STATUS, headers=headers)).status == status, headers


@pytest.mark.parametrize("name", [*sorted(QUERY_NAMES), "API_KEY", "anything"])
async def test_a_key_in_the_address_is_refused(guarded: Client, ring: KeyRing, name: str) -> None:
    """400 with what to do, even beside a good header, on every path, and without quoting the key."""
    for path in (STATUS, "/health/live", "/", "/nothing"):
        answer = await guarded.get(f"{path}?{name}={ring.texts['admin']}", headers=ring.given("admin"))
        assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json")
        assert "X-API-Key" in answer.json["detail"]
        assert "revoke" in answer.json["detail"]
        assert ring.texts["admin"][-20:] not in answer.body.decode()


async def test_a_key_in_a_path_or_a_name_is_refused(guarded: Client, ring: KeyRing) -> None:
    """Wherever in the address it stands, also when it is percent-encoded or only the beginning of one."""
    key = ring.texts["admin"]
    encoded = "".join(f"%{ord(character):02x}" for character in key[:30])
    for path in (f"/api/v1/anomalies/{key}", f"{STATUS}?{key}=1", f"{STATUS}?a={key[:40]}", f"/{encoded}"):
        answer = await guarded.get(path, headers=ring.given("admin"))
        assert answer.status == 400, path
        assert key[30:40] not in answer.body.decode()


async def test_names_like_ours_are_no_keys(guarded: Client, ring: KeyRing) -> None:
    """A service whose name begins like a key can be asked for."""
    for name in ("sntl_chat", "sntl_0123456789abcdef"):
        assert (await guarded.get(f"/api/v1/telemetry?service={name}", headers=ring.given("viewer"))).status == 200


# --------------------------------------------------------------------------------------------------------------- what it opens


async def _ask_routes(keys: KeyRing, name: str, api: Api) -> dict[str, tuple[int, str]]:
    """Status and actor for a route of each scope and one that nobody declared, as a holder of this key sees them."""

    async def who(request: web.Request) -> web.Response:
        return web.Response(text=actor(request))

    routes = {("GET", f"/{scope}"): scope for scope in Scope}
    app = web.Application(middlewares=[Access(api, keys.cache, routes, keys.clock, Metrics()).middleware])
    for _, path in (*routes, ("GET", "/undeclared")):
        app.router.add_get(path, who)
    answers = {}
    async with TestClient(TestServer(app)) as client:
        for path in (*(scope.value for scope in Scope), "undeclared"):
            async with client.get(f"/{path}", headers=keys.given(name)) as answer:
                answers[path] = (answer.status, await answer.text())
    return answers


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_opens_its_scopes_and_no_other(ring: KeyRing, role: Role) -> None:
    """Every scope against every role; a route that nobody declared is for admins; what is done is done by the key's kid."""
    answers = await _ask_routes(ring, role.value, Api(require_keys=True))
    for scope in Scope:
        status, text = answers[scope.value]
        assert status == (200 if scope in GRANTS[role] else 403), scope
        if status == 200 and scope is not Scope.PUBLIC:
            assert text == access.kid_of(ring.texts[role.value])
        elif status == 403:
            assert f"`{scope}`" in text
            assert role.value in text
    assert answers["undeclared"][0] == (200 if role is Role.ADMIN else 403)


async def test_several_roles_add_up(ring: KeyRing) -> None:
    """A key may be for reading and sending."""
    await ring.make("both", Role.VIEWER, Role.INGESTER)
    await ring.cache.refresh()
    answers = await _ask_routes(ring, "both", Api(require_keys=True))
    assert {path for path, (status, _) in answers.items() if status == 200} == {"public", "read", "ingest"}


async def test_where_no_key_is_required_a_given_one_still_counts(ring: KeyRing) -> None:
    """Without a key everything is open on loopback; a key that is given is judged, so that a wrong one is noticed early."""
    everybody = await _ask_routes(ring, "none", Api())
    assert set(everybody.values()) == {(200, "anonymous")}
    assert (await _ask_routes(ring, "viewer", Api()))["operate"][0] == 403
    assert (await _ask_routes(ring, "wrong kid", Api()))["read"][0] == 401


@pytest.mark.parametrize(
    ("api", "without_key", "metrics"),
    [
        (Api(bind_addr=LOOPBACK), 200, 200),
        (Api(bind_addr=LOOPBACK, require_keys=False), 200, 200),
        (Api(bind_addr=LOOPBACK, require_keys=True), 401, 200),
        (Api(bind_addr=EVERYWHERE), 401, 401),
        (Api(bind_addr=EVERYWHERE, require_keys=True), 401, 401),
        (Api(bind_addr=EVERYWHERE, metrics_public=True), 401, 200),
        (Api(bind_addr="[::]:0"), 401, 401),
    ],
)
async def test_keys_are_required_where_others_could_come_in(
    tmp_path: Path, ring: KeyRing, api: Api, without_key: int, metrics: int
) -> None:
    """require_keys, its default, and metrics_public, each on a socket that really listens there."""
    settings = Config(state_dir=str(tmp_path / "state"), api=api)
    async with running(settings, ring.under) as (daemon, _), aiohttp.ClientSession() as session:
        client = Client(daemon, session)
        client.url = client.url.replace("127.0.0.1", "[::1]") if api.bind_addr.startswith("[") else client.url
        assert (await client.get(STATUS)).status == without_key
        assert (await client.get("/metrics")).status == metrics
        for path in (STATUS, "/metrics"):
            assert (await client.get(path, headers=ring.given("viewer"))).status == 200
        assert (await client.get("/health/live")).status == 200


@pytest.mark.parametrize(
    ("address", "required"),
    [("127.0.0.1:1", False), ("127.9.9.9:1", False), ("[::1]:1", False), ("localhost:1", False), (":1", True), ("10.0.0.1:1", True)],
)
def test_only_loopback_needs_no_key_by_itself(address: str, required: bool) -> None:
    """Every interface, an address of a network, a name that a resolver knows: others could come in."""
    assert keys_required(Api(bind_addr=address)) is required
    assert metrics_are_public(Api(bind_addr=address)) is not required


@pytest.mark.parametrize(("required", "warnings"), [(True, 0), (None, 1), (False, 1)])
async def test_an_open_api_is_told_once(start: Started, ring: KeyRing, required: bool | None, warnings: int) -> None:
    """A start without keys warns once, and names the cure; one with keys does not."""
    with structlog.testing.capture_logs() as entries:
        client = await start(api=Api(require_keys=required), prepare=ring.under)
        await client.get("/health/live")
    found = [entry for entry in entries if "needs no key" in entry["event"]]
    assert len(found) == warnings
    assert all("api.require_keys" in entry["cure"] for entry in found)


# ---------------------------------------------------------------------------------------------------------- when it acts


async def test_new_and_revoked_keys_count_after_the_next_reading(guarded: Client, ring: KeyRing) -> None:
    """No restart: made, used, revoked."""
    await ring.make("late", Role.VIEWER)
    assert (await guarded.get(STATUS, headers=ring.given("late"))).status == 401
    await ring.cache.refresh()
    assert (await guarded.get(STATUS, headers=ring.given("late"))).status == 200
    await ring.revoke("late")
    assert (await guarded.get(STATUS, headers=ring.given("late"))).status == 401


async def test_a_key_expires_by_itself(guarded: Client, ring: KeyRing) -> None:
    """Its time is looked at with every request; its holder, and nobody else, is told that this is the reason."""
    await ring.make("short", Role.VIEWER, expires_ns=ring.clock.now_ns() + 60 * 10**9)
    await ring.cache.refresh()
    assert (await guarded.get(STATUS, headers=ring.given("short"))).status == 200
    ring.clock.advance(60)
    late = await guarded.get(STATUS, headers=ring.given("short"))
    assert (late.status, "expired" in late.json["detail"]) == (401, True)
    guess = await guarded.get(STATUS, headers={"X-API-Key": ring.texts["short"][:-4] + "0000"})
    assert (guess.status, "expired" in guess.json["detail"]) == (401, False)


async def test_before_the_keys_are_read_nobody_is_judged(start: Started, ring: KeyRing) -> None:
    """503 with Retry-After, for good and bad keys; probes and pages answer."""
    ring.cache._keys = None
    client = await start(api=Api(require_keys=True), prepare=ring.under)
    for name in ("admin", "wrong kid", "none"):
        answer = await client.get(STATUS, headers=ring.given(name))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert ((await client.get("/health/live")).status, (await client.get("/")).status) == (200, 200)


# ------------------------------------------------------------------------------------------------------------- what it tells


def _steps(given: str, find: Callable[[str], ApiKey | None]) -> list[tuple[str, int]]:
    """The lines that judging this key runs through, in the rules of access."""
    file, lines = inspect.getsourcefile(access), []

    def trace(frame: FrameType, kind: str, _argument: object) -> Any:
        if frame.f_code.co_filename != file:
            return None
        if kind == "line":
            lines.append((frame.f_code.co_name, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        assert admitted(given, find, 0) is Refusal.UNKNOWN
    finally:
        sys.settrace(before)
    return lines


def test_an_unknown_kid_costs_what_a_wrong_secret_costs() -> None:
    """Wrong kid, wrong secret, revoked and malformed take the same steps: one look-up, one hash, one comparison."""
    good = spelled("a" * 16, "b" * 64)
    key = ApiKey("a" * 16, "n", frozenset(Role), digest_of(good), 0)
    asked: list[str] = []

    def find(kid: str) -> ApiKey | None:
        asked.append(kid)
        return {key.kid: key}.get(kid)

    given = (spelled("a" * 16, "c" * 64), spelled("d" * 16, "b" * 64), "", "x" * 8_000, "\udc80", good[:-1], good + "0")
    paths = [_steps(text, find) for text in given]
    assert paths[0]
    assert all(path == paths[0] for path in paths)
    assert len(asked) == len(given)
    assert admitted(good, find, 0) is key


def test_a_stored_key_says_nothing() -> None:
    """Neither the secret nor its hash is in what a key looks like in a log or an error."""
    text = spelled("a" * 16, "b" * 64)
    key = ApiKey("a" * 16, "n", frozenset(Role), digest_of(text), 0)
    assert digest_of(text).decode() not in repr(key)
    with pytest.raises(ValueError, match="hexadecimal") as error:
        spelled("a" * 16, "B" * 64)
    assert "B" * 8 not in str(error.value)


async def test_the_secret_is_told_nowhere(guarded: Client, ring: KeyRing, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """A canary: keys sent in every right and wrong way are in no answer, no log, no metric and no file."""
    guarded.daemon.context.config = guarded.daemon.context.config.model_copy(update={"api": Api(require_keys=True, enable_logging=True)})
    paths = (STATUS, "/metrics", "/api/v1/openapi.json", "/nothing", "/")
    canaries = [ring.texts["admin"], ring.texts["viewer"], ring.given("wrong secret")["X-API-Key"]]
    answers = []
    with structlog.testing.capture_logs() as entries, caplog.at_level("DEBUG"):
        for key in canaries:
            for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}, {"Authorization": key}, {key: "x"}, {"Cookie": key}):
                answers += [await guarded.get(path, headers=headers) for path in (*paths, f"{STATUS}?{key}={key}", f"/{key}")]
                answers.append(await guarded.post(b'{"broken', headers=headers))
                answers.append(await guarded.call("DELETE", STATUS, headers=headers))
        guarded.daemon.context.counts = _broken
        answers.append(await guarded.get(STATUS, headers=ring.given("admin")))
        metrics = await guarded.get("/metrics")
    assert {200, 400, 401, 403, 404, 405, 500} <= {answer.status for answer in answers}
    files = _everything_in(tmp_path)
    told = [str(entries), caplog.text, metrics.body.decode(), files.decode("latin-1"), repr(ring.cache.__dict__)]
    told += [f"{answer.headers} {answer.body.decode()}" for answer in answers]
    for key in canaries:
        secret = key.partition(".")[2]
        assert not [text for text in told if secret[8:40] in text]


def _everything_in(path: Path) -> bytes:
    """The contents of all files."""
    return b"".join(file.read_bytes() for file in path.rglob("*") if file.is_file())


async def _broken() -> object:
    raise RuntimeError("an error of ours")


async def test_refusals_are_counted_by_reason(guarded: Client, ring: KeyRing) -> None:
    """Each kind of refusal has its own number; who is let in has none."""
    for name in ("none", "wrong kid", "expired", "ingester", "viewer"):
        await guarded.get(STATUS, headers=ring.given(name))
    await guarded.get(f"{STATUS}?api_key=1")
    text = guarded.daemon.metrics.expose("")[0].decode()
    for reason in ("missing", "unknown", "expired", "scope", "in_address"):
        assert f'sentinel_api_refusals_total{{kind="{reason}"}} 1.0' in text


async def test_a_page_of_another_origin_may_send_a_key_when_cors_lets_it(start: Started, ring: KeyRing) -> None:
    """The preflight names the two headers; without a key the answer is 401, and readable."""
    page = "https://dashboard.example.com"
    client = await start(api=Api(require_keys=True, enable_cors=True, cors_origins=[page]), prepare=ring.under)
    preflight = await client.call("OPTIONS", STATUS, headers={"Origin": page, "Access-Control-Request-Method": "GET"})
    assert {"X-API-Key", "Authorization"} <= set(preflight.headers["Access-Control-Allow-Headers"].split(", "))
    refused = await client.get(STATUS, headers={"Origin": page})
    assert (refused.status, refused.headers["Access-Control-Allow-Origin"]) == (401, page)
    assert (await client.get(STATUS, headers={"Origin": page} | ring.given("viewer"))).status == 200


async def test_a_large_body_without_a_key_is_not_read(guarded: Client) -> None:
    """Who is not let in cannot make the daemon hold a body."""
    async with asyncio.timeout(20):
        answer = await guarded.post(b" " * 9_000_000)
    assert answer.status == 401
