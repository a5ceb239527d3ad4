"""Traffic over time and the list of services, from the one-minute rollups."""

from typing import Annotated

import msgspec
from aiohttp import web

from sentinel.api import params
from sentinel.api.context import CONTEXT, Context
from sentinel.api.operation import Operation, reply
from sentinel.core.query import SeriesFilter, SeriesPoints, SeriesQuery, TimeRange

MINUTE_NS = 60_000_000_000


class TimeseriesRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a timeseries query."""

    minutes: Annotated[int, msgspec.Meta(ge=1, le=60 * 24 * 31)] = 60
    step_s: Annotated[int, msgspec.Meta(ge=60, le=86_400, multiple_of=60)] = 60
    tenant: str | None = None
    service: str | None = None
    model: str | None = None
    by_series: bool = False
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50


async def timeseries(request: web.Request) -> web.Response:
    """Requests, errors, tokens, cost and latency percentiles by step."""
    context = request.app[CONTEXT]
    try:
        wanted = msgspec.json.decode(await request.read() or b"{}", type=TimeseriesRequest)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise params.BadParameterError(f"body: {error}") from error
    query = SeriesQuery(
        range=_last(context, wanted.minutes),
        series=SeriesFilter(tenant=wanted.tenant, service=wanted.service, model=wanted.model),
        step_s=wanted.step_s,
        by_series=wanted.by_series,
        limit=wanted.limit,
    )
    return reply({"series": msgspec.to_builtins(await context.query.timeseries(query))})


async def summary(request: web.Request) -> web.Response:
    """The range as one number each."""
    context = request.app[CONTEXT]
    params.known(request.query, (*params.SERIES, *params.RANGE))
    span = params.time_range(request.query, context.clock.now_ns())
    step_s = max(60, -(-(span.end_ns - span.start_ns) // MINUTE_NS) * 60)
    found = await context.query.timeseries(SeriesQuery(range=span, series=params.series(request.query), step_s=step_s))
    points = [msgspec.to_builtins(point) for series in found for point in series.points]
    return reply({"summary": points[0] if points else None})


async def services(request: web.Request) -> web.Response:
    """Services and their models, busiest first, over the last day."""
    context = request.app[CONTEXT]
    query = SeriesQuery(range=_last(context, 24 * 60), step_s=86_400, by_series=True, limit=200)
    found: dict[str, list[str]] = {}
    for series in await context.query.timeseries(query):
        _add(found, series)
    return reply({"services": [{"service": service, "models": models} for service, models in found.items()], "count": len(found)})


def _add(found: dict[str, list[str]], series: SeriesPoints) -> None:
    models = found.setdefault(series.service or "", [])
    if series.model is not None and series.model not in models:
        models.append(series.model)


def _last(context: Context, minutes: int) -> TimeRange:
    now_ns = context.clock.now_ns()
    return TimeRange(now_ns - minutes * MINUTE_NS, now_ns)


OPERATIONS = (
    Operation(
        "POST",
        "/api/v1/metrics/timeseries",
        timeseries,
        "Traffic over time; percentiles with at most 1% relative error",
        {200: "Series of points", 400: "Bad body"},
        body=msgspec.json.schema(TimeseriesRequest),
    ),
    Operation("GET", "/api/v1/metrics/summary", summary, "One number each for a range", {200: "Summary"}, (*params.SERIES, *params.RANGE)),
    Operation("GET", "/api/v1/services", services, "Services and models of the last day", {200: "Services"}),
    Operation("GET", "/api/v1/applications", services, "Alias of /api/v1/services", {200: "Services"}),
)
