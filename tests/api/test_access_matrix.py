"""Every operation against every kind of caller, generated from the OpenAPI document: it answers as the document declares."""

from typing import Any

import pytest
from api_client import Answer, Client, Obedient, Started, event
from key_ring import KeyRing

from sentinel.api.operation import Operation
from sentinel.app.daemon import Daemon
from sentinel.config.schema import Api
from sentinel.core.access import GRANTS, Role, Scope

NOBODY = ("none", "empty", "malformed", "wrong kid", "wrong secret", "expired", "revoked")
CALLERS = (*NOBODY, *(role.value for role in Role))
OPEN = {"/health/live", "/health/ready", "/health/startup", "/api/v1/health", "/metrics"}
"""What a daemon on loopback tells to everybody although keys are required; a new path does not get in here by mistake."""


@pytest.fixture
async def guarded(start: Started, ring: KeyRing) -> Client:
    """A client of a daemon that requires keys."""
    obedient = Obedient()

    def prepare(daemon: Daemon) -> None:
        ring.under(daemon)
        obedient(daemon)

    return await start(api=Api(require_keys=True), prepare=prepare)


def declared(operation: dict[str, Any]) -> Scope:
    """The scope an operation of the document needs."""
    scopes = {scope for scheme in operation["security"] for needed in scheme.values() for scope in needed}
    return Scope(scopes.pop()) if scopes else Scope.PUBLIC


def expected(caller: str, scope: Scope) -> int | None:
    """The refusal a caller should get; None when it is let in."""
    if scope is Scope.PUBLIC:
        return None
    if caller in NOBODY:
        return 401
    return None if scope in GRANTS[Role(caller)] else 403


async def ask(client: Client, method: str, path: str, headers: dict[str, str]) -> Answer:
    """A request of an operation, well formed as far as access is concerned."""
    body = {"json": event(1)} if method == "POST" else {}
    return await client.call(method, path.replace("{id}", "none"), headers=headers, **body)


@pytest.mark.parametrize("caller", CALLERS)
async def test_every_operation_answers_as_declared(guarded: Client, ring: KeyRing, caller: str) -> None:
    """Let in or turned away with 401 or 403, as a problem, with a documented status: nothing else for any operation."""
    described = (await guarded.get("/api/v1/openapi.json", headers=ring.given("viewer"))).json["paths"]
    checked = 0
    for path, methods in described.items():
        for method, operation in methods.items():
            ring.clock.advance(60)  # failed attempts have a limit of their own
            answer = await ask(guarded, method.upper(), path, ring.given(caller))
            refusal = expected(caller, declared(operation))
            assert answer.status == refusal or (refusal is None and answer.status not in {401, 403, 429}), (path, answer.body)
            assert str(answer.status) in operation["responses"], (path, answer.status)
            if refusal is not None:
                assert (answer.headers["Content-Type"], answer.json["status"]) == ("application/problem+json", refusal)
                assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="llm-sentinel"')
                assert refusal == 401 or f"`{declared(operation)}`" in answer.json["detail"]
            checked += 1
    assert checked >= 15


async def test_what_is_open_is_on_a_list(guarded: Client, ring: KeyRing) -> None:
    """Only probes, and metrics on loopback, need no key; sending events needs another scope than reading them."""
    described = (await guarded.get("/api/v1/openapi.json", headers=ring.given("viewer"))).json["paths"]
    scopes = {(method, path): declared(operation) for path, methods in described.items() for method, operation in methods.items()}
    assert {path for (_, path), scope in scopes.items() if scope is Scope.PUBLIC} == OPEN
    assert {path for (_, path), scope in scopes.items() if scope is Scope.INGEST} == {"/api/v1/events"}
    assert scopes["post", "/api/v1/metrics/timeseries"] is Scope.READ


async def test_pages_and_their_files_need_no_key(guarded: Client) -> None:
    """They hold no data; what is not there is told without a key as well."""
    for path in ("/", "/docs", "/static/app.js", "/static/style.css"):
        assert (await guarded.get(path)).status == 200, path
    assert (await guarded.get("/nothing")).status == 404
    assert (await guarded.call("DELETE", "/api/v1/status")).status == 405


async def test_head_needs_what_get_needs(guarded: Client, ring: KeyRing) -> None:
    """HEAD is no way around a key."""
    assert (await guarded.call("HEAD", "/api/v1/status")).status == 401
    assert (await guarded.call("HEAD", "/api/v1/status", headers=ring.given("viewer"))).status == 200


async def test_the_document_says_whether_a_key_may_be_left_out(client: Client, guarded: Client, ring: KeyRing) -> None:
    """Where no key is required, every operation lists the empty alternative; the schemes are both headers, never the query."""
    for document, optional in (
        ((await client.get("/api/v1/openapi.json")).json, True),
        ((await guarded.get("/api/v1/openapi.json", headers=ring.given("admin"))).json, False),
    ):
        assert ({} in document["paths"]["/api/v1/status"]["get"]["security"]) is optional
        schemes = document["components"]["securitySchemes"]
        assert {(scheme.get("in"), scheme.get("scheme")) for scheme in schemes.values()} == {("header", None), (None, "bearer")}


def test_an_operation_without_a_scope_cannot_be_made() -> None:
    """Deny by default: nobody can forget to say who may call it."""
    with pytest.raises(TypeError, match="scope"):
        Operation("GET", "/api/v1/new", None, "New", {200: "New"})  # type: ignore[arg-type,call-arg]  what is being tested
