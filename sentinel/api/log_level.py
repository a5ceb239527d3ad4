"""The log level while the daemon runs."""

import msgspec
from aiohttp import web

from sentinel.api import params
from sentinel.api.access import actor
from sentinel.api.operation import Operation, problem, reply
from sentinel.core.access import Scope
from sentinel.observability import logs

log = logs.get(__name__)


class LogLevel(msgspec.Struct, forbid_unknown_fields=True):
    """The least severe level that is logged: debug, info, warning or error."""

    level: str


async def show(request: web.Request) -> web.Response:
    """What is logged now."""
    params.known(request.query, ())
    return reply(LogLevel(logs.current_level()))


async def change(request: web.Request) -> web.Response:
    """Log from another level on, until the next reload or start brings the configured one back."""
    params.known(request.query, ())
    try:
        wanted = msgspec.json.decode(await request.read(), type=LogLevel)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return problem(400, "Bad Request", 'the body must be like {"level": "debug"}')
    if wanted.level not in logs.LEVELS:
        return problem(400, "Bad Request", f"level must be one of {', '.join(logs.LEVELS)}")
    before = logs.current_level()
    log.warning("log level changed", level=wanted.level, before=before, by=actor(request))
    logs.set_level(wanted.level)
    return reply(wanted)


PATH = "/api/v1/log-level"
OPERATIONS = (
    Operation("GET", PATH, show, "The log level", {200: "The level"}, result=LogLevel, tag="daemon", early=True, scope=Scope.READ),
    Operation(
        "PUT",
        PATH,
        change,
        "Change the log level until the next reload or start",
        {200: "The new level", 400: "Not a level"},
        result=LogLevel,
        body=LogLevel,
        tag="daemon",
        early=True,
        scope=Scope.OPERATE,
    ),
)
