"""Ingest over HTTP: one event, an array, or NDJSON. 202 means durable."""

import msgspec
from aiohttp import web

from sentinel.api.context import CONTEXT
from sentinel.api.operation import Operation, problem, reply
from sentinel.core.ports import Outcome

LINES = ("ndjson", "jsonl", "json-lines", "json-seq")
SHOWN_REJECTS = 100
"""Rejects listed in one answer; `rejected` counts all."""


async def ingest(request: web.Request) -> web.Response:
    """Take events; answer when each is stored or dead-lettered."""
    context = request.app[CONTEXT]
    if context.ingest is None:
        return problem(404, "Not Found", "ingest over HTTP is off; set ingestion.http.enabled: true")
    if not context.started or context.stopping:
        return problem(503, "Service Unavailable", "the daemon is starting or stopping", {"Retry-After": "2"})
    records = split(await request.read(), request.content_type)
    most = context.config.ingestion.http.max_events_per_request
    if not records:
        return problem(400, "Bad Request", "the body holds no event; send one JSON object, an array of them, or one per line")
    if len(records) > most:
        return problem(413, "Content Too Large", f"{len(records)} events in one request; send at most {most}")
    return _answer(await context.ingest.submit(records))


def split(body: bytes, content_type: str) -> list[bytes]:
    r"""The records of a body, undecoded: array elements, lines, or the one object.

    >>> split(b'[{"a": 1}, {"b": 2}]', "application/json")
    [b'{"a": 1}', b'{"b": 2}']
    >>> split(b'{"a": 1}\n{"b": 2}\n', "application/x-ndjson")
    [b'{"a": 1}', b'{"b": 2}']
    """
    if any(kind in content_type for kind in LINES):
        return [line for line in body.splitlines() if line.strip()]
    start = body.lstrip()[:1]
    try:
        if start == b"[":
            return [bytes(raw) for raw in msgspec.json.decode(body, type=list[msgspec.Raw])]
        if start == b"{":
            msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # No single JSON value: several lines, or one record that decoding will reject with its code.
        return [line for line in body.splitlines() if line.strip()]
    return [body] if start else []


def _answer(outcome: Outcome) -> web.Response:
    rejected = len(outcome.dead_letters)
    shown = outcome.dead_letters[:SHOWN_REJECTS]
    errors = [{"index": letter.index, "code": letter.code.value, "detail": letter.detail} for letter in shown]
    if rejected == outcome.received:
        return problem(400, "Bad Request", "no event could be accepted; `errors` says why", errors=errors, rejected=rejected)
    body = {
        "accepted": outcome.received - rejected,
        "rejected": rejected,
        "duplicates": outcome.duplicates,
        "filtered": outcome.filtered,
        "errors": errors,
    }
    return reply(body, 202)


OPERATIONS = (
    Operation(
        "POST",
        "/api/v1/events",
        ingest,
        "Hand in telemetry events",
        {
            202: "Durable; rejected ones are listed by their index",
            400: "None could be accepted",
            413: "Too large",
            429: "Queue full; see Retry-After",
            503: "Starting, stopping, or not confirmed in time",
        },
        body={"description": "One event, an array of events, or one event per line (application/x-ndjson); gzip is understood."},
        tag="ingest",
    ),
)
