"""Request bodies as values, with errors that say what is wrong."""

from typing import Annotated, TypeVar

import msgspec
from aiohttp import web

from sentinel.api.params import BadParameterError

T = TypeVar("T")

PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
"""No control characters: neither a log nor a database wants them."""

Service = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=PRINTABLE)]
Model = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=PRINTABLE)]
Tenant = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=PRINTABLE)]


async def read(request: web.Request, kind: type[T]) -> T:
    """The body as a value of a type. Raises BadParameterError, which callers are told as 400."""
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadParameterError(f"body: {error}") from error
