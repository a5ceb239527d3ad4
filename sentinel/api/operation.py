"""An operation of the API: its route and its documentation in one place, so that they cannot part."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


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
        body: JSON Schema of the request body, None when it takes none.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answers: dict[int, str]
    parameters: tuple[Parameter, ...] = ()
    body: dict[str, Any] | None = None
    tag: str = "queries"


def reply(body: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer. NaN becomes null."""
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json", headers=headers)


def problem(status: int, title: str, detail: str, headers: dict[str, str] | None = None, **more: object) -> web.Response:
    """An error as RFC 9457 describes it: what went wrong and what to do."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/problem+json", headers=headers)
