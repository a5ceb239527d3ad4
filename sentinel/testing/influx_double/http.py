"""The HTTP side of the double: writes, ping, and its own levers `/stats` and `/faults`."""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
from aiohttp import web

from sentinel.testing.influx_double.faults import Faults
from sentinel.testing.influx_double.tables import Databases, FullError, LineError

MAX_BODY_BYTES: Final = 10_485_760
"""Larger requests are answered with 413, as the server's default has it."""
MAX_LINE_ERRORS: Final = 100
"""Bad lines that one answer names."""

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpSide:
    """The handlers.

    Args:
        databases: where points go.
        faults: what goes wrong on purpose.
        token: what callers must show; None = nothing.
        go_away: called to refuse all connections for so many seconds.
    """

    def __init__(self, databases: Databases, faults: Faults, token: str | None, go_away: Callable[[float], None]) -> None:
        self.databases = databases
        self.faults = faults
        self.token = token
        self.go_away = go_away
        self.write_requests = 0

    def application(self) -> web.Application:
        """All routes."""
        application = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[self._guard])
        application.add_routes(
            [
                web.post("/api/v3/write_lp", self._write_v3),
                web.post("/api/v2/write", self._write_v2),
                web.get("/ping", self._ping),
                web.get("/stats", self._stats),
                web.post("/faults", self._set_faults),
            ]
        )
        return application

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """The token, and the faults of writes."""
        if not request.path.startswith("/api/"):
            return await handler(request)
        self.write_requests += 1
        began = time.monotonic()
        while (left := began + self.faults.delay_s - time.monotonic()) > 0:  # noqa: ASYNC110  another thread may take the delay back
            await asyncio.sleep(min(left, 0.02))
        if (status := self.faults.status_now()) is not None:
            headers = {"Retry-After": self.faults.retry_after} if self.faults.retry_after is not None else {}
            return web.json_response({"error": "told to fail"}, status=status, headers=headers)
        if not self._allowed(request.headers.get("Authorization", "")):
            return web.json_response({"error": "the request was not authenticated"}, status=401)
        response = await handler(request)
        if response.status < 300 and self.faults.loses_reply() and request.transport is not None:
            request.transport.abort()
        return response

    def _allowed(self, shown: str) -> bool:
        return self.token is None or any(
            hmac.compare_digest(shown.encode(), f"{kind} {self.token}".encode()) for kind in ("Token", "Bearer")
        )

    async def _write_v3(self, request: web.Request) -> web.Response:
        return await self._write(request, "db", "nanosecond", partial=request.query.get("accept_partial", "true") == "true")

    async def _write_v2(self, request: web.Request) -> web.Response:
        return await self._write(request, "bucket", "ns", partial=True)

    async def _write(self, request: web.Request, database_in: str, precision: str, *, partial: bool) -> web.Response:
        database = request.query.get(database_in)
        if not database or request.query.get("precision") != precision:
            return web.json_response({"error": f"the double wants {database_in} and precision={precision}"}, status=400)
        try:
            lines = (await request.read()).decode().split("\n")  # aiohttp has undone gzip
        except web.HTTPRequestEntityTooLarge:
            return web.json_response({"error": "the request is larger than max-http-request-size"}, status=413)
        except UnicodeDecodeError:
            return web.json_response({"error": "the body is not UTF-8"}, status=400)
        try:
            bad = self.databases.write(database, lines, self.faults.refuse, partial=partial)
        except FullError as error:
            return web.json_response({"error": str(error)}, status=507)
        return web.json_response(_refusal(bad, partial=partial), status=400) if bad else web.Response(status=204)

    async def _ping(self, _: web.Request) -> web.Response:
        return web.json_response({"product": "sentinel double", "version": "3.0.0-double"}, headers={"x-influxdb-version": "3.0.0-double"})

    async def _stats(self, request: web.Request) -> web.Response:
        """Rows of all tables; with `db`, `table` and `sum` the sum of a column too."""
        stats: dict[str, Any] = {
            "rows": self.databases.rows(),
            "points_received": self.databases.received,
            "write_requests": self.write_requests,
        }
        if (column := request.query.get("sum")) is not None:
            stats["sum"] = self.databases.sum(request.query.get("db", ""), request.query.get("table", ""), column)
        return web.json_response(stats)

    async def _set_faults(self, request: web.Request) -> web.Response:
        """Replace all faults by those of a JSON object with the keys status, seconds, requests, retry_after, lose_every, delay_s,
        refuse_containing; `down_s` refuses connections for so many seconds from now.
        """
        told = orjson.loads(await request.read())
        if "down_s" in told:
            self.go_away(told["down_s"])
        faults = self.faults
        faults.clear()
        if "seconds" in told:
            faults.for_seconds(told["status"], told["seconds"], told.get("retry_after"))
        elif "status" in told:
            faults.status, faults.requests, faults.retry_after = told["status"], told.get("requests"), told.get("retry_after")
        faults.lose_every, faults.delay_s = told.get("lose_every", 0), told.get("delay_s", 0.0)
        if (part := told.get("refuse_containing")) is not None:
            faults.refuse = lambda line: part in line
        return web.Response(status=204)


def _refusal(bad: list[LineError], *, partial: bool) -> dict[str, Any]:
    """The body of a 400, in the two shapes of the documentation."""
    named = [{"original_line": error.line, "line_number": error.number, "error_message": error.message} for error in bad[:MAX_LINE_ERRORS]]
    if partial:
        return {"error": "partial write of line protocol occurred", "data": named}
    return {"error": "parsing failed for write_lp endpoint", "data": named[0]}
