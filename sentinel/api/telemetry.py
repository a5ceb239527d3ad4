"""Stored events."""

from aiohttp import web

from sentinel.api import params
from sentinel.api.context import CONTEXT
from sentinel.api.operation import Operation, Parameter, reply
from sentinel.core.query import TelemetryQuery
from sentinel.core.timestamp import rfc3339

PARAMETERS = (
    *params.SERIES,
    *params.RANGE,
    params.LIMIT,
    Parameter("cursor", "`nextCursor` of the page before", {"type": "string", "maxLength": 256}),
)


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
    return reply(
        {
            "data": page.items,
            "count": len(page.items),
            "timeRange": {"start": rfc3339(span.start_ns), "end": rfc3339(span.end_ns)},
            "nextCursor": page.next_cursor,
        }
    )


OPERATIONS = (
    Operation(
        "GET", "/api/v1/telemetry", telemetry, "Stored events, newest first", {200: "A page of events", 400: "Bad parameter"}, PARAMETERS
    ),
)
