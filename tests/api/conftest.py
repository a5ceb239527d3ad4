"""Fixtures of the HTTP side: a real daemon in the test's own loop, and a client that talks to it over a socket."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from api_client import Client, Prepare, Started, running
from key_ring import KeyRing, key_ring
from page_answers import Answers, Serve

from sentinel.api import guard, server
from sentinel.config.schema import Api, Config, HttpIngest, Ingestion, Validation
from tools.screenshot import CURE, Page, browse, find_chromium


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Started]:
    """Daemons with their own configuration; all are stopped at the end."""
    async with AsyncExitStack() as opened:
        session = await opened.enter_async_context(aiohttp.ClientSession())
        count = 0

        async def begin(
            *,
            api: Api | None = None,
            http: HttpIngest | None = None,
            validation: Validation | None = None,
            prepare: Prepare | None = None,
            **more: Any,
        ) -> Client:
            nonlocal count
            count += 1
            config = Config(
                state_dir=str(tmp_path / f"state{count}"),
                api=(api or Api()).model_copy(update={"bind_addr": "127.0.0.1:0"}),
                ingestion=Ingestion(http=http or HttpIngest(), validation=validation or Validation()),
                **more,
            )
            daemon, serving = await opened.enter_async_context(running(config, prepare))
            return Client(daemon, session, serving)

        yield begin


@pytest.fixture
async def client(start: Started) -> Client:
    """A client of a daemon with the default configuration."""
    return await start()


@pytest.fixture
async def ring(tmp_path: Path) -> AsyncIterator[KeyRing]:
    """An API key of every kind."""
    async with key_ring(tmp_path) as made:
        await made.make_all()
        yield made


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts the real pages with their real headers over scripted answers; gives the address."""
    servers: list[TestServer] = []

    async def start(answers: Answers, asked: list[str] | None = None) -> str:
        async def answer(request: web.Request) -> web.Response:
            if asked is not None:
                asked.append(f"{request.method} {request.path_qs}")
            body = answers[request.match_info["question"]]
            return web.json_response(body, status=body.get("status", 200) if "detail" in body else 200)

        def page(file: str) -> Callable[[web.Request], Any]:
            async def handler(_request: web.Request) -> web.FileResponse:
                return web.FileResponse(server.STATIC / file)

            return handler

        async def inline(_request: web.Request) -> web.Response:
            return web.Response(text="<body><img src=x onerror=alert(1)><script>alert(2)</script>", content_type="text/html")

        app = web.Application()
        for path, file in server.PAGES.items():
            app.router.add_get(path, page(file))
        app.router.add_get("/control", inline)
        app.router.add_static("/static", server.STATIC)
        app.router.add_route("*", "/api/v1/{question:.+}", answer)
        app.on_response_prepare.append(guard.secure)
        servers.append(TestServer(app))
        await servers[-1].start_server()
        return str(servers[-1].make_url("/"))

    yield start
    await asyncio.gather(*(one.close() for one in servers))


@pytest.fixture
async def tab() -> AsyncIterator[Page]:
    """A tab of a real Chromium; without one the test is skipped with the cure."""
    chromium = find_chromium()
    if chromium is None:
        pytest.skip(CURE)
    async with browse(chromium) as page:
        yield page
