"""Asking other replicas: what goes there, what may come back, and how it is told when nothing does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, make_mocked_request

from sentinel.api import peers
from sentinel.api.peers import Missing, Peers
from sentinel.state.replicas import Replica
from tools.servers.process import free_port

HOST = "here"


class Said(msgspec.Struct):
    """An answer."""

    words: list[str]


def replica(url: str | None, host: str = HOST) -> Replica:
    """A replica at an address."""
    return Replica("1", "one", "g", host, url, ["t/0"], 0)


@asynccontextmanager
async def answering(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """A replica that answers so; its address."""
    app = web.Application()
    app.router.add_get("/api/v1/words", handler)
    async with TestServer(app, host="127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.port}"


async def asked(*others: Replica, headers: dict[str, str] | None = None) -> tuple[list[Said], list[Missing]]:
    """The answers of these replicas to one question."""
    asking = Peers(lambda: others, HOST)
    await asking.open()
    try:
        return await asking.ask(make_mocked_request("GET", "/api/v1/words?limit=3&scope=all", headers or {}), Said)
    finally:
        await asking.close()


async def why(*others: Replica) -> str:
    """Why the only one gave no answer."""
    found, (missing,) = await asked(*others)
    assert found == []
    assert (missing.replica, missing.partitions) == ("one", ["t/0"])
    return missing.reason


async def test_the_question_and_the_key_go_along() -> None:
    """The same path and parameters, for that replica alone; the caller's key and no other header."""
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response({"words": ["a"]})

    async with answering(handler) as url:
        found, missing = await asked(replica(url), headers={"X-API-Key": "slk_1", "Cookie": "a=b"})
    assert (found, missing) == ([Said(["a"])], [])
    assert dict(seen[0].query) == {"limit": "3", "scope": "replica"}
    assert seen[0].headers["X-API-Key"] == "slk_1"
    assert "Cookie" not in seen[0].headers


async def test_a_redirect_is_not_followed() -> None:
    """A replica cannot send us elsewhere."""
    elsewhere: list[str] = []

    async def other(request: web.Request) -> web.Response:
        elsewhere.append(request.path)
        return web.json_response({"words": []})

    async with answering(other) as target:

        async def handler(_request: web.Request) -> web.Response:
            raise web.HTTPFound(f"{target}/api/v1/words")

        async with answering(handler) as url:
            assert await why(replica(url)) == "it answered with status 302"
    assert elsewhere == []


async def test_a_long_answer_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit the answer counts as none."""
    monkeypatch.setattr(peers, "MOST_BYTES", 1_000)

    async def handler(_request: web.Request) -> web.Response:
        return web.json_response({"words": ["a" * 10_000]})

    async with answering(handler) as url:
        assert await why(replica(url)) == "its answer has more than 1000 bytes"


async def test_a_slow_replica_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds up nobody beyond the limit."""
    monkeypatch.setattr(peers, "LIMIT_S", 0.05)
    over = asyncio.Event()

    async def handler(_request: web.Request) -> web.Response:
        await over.wait()
        return web.json_response({"words": []})

    async with answering(handler) as url:
        assert await why(replica(url)) == "no answer within 0.05 s"
        over.set()


@pytest.mark.parametrize("body", [b"<html>", b'{"words": 1}', b"[]"])
async def test_another_kind_of_answer_is_none(body: bytes) -> None:
    """What does not have the form of an answer is not passed on."""

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=body)

    async with answering(handler) as url:
        assert await why(replica(url)) == "its answer is not one that this version knows"


async def test_addresses_that_are_not_asked() -> None:
    """None at all, another scheme, and the loopback of another machine, which would be ourselves."""
    assert "set api.advertise_url there" in await why(replica(None))
    assert "none of HTTP" in await why(replica("file:///etc/passwd"))
    assert "loopback of another machine" in await why(replica("http://127.0.0.1:1", host="there"))
    assert "cannot be reached" in await why(replica(f"http://127.0.0.1:{free_port()}"))


async def test_one_answer_does_not_wait_for_its_absence() -> None:
    """Who answers is told beside who does not."""

    async def handler(_request: web.Request) -> web.Response:
        return web.json_response({"words": ["a"]})

    async with answering(handler) as url:
        found, missing = await asked(replica(url), replica(None))
    assert (found, len(missing)) == ([Said(["a"])], 1)
