"""Stored events."""

from typing import Any

import msgspec
from aiohttp import web

from sentinel.api import params
from sentinel.api.context import CONTEXT
from sentinel.api.operation import Operation, Parameter, reply
from sentinel.core.access import Scope
from sentinel.core.query import TelemetryQuery
from sentinel.core.timestamp import rfc3339

PARAMETERS = (
    *params.SERIES,
    *params.RANGE,
    params.LIMIT,
    Parameter("cursor", "`nextCursor` of the page before", {"type": "string", "maxLength": 256}),
)


class Span(msgspec.Struct):
    """The range that was asked for, its end excluded."""

    start: str
    end: str


class TelemetryPage(msgspec.Struct, rename="camel"):
    """Events in the flat dialect's field names, newest first, and where to go on."""

    data: list[dict[str, Any]]
    count: int
    time_range: Span
    next_cursor: str | None


async def telemetry(request: web.Request) -> web.Response:
    """Events of a time range, newest first."""
    context = request.app[CONTEXT]
    params.known(request.query, PARAMETERS)
    span = params.time_range(request.query, context.clock.now_ns())
    query = TelemetryQuery(
        range=span, series=params.series(request.query), limit=params.limit(request.query), cursor=request.query.get("cursor")
    )
    try:
        page = await context.query.telemetry(query)
    except ValueError as error:
        raise params.BadParameterError(f"cursor: {error}") from error
    return reply(TelemetryPage(page.items, len(page.items), Span(rfc3339(span.start_ns), rfc3339(span.end_ns)), page.next_cursor))


OPERATIONS = (
    Operation(
        "GET",
        "/api/v1/telemetry",
        telemetry,
        "Stored events, newest first",
        {200: "A page of events", 400: "Bad parameter"},
        PARAMETERS,
        TelemetryPage,
        scope=Scope.READ,
    ),
)
