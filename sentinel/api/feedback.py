"""What people think of anomalies."""

from typing import Annotated

import msgspec
from aiohttp import web

from sentinel.api import body, params
from sentinel.api.access import actor
from sentinel.api.body import PRINTABLE
from sentinel.api.context import CONTEXT, there
from sentinel.api.operation import Operation, Parameter, problem, reply
from sentinel.core.access import Scope
from sentinel.state.feedback import FeedbackRecord, Precision, Verdict

ID = (Parameter("id", "Id of the anomaly", {"type": "string"}, "path"),)


class FeedbackRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A verdict on an anomaly: was it worth telling? The note is for people."""

    verdict: Verdict
    note: Annotated[str, msgspec.Meta(max_length=1_000, pattern=PRINTABLE)] = ""


class Precisions(msgspec.Struct):
    """How often each detector was right, by type."""

    precision: list[Precision]
    count: int


async def give(request: web.Request) -> web.Response:
    """Keep a verdict; it takes the place of the one before."""
    context = request.app[CONTEXT]
    params.known(request.query, ())
    given = await body.read(request, FeedbackRequest)
    book = there(context.feedback, "place for feedback")
    found = await context.query.anomaly(request.match_info["id"])
    if found is None:
        return problem(404, "Not Found", "there is no anomaly with this id, or its retention has ended")
    return reply(await book.give(found, given.verdict, given.note, actor(request), context.clock.now_ns()))


async def show(request: web.Request) -> web.Response:
    """The verdict on an anomaly."""
    context = request.app[CONTEXT]
    params.known(request.query, ())
    found = await there(context.feedback, "place for feedback").get(request.match_info["id"])
    return reply(found) if found is not None else problem(404, "Not Found", "nobody has given a verdict on this anomaly")


async def precision(request: web.Request) -> web.Response:
    """How often each detector was right."""
    context = request.app[CONTEXT]
    params.known(request.query, ())
    found = await there(context.feedback, "place for feedback").precision()
    return reply(Precisions(found, len(found)))


OPERATIONS = (
    Operation(
        "GET",
        "/api/v1/anomalies/{id}/feedback",
        show,
        "The verdict on an anomaly",
        {200: "The verdict", 404: "Nobody gave one"},
        ID,
        FeedbackRecord,
        tag="feedback",
        scope=Scope.READ,
    ),
    Operation(
        "POST",
        "/api/v1/anomalies/{id}/feedback",
        give,
        "Say whether an anomaly was worth telling; the last verdict counts",
        {200: "The verdict as it is kept", 400: "Bad body", 404: "No such anomaly"},
        ID,
        FeedbackRecord,
        FeedbackRequest,
        tag="feedback",
        scope=Scope.OPERATE,
    ),
    Operation(
        "GET",
        "/api/v1/feedback/precision",
        precision,
        "How often each detector was right, by type, with a 95% interval",
        {200: "Precision by detector and type"},
        result=Precisions,
        tag="feedback",
        scope=Scope.READ,
    ),
)
