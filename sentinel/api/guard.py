"""What stands in front of every request: errors as problem+json, limits, origins, security headers, counts."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from sentinel.api.context import CONTEXT
from sentinel.api.operation import Handler, problem
from sentinel.api.params import BadParameterError
from sentinel.config.schema import Api
from sentinel.core.errors import FullError, RetryableError
from sentinel.observability.logs import frames, get

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
LOOPBACK_HOSTS = frozenset(("localhost", "127.0.0.1", "::1"))
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))

log = get(__name__)


@web.middleware
async def measure(request: web.Request, handler: Next) -> web.StreamResponse:
    """Count and time every request by route, never by path: paths come from outside."""
    context = request.app[CONTEXT]
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "unknown"
    started = context.clock.monotonic()
    response = await handler(request)
    elapsed = context.clock.monotonic() - started
    context.metrics.api_requests.labels(route, str(response.status)).inc()
    context.metrics.api_request_seconds.labels(route).observe(elapsed)
    if context.config.api.enable_logging:
        log.info("request", method=request.method, route=route, status=response.status, seconds=round(elapsed, 4))
    return response


@web.middleware
async def problems(request: web.Request, handler: Next) -> web.StreamResponse:
    """Every error is problem+json; what we did not foresee says nothing about our insides."""
    api = request.app[CONTEXT].config.api
    try:
        async with asyncio.timeout(api.timeout_secs):
            return await handler(request)
    except TimeoutError:
        detail = f"no answer within {api.timeout_secs:g} s; what was sent may be stored: repeating it with the same event_ids is harmless"
        return problem(503, "Service Unavailable", detail, {"Retry-After": "5"})
    except web.HTTPException as error:
        return _http_problem(error, api)
    except (BadParameterError, FullError, RetryableError) as error:
        return _own_problem(error)
    except web.RequestPayloadError:
        return _unreadable(request)
    except ConnectionError:
        raise  # the client is gone: there is nobody to answer, and nothing of ours has failed
    except Exception as error:  # noqa: BLE001  whatever it is, the caller learns nothing of our insides
        log.error("request failed", method=request.method, error=type(error).__name__, frames=frames(error))  # noqa: TRY400  see `frames`
        return problem(500, "Internal Server Error", "the request failed on our side; the log has the details")


def _http_problem(error: web.HTTPException, api: Api) -> web.Response:
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        detail = f"a body may have {api.max_body_size} bytes after decompression; send smaller batches"
        return problem(413, "Content Too Large", detail)
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    return problem(error.status, error.reason, f"{error.reason}: see /docs for what there is", headers)


def _unreadable(request: web.Request) -> web.Response:
    """The body cannot be decompressed, or breaks off: what follows on this connection cannot be told from it."""
    # Without this aiohttp reads on, fails again, and cuts the connection before the answer is out.
    request.content.feed_eof()
    answer = problem(400, "Bad Request", "the body cannot be read: check Content-Encoding and Content-Length")
    answer.force_close()
    return answer


def _own_problem(error: BadParameterError | FullError | RetryableError) -> web.Response:
    if isinstance(error, BadParameterError):
        return problem(400, "Bad Request", str(error))
    if isinstance(error, FullError):
        return problem(429, "Too Many Requests", f"{error}; come again later", {"Retry-After": _whole_seconds(error.retry_after_s)})
    return problem(503, "Service Unavailable", str(error), {"Retry-After": _whole_seconds(error.after_s)})


def _whole_seconds(seconds: float | None) -> str:
    return str(max(1, math.ceil(seconds or 1.0)))


@web.middleware
async def origins(request: web.Request, handler: Next) -> web.StreamResponse:
    """Keep other sites' pages out: foreign host names (DNS rebinding) and foreign origins, unless CORS lets them in."""
    api = request.app[CONTEXT].config.api
    origin = request.headers.get("Origin")
    allowed = _allowed_origin(api, origin)
    if api.bind_addr.rpartition(":")[0].strip("[]") in LOOPBACK_HOSTS and _host(request.host) not in LOOPBACK_HOSTS:
        return problem(421, "Misdirected Request", "this daemon listens on loopback; call it as localhost, 127.0.0.1 or [::1]")
    if origin and not allowed and _foreign(origin, request.host) and request.method not in SAFE_METHODS:
        return problem(403, "Forbidden", "requests from other origins are off; see api.enable_cors and api.cors_origins")
    if request.method == "OPTIONS" and allowed:
        return web.Response(status=204, headers=_cors(allowed))
    response = await handler(request)
    if allowed:
        response.headers.update(_cors(allowed))
    return response


async def secure(_request: web.Request, response: web.StreamResponse) -> None:
    """Security headers on every answer."""
    response.headers.update(HEADERS)
    response.headers["Server"] = "llm-sentinel"


def _host(host: str) -> str:
    """The name in a Host header without its port; empty when it is no host."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _foreign(origin: str, host: str) -> bool:
    """Whether a page of `origin` speaks to a host that is not its own."""
    return origin.partition("://")[2] != host


def once_started(answer: Handler) -> Handler:
    """The same, but unavailable while the daemon is starting."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        if not request.app[CONTEXT].started:
            return problem(503, "Service Unavailable", "the daemon is starting; see /health/startup", {"Retry-After": "2"})
        return await answer(request)

    return guarded


def _allowed_origin(api: Api, origin: str | None) -> str | None:
    """What to answer in Access-Control-Allow-Origin, None when this origin may not read."""
    if not api.enable_cors or not origin:
        return None
    if "*" in api.cors_origins:
        return "*"
    return origin if origin in api.cors_origins else None


def _cors(allowed: str) -> dict[str, str]:
    return {
        "Access-Control-Allow-Origin": allowed,
        "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
        "Access-Control-Allow-Headers": "Content-Type, X-API-Key, Authorization",
        "Access-Control-Max-Age": "600",
        "Vary": "Origin",
    }
