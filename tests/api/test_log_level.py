"""The log level over HTTP: shown, changed, and nothing else taken."""

import json
import logging
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from aiohttp import web

from sentinel.api.log_level import OPERATIONS, PATH
from sentinel.core.access import Scope
from sentinel.observability import logs


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    """The level is put back."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.INFO)
    yield
    root.setLevel(before)


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """The operations alone, on a port."""
    app = web.Application()
    for operation in OPERATIONS:
        app.router.add_route(operation.method, operation.path, operation.handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}{PATH}"
    await runner.cleanup()


async def call(method: str, url: str, body: bytes = b"") -> tuple[int, dict[str, str]]:
    """Status and body."""
    async with aiohttp.ClientSession() as session, session.request(method, url, data=body) as answer:
        return answer.status, json.loads(await answer.read())


async def test_a_level_acts_from_the_next_line_on(url: str) -> None:
    """It is shown, and a logger that was made before goes by it."""
    before = logging.getLogger("sentinel.test")
    assert await call("GET", url) == (200, {"level": "info"})
    assert not before.isEnabledFor(logging.DEBUG)
    assert await call("PUT", url, b'{"level": "debug"}') == (200, {"level": "debug"})
    assert before.isEnabledFor(logging.DEBUG)
    assert await call("GET", url) == (200, {"level": "debug"})


@pytest.mark.parametrize("body", [b"", b"debug", b'{"level": "loud"}', b'{"level": 10}', b'{"level": "debug", "for": 5}', b"[" * 5_000])
async def test_anything_else_is_refused(url: str, body: bytes) -> None:
    """With what it should look like; the level stays."""
    status, answer = await call("PUT", url, body)
    assert (status, logs.current_level()) == (400, "info")
    assert "level" in answer["detail"]


def test_only_operators_may_change_it() -> None:
    """Whoever may read may see it."""
    assert {operation.method: operation.scope for operation in OPERATIONS} == {"GET": Scope.READ, "PUT": Scope.OPERATE}
