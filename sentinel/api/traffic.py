"""Traffic over time and the list of services, from the one-minute rollups."""

from typing import Annotated

import msgspec
from aiohttp import web

from sentinel.api import params
from sentinel.api.context import CONTEXT, Context
from sentinel.api.operation import Operation, reply
from sentinel.api.telemetry import Span
from sentinel.core.access import Scope
from sentinel.core.query import SeriesFilter, SeriesPoint, SeriesPoints, SeriesQuery, TimeRange
from sentinel.core.timestamp import rfc3339

MINUTE_NS = 60_000_000_000
MOST_SERIES = 200
"""Series in one answer; the busiest are shown."""


class TimeseriesRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a timeseries query."""

    minutes: Annotated[int, msgspec.Meta(ge=1, le=60 * 24 * 31)] = 60
    step_s: Annotated[int, msgspec.Meta(ge=60, le=86_400, multiple_of=60)] = 60
    tenant: str | None = None
    service: str | None = None
    model: str | None = None
    by_series: bool = False
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_SERIES)] = 50


class Timeseries(msgspec.Struct):
    """Points by step: one list for all, or one a series, the busiest first."""

    series: list[SeriesPoints]


class Summary(msgspec.Struct, rename={"time_range": "timeRange"}):
    """The range as one point; None when nothing was counted in it."""

    time_range: Span
    summary: SeriesPoint | None


class ServiceModels(msgspec.Struct):
    """A service and the models it uses."""

    service: str
    models: list[str]


class Services(msgspec.Struct):
    """Services, the busiest first."""

    services: list[ServiceModels]
    count: int


async def timeseries(request: web.Request) -> web.Response:
    """Requests, errors, tokens, cost and latency percentiles by step."""
    context = request.app[CONTEXT]
    params.known(request.query, ())
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
    try:
        return reply(Timeseries(await context.query.timeseries(query)))
    except ValueError as error:
        raise params.BadParameterError(f"body: {error}") from error


async def summary(request: web.Request) -> web.Response:
    """The range as one number each."""
    context = request.app[CONTEXT]
    params.known(request.query, (*params.SERIES, *params.RANGE))
    span = params.time_range(request.query, context.clock.now_ns())
    found = await context.query.timeseries(SeriesQuery(range=span, series=params.series(request.query), step_s=_whole(span)))
    points = [point for series in found for point in series.points]
    times = Span(rfc3339(span.start_ns), rfc3339(span.end_ns))
    return reply(Summary(times, msgspec.structs.replace(points[0], timestamp=times.start) if points else None))


async def services(request: web.Request) -> web.Response:
    """Services and their models, busiest first, over the last day."""
    context = request.app[CONTEXT]
    params.known(request.query, ())
    day = _last(context, 24 * 60)
    query = SeriesQuery(range=day, step_s=_whole(day), by_series=True, limit=MOST_SERIES)
    found: dict[str, list[str]] = {}
    for series in await context.query.timeseries(query):
        _add(found, series)
    return reply(Services([ServiceModels(service, models) for service, models in found.items()], len(found)))


def _add(found: dict[str, list[str]], series: SeriesPoints) -> None:
    models = found.setdefault(series.service or "", [])
    if series.model is not None and series.model not in models:
        models.append(series.model)


def _whole(span: TimeRange) -> int:
    """A step in seconds that holds the range in one piece: steps begin at multiples of themselves since the epoch; this is the first."""
    return (span.end_ns // MINUTE_NS + 1) * 60


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
        result=Timeseries,
        body=TimeseriesRequest,
        scope=Scope.READ,
    ),
    Operation(
        "GET",
        "/api/v1/metrics/summary",
        summary,
        "One number each for a range",
        {200: "Summary", 400: "Bad parameter"},
        (*params.SERIES, *params.RANGE),
        Summary,
        scope=Scope.READ,
    ),
    *(
        Operation("GET", path, services, summary, {200: "Services"}, result=Services, scope=Scope.READ)
        for path, summary in (
            ("/api/v1/services", "The busiest services and models of the last day"),
            ("/api/v1/applications", "Alias of /api/v1/services"),
        )
    ),
)
