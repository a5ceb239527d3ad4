"""An operation of the API: its route and its documentation in one place, so that they cannot part."""

from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

import msgspec
from aiohttp import web

from sentinel.core.access import Scope

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
JSON = ("application/json",)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query or path parameter."""

    name: str
    about: str
    schema: dict[str, Any]
    where: str = "query"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path.

    Attributes:
        answers: what each status means.
        scope: what a caller needs. It has no default: an operation that declares none cannot be made, and a new one is never open by
            mistake.
        result: type of a successful answer's body, None when it is no JSON.
        body: type or JSON Schema of the request body, None when it takes none; body_types are its content types.
        early: whether it answers while the daemon is starting; the others are unavailable until then.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answers: dict[int, str]
    parameters: tuple[Parameter, ...] = ()
    result: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | dict[str, Any] | None = None
    body_types: tuple[str, ...] = JSON
    tag: str = "queries"
    early: bool = False
    _: KW_ONLY
    scope: Scope


def reply(body: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer. NaN becomes null."""
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json", headers=headers)


def problem(status: int, title: str, detail: str, headers: dict[str, str] | None = None, **more: object) -> web.Response:
    """An error as RFC 9457 describes it: what went wrong and what to do."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/problem+json", headers=headers)
