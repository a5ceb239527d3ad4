"""Anomalies: facts about single events, and about windows of time."""

from collections.abc import Mapping

import msgspec
from aiohttp import web

from sentinel.api import params
from sentinel.api.context import CONTEXT
from sentinel.api.operation import Operation, Parameter, problem, reply
from sentinel.core.access import Scope
from sentinel.core.anomaly import Anomaly, DetectorName, Severity
from sentinel.core.metrics import METRIC_NAMES
from sentinel.core.query import ANOMALY_KINDS, AnomalyKind, AnomalyQuery, TimeRange

LAST_NS = 2**63 - 1

KIND = Parameter("kind", "Only those of single events, or only those of time windows", {"type": "string", "enum": list(ANOMALY_KINDS)})
PARAMETERS = (
    Parameter("severity", "Only this severity", {"type": "string", "enum": list(Severity)}),
    *params.SERIES,
    params.word_of("metric", f"Only this metric: one of events ({', '.join(METRIC_NAMES)}) or of time windows, such as error_rate"),
    params.word_of("detector", f"Only this detector: {', '.join(DetectorName)}, or the name of an installed one"),
    params.word_of("type", "Only this type, such as latency_spike, error_rate_increase, silence, regime_change"),
    KIND,
    *params.RANGE,
    params.LIMIT,
)
RECENT = (KIND, params.limit_of(10))


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
        metric=params.word(given, "metric"),
        detector=params.word(given, "detector"),
        type=params.word(given, "type"),
        kind=_kind(given),
        limit=params.limit(given),
    )
    return _listing(await context.query.anomalies(query))


async def recent(request: web.Request) -> web.Response:
    """The last anomalies, however old."""
    context = request.app[CONTEXT]
    given = request.query
    params.known(given, RECENT)
    ever = TimeRange(0, LAST_NS)
    return _listing(await context.query.anomalies(AnomalyQuery(range=ever, kind=_kind(given), limit=params.limit(given, 10))))


async def anomaly(request: web.Request) -> web.Response:
    """One anomaly."""
    params.known(request.query, ())
    found = await request.app[CONTEXT].query.anomaly(request.match_info["id"])
    if found is None:
        return problem(404, "Not Found", "there is no anomaly with this id, or its retention has ended")
    return reply(found)


def _kind(given: Mapping[str, str]) -> AnomalyKind | None:
    wanted = params.choice(given, "kind", ANOMALY_KINDS)
    return next((kind for kind in ANOMALY_KINDS if kind == wanted), None)


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
        RECENT,
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
