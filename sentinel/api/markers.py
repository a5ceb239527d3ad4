"""What people tell the detectors: that something was changed on purpose, and that the new normal is normal."""

import asyncio
import base64
import hashlib
from collections.abc import Sequence
from typing import Annotated

import msgspec
from aiohttp import web

from sentinel.api import body, params
from sentinel.api.access import actor
from sentinel.api.body import PRINTABLE, Model, Service, Tenant
from sentinel.api.context import CONTEXT, there
from sentinel.api.operation import Operation, reply
from sentinel.core.access import Scope
from sentinel.core.command import AcceptRegime, Marker, MarkerKind, Which
from sentinel.pipeline.shard import Shard
from sentinel.state.markers import MarkerRecord

COMMANDS = "place for commands"
MARKERS = "place for markers"


class AcceptRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which series: all models of a service when none is named."""

    service: Service
    model: Model | None = None
    tenant: Tenant = "default"


class AcceptAnswer(msgspec.Struct):
    """What was accepted, and the partitions of this daemon that know such series now; without any, see whether the names are right."""

    service: str
    model: str | None
    tenant: str
    partitions: list[str]


class MarkerRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Something was changed on purpose; now when no time is given, everywhere where no name is."""

    kind: MarkerKind
    text: Annotated[str, msgspec.Meta(max_length=200, pattern=PRINTABLE)] = ""
    timestamp: str | None = None
    service: Service | None = None
    model: Model | None = None
    tenant: Tenant = "default"


class Markers(msgspec.Struct):
    """Markers, newest first."""

    markers: list[MarkerRecord]
    count: int


async def accept(request: web.Request) -> web.Response:
    """What these series do now is normal from now on."""
    context = request.app[CONTEXT]
    params.known(request.query, ())
    given = await body.read(request, AcceptRequest)
    commands, book = there(context.commands, COMMANDS), there(context.markers, MARKERS)
    command = AcceptRegime(which=Which(tenant=given.tenant, service=given.service, model=given.model))
    await book.accepted(command, actor(request), context.clock.now_ns())
    await commands.submit(command)
    partitions = await asyncio.to_thread(_knowing, list(context.pipeline.shards.values()), command.which)
    return reply(AcceptAnswer(given.service, given.model, given.tenant, partitions), 202)


async def make(request: web.Request) -> web.Response:
    """Tell the detectors that something was changed; the same again is the same marker."""
    context = request.app[CONTEXT]
    params.known(request.query, ())
    given = await body.read(request, MarkerRequest)
    commands, book = there(context.commands, COMMANDS), there(context.markers, MARKERS)
    now_ns = context.clock.now_ns()
    ts_ns = now_ns if given.timestamp is None else params.moment(given.timestamp, "timestamp")
    which = Which(tenant=given.tenant, service=given.service, model=given.model)
    marker = Marker(kind=given.kind, ts_ns=ts_ns, id=_id(given, ts_ns), which=which, text=given.text)
    record = await book.add(marker, actor(request), now_ns)
    await commands.submit(marker)
    return reply(record, 201)


async def recent(request: web.Request) -> web.Response:
    """What was told, newest first."""
    context = request.app[CONTEXT]
    params.known(request.query, (params.LIMIT,))
    limit = params.limit(request.query)
    found = await there(context.markers, MARKERS).recent(limit)
    return reply(Markers(found, len(found)))


def _knowing(shards: Sequence[Shard], which: Which) -> list[str]:
    """The partitions that know a series that is meant."""
    return [str(shard.source) for shard in shards if any(which.covers(key) for key in list(shard.baselines.names))]


def _id(given: MarkerRequest, ts_ns: int) -> str:
    """An id that follows from the marker, so that a repeat is the same one."""
    what = msgspec.json.encode([given.kind, ts_ns, given.tenant, given.service, given.model, given.text])
    return base64.b32encode(hashlib.sha256(what).digest()).decode()[:26].lower()


OPERATIONS = (
    Operation(
        "POST",
        "/api/v1/baselines/accept",
        accept,
        "Accept what a service does now as its new normal",
        {202: "Accepted; the detectors obey from their next window on", 400: "Bad body"},
        result=AcceptAnswer,
        body=AcceptRequest,
        tag="feedback",
        scope=Scope.OPERATE,
    ),
    Operation(
        "GET",
        "/api/v1/markers",
        recent,
        "Deploys, prompt versions and price changes, newest first",
        {200: "Markers", 400: "Bad parameter"},
        (params.LIMIT,),
        Markers,
        tag="feedback",
        scope=Scope.READ,
    ),
    Operation(
        "POST",
        "/api/v1/markers",
        make,
        "Tell the detectors of a deploy, a new prompt version or a new price: bands are wider for a while, and anomalies name it",
        {201: "The marker", 400: "Bad body"},
        result=MarkerRecord,
        body=MarkerRequest,
        tag="feedback",
        scope=Scope.OPERATE,
    ),
)
