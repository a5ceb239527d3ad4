"""Ingest over HTTP: one event, an array, or NDJSON. 202 means durable."""

import asyncio

import msgspec
from aiohttp import web

from sentinel.api import params
from sentinel.api.context import CONTEXT, Context, Ingest
from sentinel.api.operation import Operation, problem, reply
from sentinel.api.split import TooManyError, split
from sentinel.core.access import Scope
from sentinel.core.errors import FullError, RetryableError
from sentinel.core.ports import Outcome

ENCODINGS = ("", "identity", "gzip", "deflate")
SHOWN_REJECTS = 100
"""Rejects listed in one answer; `rejected` counts all."""


class Rejected(msgspec.Struct):
    """An event that could not be accepted, by its position in the request."""

    index: int
    code: str
    detail: str


class Accepted(msgspec.Struct):
    """What became of the events of a request."""

    accepted: int
    rejected: int
    duplicates: int
    filtered: int
    errors: list[Rejected]


async def ingest(request: web.Request) -> web.Response:
    """Take events; answer when each is stored or dead-lettered."""
    context = request.app[CONTEXT]
    if context.ingest is None:
        return problem(404, "Not Found", "ingest over HTTP is off: see ingestion.http.enabled and ingestion.files.exit_at_end")
    if context.stopping:
        return problem(503, "Service Unavailable", "the daemon is stopping", {"Retry-After": "5"})
    params.known(request.query, ())
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ENCODINGS:
        return problem(415, "Unsupported Media Type", "a body may be compressed with gzip or deflate", {"Accept-Encoding": "gzip, deflate"})
    most = context.config.ingestion.http.max_events_per_request
    try:
        records = split(await request.read(), request.content_type, most)
    except TooManyError:
        context.metrics.ingestion_errors.labels("too_many").inc()
        return problem(413, "Content Too Large", f"more than {most} events in one request; send smaller batches")
    if not records:
        return problem(400, "Bad Request", "the body holds no event; send one JSON object, an array of them, or one per line")
    return _answer(await _submitted(context, context.ingest, records))


async def _submitted(context: Context, ingest: Ingest, records: list[bytes]) -> Outcome:
    """What became of the records; that they could not be made durable is counted."""
    errors = context.metrics.ingestion_errors
    try:
        return await ingest.submit(records)
    except FullError:
        errors.labels("queue_full").inc()
        raise
    except RetryableError:
        errors.labels("stopping").inc()
        raise
    except asyncio.CancelledError:
        errors.labels("not_confirmed").inc()
        raise


def _answer(outcome: Outcome) -> web.Response:
    rejected = len(outcome.dead_letters)
    shown = outcome.dead_letters[:SHOWN_REJECTS]
    errors = [Rejected(letter.index, letter.code.value, letter.detail) for letter in shown]
    if rejected == outcome.received:
        return problem(400, "Bad Request", "no event could be accepted; `errors` says why", errors=errors, rejected=rejected)
    return reply(Accepted(outcome.received - rejected, rejected, outcome.duplicates, outcome.filtered, errors), 202)


OPERATIONS = (
    Operation(
        "POST",
        "/api/v1/events",
        ingest,
        "Hand in telemetry events",
        {
            202: "Durable; rejected ones are listed by their index",
            400: "None could be accepted",
            413: "Too large, or too many events",
            415: "Compressed in a way that is not understood",
            429: "Queue full; see Retry-After",
            503: "Starting, stopping, or not confirmed in time",
        },
        result=Accepted,
        body={"description": "One event, an array of events, or one event per line (application/x-ndjson); gzip is understood."},
        body_types=("application/json", "application/x-ndjson"),
        tag="ingest",
        scope=Scope.INGEST,
    ),
)
