"""A webhook receiver that keeps what it got."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tools.servers.process import free_port


@dataclass
class Receiver:
    """What came, and how quickly it is confirmed.

    Attributes:
        url: where to send to.
        alerts: every request's `webhook-id` and alert, in the order they came.
        pause_s: how long a request waits for its answer.
        waiting: requests that have no answer yet.
    """

    url: str
    alerts: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    pause_s: float = 0.0
    waiting: int = 0

    def ids(self) -> set[str]:
        """Ids of the notifications that came."""
        return {notification for notification, _ in self.alerts}

    async def take(self, request: web.Request) -> web.Response:
        """Keep a request and confirm it."""
        body = json.loads(await request.read())
        self.alerts.append((request.headers["webhook-id"], body["data"]))
        self.waiting += 1
        try:
            await asyncio.sleep(self.pause_s)
        finally:
            self.waiting -= 1
        return web.Response(status=204)

    def section(self) -> dict[str, Any]:
        """The daemon's `alerting.webhook`."""
        return {"enabled": True, "url": self.url, "allowed_networks": ["127.0.0.0/8"], "retry_delay_ms": 100}


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver that listens while the block runs."""
    port = free_port()
    made = Receiver(f"http://127.0.0.1:{port}/alerts")
    application = web.Application()
    application.router.add_post("/alerts", made.take)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield made
    finally:
        await runner.cleanup()
