"""A client of a real daemon: what the tests of the HTTP side talk through."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp

from sentinel.app.daemon import Daemon
from sentinel.config.schema import Api, Config, HttpIngest, Validation
from sentinel.core.command import Command
from sentinel.core.errors import SentinelError
from sentinel.core.ports import StoreWrite
from sentinel.state.feedback import Feedback
from sentinel.state.markers import Markers

Prepare = Callable[[Daemon], None]
"""Changes a daemon before it starts."""


FLAT = {"service_name": "chat", "model_name": "gpt", "prompt_tokens": 10, "completion_tokens": 5}


def event(i: int = 0, **more: object) -> dict[str, Any]:
    """One usable event, number i."""
    return {**FLAT, "event_id": f"e{i}", "latency_ms": 100.0 + i % 7, **more}


@dataclass(slots=True)
class Answer:
    """An answer, read to its end."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Client:
    """Calls a daemon; paths are relative to it.

    Attributes:
        serving: the task that runs `serve`, None when nobody does.
    """

    def __init__(self, daemon: Daemon, session: aiohttp.ClientSession, serving: "asyncio.Task[None] | None" = None) -> None:
        self.daemon = daemon
        self.serving = serving
        self.url = f"http://127.0.0.1:{daemon.server.port}"
        self._session = session

    async def call(self, method: str, path: str, **more: Any) -> Answer:
        """One request."""
        async with self._session.request(method, self.url + path, **more) as response:
            return Answer(response.status, response.headers, await response.read())

    async def get(self, path: str, **more: Any) -> Answer:
        """GET."""
        return await self.call("GET", path, **more)

    async def post(self, body: object, path: str = "/api/v1/events", **more: Any) -> Answer:
        """POST; what is not bytes goes as JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        body = io.BytesIO(raw) if len(raw) > 500_000 else raw
        headers = {"Content-Type": "application/json", **more.pop("headers", {})}
        return await self.call("POST", path, data=body, headers=headers, **more)

    async def send(self, events: Iterable[dict[str, Any]]) -> Answer:
        """Hand in events and expect that they are taken."""
        answer = await self.post(list(events))
        assert answer.status == 202, answer.body
        return answer


class Started(Protocol):
    """Starts a daemon with a configuration and gives a client of it."""

    async def __call__(
        self,
        *,
        api: Api | None = None,
        http: HttpIngest | None = None,
        validation: Validation | None = None,
        prepare: Prepare | None = None,
        **more: Any,
    ) -> Client:
        """A client of a new daemon; `prepare` changes it before it starts."""
        ...


@asynccontextmanager
async def running(config: Config, prepare: Prepare | None = None) -> AsyncIterator[tuple[Daemon, "asyncio.Task[None]"]]:
    """A daemon that serves until the block ends, then drains and closes."""
    daemon = Daemon(config)
    if prepare is not None:
        prepare(daemon)
    await daemon.start()
    serving = asyncio.create_task(daemon.serve())
    try:
        yield daemon, serving
    finally:
        daemon.stop()
        if not serving.done():  # a test that has awaited it knows how it ended
            await serving
        await daemon.close()


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    """Give other tasks their turns until something has happened."""
    async with asyncio.timeout(20):
        while not await happened():  # noqa: ASYNC110  what is waited for is only seen from outside
            await asyncio.sleep(0)


class Obedient:
    """Takes commands, and notes them; each error in `failures` is raised by one of them."""

    def __init__(self) -> None:
        self.taken: list[Command] = []
        self.failures: list[SentinelError] = []

    async def submit(self, command: Command) -> None:
        """Note it, or raise the next failure."""
        if self.failures:
            raise self.failures.pop(0)
        self.taken.append(command)

    def __call__(self, daemon: Daemon) -> None:
        """Put this under a daemon, with its state database for verdicts and markers; to be called before it starts."""
        daemon.context.commands = self
        daemon.context.feedback = Feedback(daemon._state)
        daemon.context.markers = Markers(daemon._state)


class Stuck:
    """Makes a store's writes wait for `go`."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.reached = asyncio.Event()

    def __call__(self, daemon: Daemon) -> None:
        """Make this daemon's store wait."""
        write = daemon.store.write

        async def wait_and_write(items: Sequence[StoreWrite]) -> None:
            self.reached.set()
            await self.go.wait()
            await write(items)

        daemon.store.write = wait_and_write  # type: ignore[method-assign]
