"""Who is let in: API keys, scopes and rate limits, in front of every operation.

A key is sent as `X-API-Key` or `Authorization: Bearer`; the first wins where both are. It is never taken from an address, because
addresses are logged. A key is judged before any limit is looked at: failed attempts have limits of their own, so nobody can lock out
the owner of a good key by guessing from the same address.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from aiohttp import web
from aiohttp.typedefs import Middleware

from sentinel.api.operation import problem
from sentinel.api.rate_limit import TokenBuckets, peer_name
from sentinel.config.addresses import is_loopback, parse_address
from sentinel.config.schema import Api
from sentinel.core.access import GRANTS, ApiKey, Refusal, Role, Scope, admitted, holds_key, words_of
from sentinel.core.ports import Clock
from sentinel.observability.logs import get
from sentinel.observability.metrics import Metrics

FAILURES_PER_S: Final = 1.0
FAILURE_BURST: Final = 20
"""Keys that open nothing, by peer address: how many are answered 401 before the answer is 429."""
QUERY_NAMES: Final = frozenset(("api_key", "apikey", "api-key", "x-api-key", "access_token", "token", "authorization"))
"""Query parameters in which people try to send a key; no operation has one of these."""
PROBES: Final = ("/health/", "/api/v1/health")
REALM: Final = 'Bearer realm="llm-sentinel"'
ANONYMOUS: Final = "anonymous"
ACTOR: Final = web.RequestKey("actor", str)

Routes = Mapping[tuple[str, str], Scope]
"""Method and path, as the router names it, to the scope a caller needs."""
Next = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = get(__name__)


class Keys(Protocol):
    """The keys there are, in memory."""

    @property
    def loaded(self) -> bool:
        """Whether they were read at least once; until then nobody can be judged."""
        ...

    def find(self, kid: str) -> ApiKey | None:
        """The key of a kid; None when there is none, or it was revoked."""
        ...

    def used(self, kid: str) -> None:
        """The key was used just now."""
        ...


def actor(request: web.Request) -> str:
    """Who asks, for the audit log: the kid of the key, or `anonymous` where none is required and none was given."""
    name: str = request.get(ACTOR, ANONYMOUS)
    return name


def is_public(api: Api) -> bool:
    """Whether other machines could reach the API."""
    return not is_loopback(parse_address(api.bind_addr).host)


def keys_required(api: Api) -> bool:
    """Whether a caller without a key is turned away."""
    return is_public(api) if api.require_keys is None else api.require_keys


def metrics_are_public(api: Api) -> bool:
    """Whether metrics are told to everybody who can reach the API."""
    return api.metrics_public or not is_public(api)


class Access:
    """Judges requests.

    Args:
        api: what is required, and the limits.
        keys: the keys there are; None when there is no place for them, and then a key opens nothing.
        routes: what each operation needs. A route that is not in it needs the scope of admins.
    """

    def __init__(self, api: Api, keys: Keys | None, routes: Routes, clock: Clock, metrics: Metrics) -> None:
        self.required = keys_required(api)
        self._keys = keys
        self._routes = routes
        self._clock = clock
        self._metrics = metrics
        self._by_key = TokenBuckets(api.rate_limit_per_s, api.rate_limit_burst)
        self._by_peer = TokenBuckets(api.rate_limit_per_s, api.rate_limit_burst)
        self._failures = TokenBuckets(FAILURES_PER_S, FAILURE_BURST)

    @property
    def middleware(self) -> Middleware:
        """What stands in front of every handler."""

        @web.middleware
        async def judged(request: web.Request, handler: Next) -> web.StreamResponse:
            refusal = self._refusal(request)
            return refusal if refusal is not None else await handler(request)

        return judged

    def _refusal(self, request: web.Request) -> web.Response | None:
        """Why the request goes no further; None when it may."""
        if _key_in_address(request):
            return self._refused("in_address", _key_was_shown())
        scope = self._scope(request)
        given = _given(request)
        if scope is Scope.PUBLIC or (given is None and not self.required):
            return self._anonymous(request)
        if self._keys is None or not self._keys.loaded:
            return self._refused("not_loaded", _not_loaded())
        if given is None:
            return self._anonymous(request) or self._refused("missing", _no_key(scope))
        key = admitted(given, self._keys.find, self._clock.now_ns())
        return self._turned_away(request, key) if isinstance(key, Refusal) else self._as_holder(request, key, scope)

    def _scope(self, request: web.Request) -> Scope:
        """What the request needs. What is not there at all may be told to everybody."""
        if request.match_info.http_exception is not None:
            return Scope.PUBLIC
        resource = request.match_info.route.resource
        method = "GET" if request.method == "HEAD" else request.method
        return self._routes.get((method, resource.canonical if resource is not None else ""), Scope.ADMIN)

    def _anonymous(self, request: web.Request) -> web.Response | None:
        if request.path.startswith(PROBES):
            return None  # a probe that is turned away restarts a daemon that is well
        wait_s = self._by_peer.take(peer_name(request.remote), self._clock.monotonic())
        return self._refused("rate", _too_often(wait_s, "this address asks too often")) if wait_s else None

    def _turned_away(self, request: web.Request, refusal: Refusal) -> web.Response:
        """A key was given and opens nothing; that is told to its sender, but not without end."""
        peer = peer_name(request.remote)
        wait_s = self._failures.take(peer, self._clock.monotonic())
        if wait_s:
            return self._refused("failures", _too_often(wait_s, "too many keys from this address were refused"))
        log.warning("API key refused", reason=refusal.value, peer=peer)
        return self._refused(refusal.value, _bad_key(refusal))

    def _as_holder(self, request: web.Request, key: ApiKey, scope: Scope) -> web.Response | None:
        """What the holder of a good key may do."""
        assert self._keys is not None  # noqa: S101  a key was found there
        request[ACTOR] = key.kid
        self._keys.used(key.kid)
        wait_s = self._by_key.take(key.kid, self._clock.monotonic())
        if wait_s:
            return self._refused("rate", _too_often(wait_s, "this key is used too often"))
        return None if key.grants(scope) else self._refused("scope", _not_enough(key, scope))

    def _refused(self, reason: str, answer: web.Response) -> web.Response:
        self._metrics.api_refusals.labels(reason).inc()
        return answer


def warn_of_openness(api: Api) -> None:
    """Say once, at start, that anybody who reaches the API may use it."""
    if not keys_required(api):
        log.warning("the API needs no key: whoever reaches it may read, send and change everything", cure="set api.require_keys to true")


# --------------------------------------------------------------------------------------------------------------------- requests


def _given(request: web.Request) -> str | None:
    """The key a request carries, as it stands; None when it carries none. An empty header is a key that opens nothing."""
    key = request.headers.get("X-API-Key")
    if key is not None:
        return key
    scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _key_in_address(request: web.Request) -> bool:
    if holds_key(request.path):
        return True
    return bool(request.query_string) and (holds_key(request.query_string) or any(name.lower() in QUERY_NAMES for name in request.query))


# ---------------------------------------------------------------------------------------------------------------------- answers


def _key_was_shown() -> web.Response:
    detail = (
        "an API key is never taken from the address, because addresses are logged on the way: send it as the header X-API-Key. "
        "If what you sent is a key in use, revoke it: sentinel keys revoke KID"
    )
    return problem(400, "Bad Request", detail)


def _not_loaded() -> web.Response:
    return problem(503, "Service Unavailable", "the API keys are not loaded yet; see /health/startup", {"Retry-After": "2"})


def _no_key(scope: Scope) -> web.Response:
    detail = f"an API key with the scope `{scope}` is needed: send it as X-API-Key or Authorization: Bearer; see sentinel keys --help"
    return problem(401, "Unauthorized", detail, {"WWW-Authenticate": REALM})


def _bad_key(refusal: Refusal) -> web.Response:
    detail = {
        Refusal.UNKNOWN: "there is no such API key, or it was revoked: check that all of it was copied; see sentinel keys ls",
        Refusal.EXPIRED: "this API key has expired: make a new one with sentinel keys create",
    }[refusal]
    return problem(401, "Unauthorized", detail, {"WWW-Authenticate": f'{REALM}, error="invalid_token"'})


def _not_enough(key: ApiKey, scope: Scope) -> web.Response:
    enough = ", ".join(role for role in Role if scope in GRANTS[role])
    detail = (
        f"this needs the scope `{scope}`, which the role of this key ({words_of(key.roles)}) does not have; roles that have it: {enough}"
    )
    return problem(403, "Forbidden", detail, {"WWW-Authenticate": f'{REALM}, error="insufficient_scope", scope="{scope}"'})


def _too_often(wait_s: float, why: str) -> web.Response:
    return problem(429, "Too Many Requests", f"{why}; come again later", {"Retry-After": str(max(1, math.ceil(wait_s)))})
