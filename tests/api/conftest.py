"""Fixtures of the HTTP side: a real daemon in the test's own loop, and a client that talks to it over a socket."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from api_client import Client, Prepare, Started, running
from key_ring import KeyRing, key_ring

from sentinel.config.schema import Api, Config, HttpIngest, Ingestion


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Started]:
    """Daemons with their own configuration; all are stopped at the end."""
    async with AsyncExitStack() as opened:
        session = await opened.enter_async_context(aiohttp.ClientSession())
        count = 0

        async def begin(*, api: Api | None = None, http: HttpIngest | None = None, prepare: Prepare | None = None, **more: Any) -> Client:
            nonlocal count
            count += 1
            config = Config(
                state_dir=str(tmp_path / f"state{count}"),
                api=(api or Api()).model_copy(update={"bind_addr": "127.0.0.1:0"}),
                ingestion=Ingestion(http=http or HttpIngest()),
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
