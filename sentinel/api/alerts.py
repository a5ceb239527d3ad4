"""Alerts: what people are told."""

import msgspec
from aiohttp import web
from msgspec import structs

from sentinel.alerting.episodes import GATHERED, links
from sentinel.api import params
from sentinel.api.context import CONTEXT
from sentinel.api.operation import Operation, Parameter, problem, reply
from sentinel.core.access import Scope
from sentinel.core.alert import AlertStatus
from sentinel.core.anomaly import Severity
from sentinel.core.detector import ANOMALY_TYPES
from sentinel.state.alerts import AlertDetail, AlertQuery, AlertRecord

TYPES = [*sorted(ANOMALY_TYPES), GATHERED]

PARAMETERS = (
    Parameter("status", "Only in this state", {"type": "string", "enum": list(AlertStatus)}),
    Parameter("severity", "Only this severity, the highest so far", {"type": "string", "enum": list(Severity)}),
    *params.SERIES,
    Parameter("type", "Only this type", {"type": "string", "enum": TYPES}),
    params.LIMIT,
)


class Alerts(msgspec.Struct):
    """Alerts, newest first."""

    alerts: list[AlertRecord]
    count: int


async def alerts(request: web.Request) -> web.Response:
    """Alerts by the time they began, newest first, those that have ended as well."""
    context = request.app[CONTEXT]
    given = request.query
    params.known(given, PARAMETERS)
    series = params.series(given)
    query = AlertQuery(
        status=params.choice(given, "status", list(AlertStatus)),
        severity=params.choice(given, "severity", list(Severity)),
        tenant=series.tenant,
        service=series.service,
        model=series.model,
        type=params.choice(given, "type", TYPES),
        limit=params.limit(given),
    )
    url = context.config.alerting.external_url
    found = [structs.replace(record, links=links(url, record.alert_id)) for record in await context.alerts.find(query)]
    return reply(Alerts(found, len(found)))


async def alert(request: web.Request) -> web.Response:
    """One alert, with its messages and the attempts to deliver them."""
    context = request.app[CONTEXT]
    params.known(request.query, ())
    found = await context.alerts.get(request.match_info["id"])
    if found is None:
        return problem(404, "Not Found", "there is no alert with this id, or its history has been deleted")
    return reply(structs.replace(found, links=links(context.config.alerting.external_url, found.alert_id)))


OPERATIONS = (
    Operation(
        "GET",
        "/api/v1/alerts",
        alerts,
        "Alerts, newest first",
        {200: "Alerts", 400: "Bad parameter"},
        PARAMETERS,
        Alerts,
        scope=Scope.READ,
    ),
    Operation(
        "GET",
        "/api/v1/alerts/{id}",
        alert,
        "One alert and its delivery",
        {200: "The alert", 404: "No such alert"},
        (Parameter("id", "Id of the alert", {"type": "string"}, "path"),),
        AlertDetail,
        scope=Scope.READ,
    ),
)
