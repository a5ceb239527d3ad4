"""Probes: by progress, not by being up."""

from aiohttp import web

from sentinel.api.context import CONTEXT, Context
from sentinel.api.operation import Operation, reply
from sentinel.core.timestamp import rfc3339


async def live(request: web.Request) -> web.Response:
    """Unhealthy only when a restart would help."""
    context = request.app[CONTEXT]
    return _answer(context, context.pipeline.progress.stalled())


async def ready(request: web.Request) -> web.Response:
    """Whether the daemon makes progress and may get traffic."""
    context = request.app[CONTEXT]
    return _answer(context, context.reasons())


async def startup(request: web.Request) -> web.Response:
    """Whether start-up is over."""
    context = request.app[CONTEXT]
    return _answer(context, [] if context.started else ["starting"])


def _answer(context: Context, reasons: list[str]) -> web.Response:
    body: dict[str, object] = {"status": "unhealthy" if reasons else "healthy", "timestamp": rfc3339(context.clock.now_ns())}
    if reasons:
        body["reasons"] = reasons
    return reply(body, 503 if reasons else 200)


ANSWERS = {200: "Healthy", 503: "Not healthy; `reasons` says why"}
OPERATIONS = (
    Operation("GET", "/health/live", live, "Liveness: 503 only when a restart would help", ANSWERS, tag="health"),
    Operation("GET", "/health/ready", ready, "Readiness: work moves and sinks take it", ANSWERS, tag="health"),
    Operation("GET", "/health/startup", startup, "Start-up is over", ANSWERS, tag="health"),
    Operation("GET", "/api/v1/health", ready, "Alias of /health/ready", ANSWERS, tag="health"),
)
