"""Probes: by progress, not by being up."""

from collections.abc import Sequence

import msgspec
from aiohttp import web

from sentinel.api.context import CONTEXT, Context
from sentinel.api.operation import Operation, reply
from sentinel.core.access import Scope
from sentinel.core.timestamp import rfc3339


class Health(msgspec.Struct, omit_defaults=True):
    """`healthy`, or `unhealthy` with reasons. Alarms are told, and make nothing unhealthy by themselves."""

    status: str
    timestamp: str
    reasons: list[str] = []
    alarms: list[str] = []


async def live(request: web.Request) -> web.Response:
    """Unhealthy only when a restart would help."""
    context = request.app[CONTEXT]
    return _answer(context, context.pipeline.progress.stalled())


async def ready(request: web.Request) -> web.Response:
    """Whether the daemon makes progress and may get traffic."""
    context = request.app[CONTEXT]
    return _answer(context, context.reasons(), context.alarms())


async def startup(request: web.Request) -> web.Response:
    """Whether start-up is over."""
    context = request.app[CONTEXT]
    return _answer(context, [] if context.started else ["starting"])


def _answer(context: Context, reasons: list[str], alarms: Sequence[str] = ()) -> web.Response:
    body = Health("unhealthy" if reasons else "healthy", rfc3339(context.clock.now_ns()), reasons, list(alarms))
    return reply(body, 503 if reasons else 200)


ANSWERS = {200: "Healthy", 503: "Not healthy; `reasons` says why"}
PROBES = (
    ("/health/live", live, "Liveness: 503 only when a restart would help"),
    ("/health/ready", ready, "Readiness: work moves and sinks take it"),
    ("/health/startup", startup, "Start-up is over"),
    ("/api/v1/health", ready, "Alias of /health/ready"),
)
OPERATIONS = tuple(
    Operation("GET", path, probe, summary, ANSWERS, result=Health, tag="health", early=True, scope=Scope.PUBLIC)
    for path, probe, summary in PROBES
)
