"""The HTTP server: all operations, the status page, and what stands in front of them."""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from sentinel.api import (
    alerts,
    anomalies,
    baselines,
    budgets,
    events,
    feedback,
    guard,
    health,
    log_level,
    markers,
    openapi,
    status,
    telemetry,
    traffic,
)
from sentinel.api.access import Access, keys_required, warn_of_openness
from sentinel.api.context import CONTEXT, Context
from sentinel.api.operation import Operation, reply
from sentinel.api.tls import server_context
from sentinel.core.access import Scope
from sentinel.core.errors import StartupError

LINGERING_S = 2.0
"""How long the rest of a refused body is read and thrown away, so that its sender can see the answer, in seconds."""
STATIC = Path(__file__).parent / "static"
FILES = {file.name: file for file in STATIC.iterdir() if file.is_file()}
PAGES = {"/": "index.html", "/docs": "docs.html"}
STATIC_FILES = "/static/{name}"


def operations(context: Context) -> tuple[Operation, ...]:
    """Every documented operation, the description of them all included."""
    described: dict[str, Any] = {}

    async def description(_request: web.Request) -> web.Response:
        return reply(described)

    about = {200: "OpenAPI 3.1"}
    itself = Operation("GET", "/api/v1/openapi.json", description, "This document", about, tag="daemon", early=True, scope=Scope.READ)
    now = (*baselines.OPERATIONS, *budgets.OPERATIONS, *traffic.OPERATIONS)
    queries = (*telemetry.OPERATIONS, *anomalies.OPERATIONS, *alerts.OPERATIONS, *now)
    told = (*feedback.OPERATIONS, *markers.OPERATIONS)
    documented = (*health.OPERATIONS, *events.OPERATIONS, *queries, *told, *status.operations(context), *log_level.OPERATIONS, itself)
    described |= openapi.document(documented, keys_required=keys_required(context.config.api))
    return documented


def application(context: Context) -> web.Application:
    """The aiohttp application."""
    documented = operations(context)
    app = web.Application(
        middlewares=[guard.measure, guard.origins, guard.problems, _access(context, documented).middleware],
        client_max_size=context.config.api.max_body_size,
    )
    app[CONTEXT] = context
    for operation in documented:
        answer = operation.handler if operation.early else guard.once_started(operation.handler)
        if operation.method == "GET":
            app.router.add_get(operation.path, answer)
        else:
            app.router.add_route(operation.method, operation.path, answer)
    for path, file in PAGES.items():
        app.router.add_get(path, _page(STATIC / file))
    app.router.add_get(STATIC_FILES, _static)
    app.on_response_prepare.append(guard.secure)
    return app


def _access(context: Context, documented: tuple[Operation, ...]) -> Access:
    """What each route needs: pages and their files hold no data and are for everybody, operations say it themselves."""
    routes = {("GET", path): Scope.PUBLIC for path in (*PAGES, STATIC_FILES)}
    routes |= {(operation.method, operation.path): operation.scope for operation in documented}
    return Access(context.config.api, context.keys, routes, context.clock, context.metrics)


def _page(file: Path) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def page(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(file)

    return page


async def _static(request: web.Request) -> web.StreamResponse:
    """One of the files that were there at start: no path leads anywhere else."""
    file = FILES.get(request.match_info["name"])
    if file is None:
        raise web.HTTPNotFound
    return web.FileResponse(file)


class Server:
    """The listening server.

    Args:
        context: what requests stand on.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def open(self) -> None:
        """Listen. Raises StartupError when the address is taken or not ours, or the certificate cannot be used."""
        api = self._context.config.api
        host, _, port = api.bind_addr.rpartition(":")
        tls = server_context(api)
        warn_of_openness(api)
        self._runner = web.AppRunner(
            application(self._context), access_log=None, shutdown_timeout=2.0, handle_signals=False, lingering_time=LINGERING_S
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, host.strip("[]"), int(port), ssl_context=tls)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            cure = (
                f"Another process uses it: stop that, or set api.bind_addr to another port (now {api.bind_addr})."
                if error.errno == errno.EADDRINUSE
                else "Check api.bind_addr."
            )
            raise StartupError(f"cannot listen on {host}:{port}: {error.strerror or error}. {cure}") from error
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening; requests under way get a moment."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await asyncio.wait_for(runner.cleanup(), timeout=5.0)
