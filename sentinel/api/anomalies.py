"""Anomalies: facts about single events."""

import msgspec
from aiohttp import web

from sentinel.api import params
from sentinel.api.context import CONTEXT
from sentinel.api.operation import Operation, Parameter, problem, reply
from sentinel.core.access import Scope
from sentinel.core.anomaly import Anomaly, DetectorName, Severity
from sentinel.core.metrics import METRIC_NAMES
from sentinel.core.query import AnomalyQuery, TimeRange

LAST_NS = 2**63 - 1

PARAMETERS = (
    Parameter("severity", "Only this severity", {"type": "string", "enum": list(Severity)}),
    *params.SERIES,
    Parameter("metric", "Only this metric", {"type": "string", "enum": list(METRIC_NAMES)}),
    Parameter("detector", "Only this detector", {"type": "string", "enum": list(DetectorName)}),
    *params.RANGE,
    params.LIMIT,
)


class Anomalies(msgspec.Struct):
    """Anomalies, newest first."""

    anomalies: list[Anomaly]
    count: int


async def anomalies(request: web.Request) -> web.Response:
    """Anomalies of a time range, newest first."""
    context = request.app[CONTEXT]
    given = request.query
    params.known(given, PARAMETERS)
    query = AnomalyQuery(
        range=params.time_range(given, context.clock.now_ns()),
        series=params.series(given),
        severity=params.choice(given, "severity", list(Severity)),
        metric=params.choice(given, "metric", METRIC_NAMES),
        detector=params.choice(given, "detector", list(DetectorName)),
        limit=params.limit(given),
    )
    return _listing(await context.query.anomalies(query))


async def recent(request: web.Request) -> web.Response:
    """The last anomalies, however old."""
    context = request.app[CONTEXT]
    params.known(request.query, (params.LIMIT,))
    ever = TimeRange(0, LAST_NS)
    return _listing(await context.query.anomalies(AnomalyQuery(range=ever, limit=params.limit(request.query, 10))))


async def anomaly(request: web.Request) -> web.Response:
    """One anomaly."""
    params.known(request.query, ())
    found = await request.app[CONTEXT].query.anomaly(request.match_info["id"])
    if found is None:
        return problem(404, "Not Found", "there is no anomaly with this id, or its retention has ended")
    return reply(found)


def _listing(found: list[Anomaly]) -> web.Response:
    return reply(Anomalies(found, len(found)))


OPERATIONS = (
    Operation(
        "GET",
        "/api/v1/anomalies",
        anomalies,
        "Anomalies, newest first",
        {200: "Anomalies", 400: "Bad parameter"},
        PARAMETERS,
        Anomalies,
        scope=Scope.READ,
    ),
    Operation(
        "GET",
        "/api/v1/anomalies/recent",
        recent,
        "The last anomalies, however old",
        {200: "Anomalies", 400: "Bad parameter"},
        (params.limit_of(10),),
        Anomalies,
        scope=Scope.READ,
    ),
    Operation(
        "GET",
        "/api/v1/anomalies/{id}",
        anomaly,
        "One anomaly",
        {200: "The anomaly", 404: "No such anomaly"},
        (Parameter("id", "Id of the anomaly", {"type": "string"}, "path"),),
        Anomaly,
        scope=Scope.READ,
    ),
)
