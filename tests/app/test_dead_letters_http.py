"""Replayed records over HTTP: what a daemon's answers mean, and a real daemon that refused them before."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from daemon_run import config, letters, running, stored, until_stored
from dead_letter_inputs import HTTP, START_NS, letters_of

from sentinel.app.dead_letters.fate import Fate, Original, Verdict
from sentinel.app.dead_letters.in_file import LetterFile
from sentinel.app.dead_letters.letter import DeadLettersError, Letter
from sentinel.app.dead_letters.replay import replay
from sentinel.app.dead_letters.target import Outgoing
from sentinel.app.dead_letters.to_url import MOST_RECORDS, url_target
from sentinel.app.state import places
from sentinel.config.schema import Config, Ingestion, Validation

STRICT = Ingestion(validation=Validation(max_latency_ms=100.0, on_out_of_range="reject"))
(LETTER,) = letters_of([b"{"])


def ignore(_share: float) -> None:
    """No progress is shown."""


def outgoing(*values: bytes) -> list[Outgoing]:
    """Records to send."""
    return [Outgoing(LETTER, Original(value, START_NS), value) for value in values]


@asynccontextmanager
async def answering(handler: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """The address of a server that answers so."""
    app = web.Application()
    app.router.add_post("/api/v1/events", handler)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


async def sent(handler: Callable[[web.Request], Awaitable[web.Response]], *values: bytes, api_key: str | None = None) -> list[str | None]:
    """What became of records sent to such a server."""
    async with answering(handler) as url, url_target(url, api_key) as target:
        return await target.send(outgoing(*values))


async def test_rejects_are_told_one_by_one() -> None:
    """Requests hold no more records than an answer can name; the reason of each reject comes back to its record, and the key goes along."""
    sizes = []

    async def handler(request: web.Request) -> web.Response:
        assert request.headers["X-API-Key"] == "secret"
        records = await request.json()
        sizes.append(len(records))
        errors = [{"index": at, "code": "too_deep", "detail": "why"} for at, record in enumerate(records) if record["bad"]]
        return web.json_response({"accepted": 0, "errors": errors}, status=202 if len(errors) < len(records) else 400)

    values = [json.dumps({"bad": at % 100 == 99 or at == 200}).encode() for at in range(2 * MOST_RECORDS + 1)]
    told = await sent(handler, *values, api_key="secret")
    assert sizes == [100, 100, 1]
    assert [at for at, why in enumerate(told) if why == "too_deep: why"] == [99, 199, 200]
    assert told.count(None) == 198


async def test_what_is_too_much_at_once_goes_in_parts() -> None:
    """A request that is too large is halved until it passes; a record that alone is too large is told, and the others are sent."""

    async def handler(request: web.Request) -> web.Response:
        records = await request.json()
        return web.Response(status=413) if len(records) > 1 or records == [3] else web.json_response({"errors": []}, status=202)

    told = await sent(handler, b"1", b"2", b"3")
    assert told[:2] == [None, None]
    assert "1 bytes are more than" in str(told[2])


async def test_a_busy_daemon_is_asked_again() -> None:
    """As often as it says it is busy, within bounds; then the same records are taken once."""
    answers = [web.Response(status=429, headers={"Retry-After": "0"}), web.Response(status=503, headers={"Retry-After": "0"})]

    async def handler(_request: web.Request) -> web.Response:
        return answers.pop(0) if answers else web.json_response({"errors": []}, status=202)

    assert await sent(handler, b"1") == [None]

    async def busy(_request: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": "0"})

    with pytest.raises(DeadLettersError, match="busy 10 times"):
        await sent(busy, b"1")


@pytest.mark.parametrize(("status", "told"), [(401, "--api-key"), (403, "--api-key"), (404, "not as a daemon"), (302, "not as a daemon")])
async def test_another_answer_names_the_cure(status: int, told: str) -> None:
    """No key, a wrong one, another server: each message says what to do."""

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    with pytest.raises(DeadLettersError, match=told):
        await sent(handler, b"1")


async def test_no_server_is_told() -> None:
    """The message names the address and the option."""
    async with url_target("http://127.0.0.1:9", None) as target:
        with pytest.raises(DeadLettersError, match=r"127\.0\.0\.1:9/api/v1/events .*--to"):
            await target.send(outgoing(b"1"))


# ------------------------------------------------------------------------------------------------------------------- replay


def record(number: int, latency_ms: float, **more: Any) -> bytes:
    """An event in few words, so that its letter holds it whole."""
    return json.dumps({"service_name": "chat", "model_name": "m", "latency_ms": latency_ms, "region": f"r{number}"} | more).encode()


async def refused_by_a_daemon(settings: Config, *records: bytes) -> list[Letter]:
    """Hand records to a daemon; the letters it leaves."""
    async with running(settings) as daemon, url_target(f"http://127.0.0.1:{daemon.server.port}", None) as target:
        await target.send(outgoing(*records))
    return [letter for letter, _ in LetterFile(places(settings).dead_letters).read(None) if letter is not None]


async def replayed(settings: Config, found: list[Letter], url: str | None, *, force: bool = False) -> list[Verdict]:
    """A replay to a daemon; a dry run without one."""
    return await replay(found, settings, None if url is None else url_target(url, None), ignore, force=force)


async def test_a_replay_after_the_limits_were_changed(tmp_path: Path) -> None:
    """A dry run tells what would pass and sends nothing. Then each is stored once, with its own time, however often it is replayed."""
    strict = config(tmp_path, STRICT)
    found = await refused_by_a_daemon(
        strict, record(1, 50.0, event_id="fine"), record(2, 120.0, event_id="e2"), record(3, 130.0), record(4, 140.0, user_id="ann"), b"[1]"
    )
    assert [letter.code for letter in found] == ["out_of_range"] * 3 + ["not_an_object"]
    loose = config(tmp_path)
    dry = await replayed(loose, found, None)
    assert [verdict.fate for verdict in dry] == [Fate.PASSES, Fate.PASSES, Fate.MISSING, Fate.REFUSED]
    assert [verdict.fate for verdict in await replayed(strict, found, None)] == [Fate.REFUSED, Fate.REFUSED, Fate.MISSING, Fate.REFUSED]
    assert stored(loose) == ["fine"]
    async with running(loose) as daemon:
        url = f"http://127.0.0.1:{daemon.server.port}"
        for _ in range(2):
            verdicts = await replayed(loose, [*found, *found], url)
            assert [verdict.fate for verdict in verdicts] == [Fate.SENT, Fate.SENT, Fate.MISSING, Fate.REFUSED]
        ids = stored(loose)
        assert ids[:2] == ["fine", "e2"]
        assert len(ids) == 3
        assert ids[2].startswith("replay-")
        await until_stored(loose, ids)
    assert len(letters(loose)) == 4


async def test_force_sends_what_is_refused_again(tmp_path: Path) -> None:
    """The daemon's own verdict comes back; what cannot travel in an array is told."""
    settings = config(tmp_path, STRICT)
    found = await refused_by_a_daemon(settings, record(1, 120.0), b"[1]")
    found += letters_of([b"{"], log=HTTP._replace(partition=7))
    async with running(settings) as daemon:
        url = f"http://127.0.0.1:{daemon.server.port}"
        verdicts = await replayed(settings, found, url, force=True)
    assert [verdict.fate for verdict in verdicts] == [Fate.NOT_TAKEN] * 3
    assert [verdict.why.split(":")[0] for verdict in verdicts] == [
        "out_of_range",
        "not_an_object",
        "it is no JSON, and so cannot be sent over HTTP",
    ]
