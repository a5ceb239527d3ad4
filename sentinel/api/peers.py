"""Asking the other replicas what they know: each with a time limit, with the caller's own key, and never silently short.

Addresses come from the state database alone, where each replica of the group has written its own; no redirect is followed, and an answer is
read up to a limit. The caller's key goes along, so each replica judges for itself what the caller may. A loopback address is asked only on
the machine that wrote it.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import aiohttp
import msgspec
from aiohttp import web

from sentinel.api.operation import Parameter
from sentinel.config.addresses import host_of_url, is_loopback
from sentinel.state.replicas import Replica

LIMIT_S: Final = 2.0
"""For one answer; a replica that takes longer is named as one that did not answer."""
MOST_BYTES: Final = 8_388_608
SCOPES: Final = ("all", "replica")
_ABOUT: Final = "All replicas of the group, or only the one that is asked"
SCOPE: Final = Parameter("scope", _ABOUT, {"type": "string", "enum": list(SCOPES), "default": "all"})
OWN_SCOPE: Final = Parameter("scope", _ABOUT, {"type": "string", "enum": list(SCOPES), "default": "replica"})
_KEY_HEADERS: Final = ("X-API-Key", "Authorization")

T = TypeVar("T", bound=msgspec.Struct)


class PeerError(Exception):
    """A replica that gives no answer; the text says why, without what it sent."""


class Missing(msgspec.Struct):
    """A replica whose part an answer lacks."""

    replica: str
    partitions: list[str]
    reason: str


class Peers:
    """The other replicas.

    Args:
        others: those there are now.
        host: the name of this machine.
    """

    def __init__(self, others: Callable[[], Sequence[Replica]], host: str) -> None:
        self._others = others
        self._host = host
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Be able to ask."""
        timeout = aiohttp.ClientTimeout(total=LIMIT_S)
        self._session = aiohttp.ClientSession(timeout=timeout, trust_env=False, cookie_jar=aiohttp.DummyCookieJar())

    async def close(self) -> None:
        """Ask no more. Twice is harmless."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def ask(self, request: web.Request, kind: type[T]) -> tuple[list[T], list[Missing]]:
        """The same question to all others at once; their answers, and who gave none.

        Args:
            request: what this replica was asked.
            kind: what an answer must be.
        """
        others = list(self._others())
        answers = await asyncio.gather(*(self._one(other, request, kind) for other in others), return_exceptions=True)
        found: list[T] = []
        missing = []
        for other, answer in zip(others, answers, strict=True):
            if isinstance(answer, PeerError):
                missing.append(Missing(other.name, other.partitions, str(answer)))
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found.append(answer)
        return found, missing

    async def _one(self, other: Replica, request: web.Request, kind: type[T]) -> T:
        base = self._address(other)
        if self._session is None:
            raise PeerError("this replica is stopping")
        headers = {name: request.headers[name] for name in _KEY_HEADERS if name in request.headers}
        query = {**request.query, "scope": "replica"}
        try:
            async with self._session.get(f"{base}{request.path}", params=query, headers=headers, allow_redirects=False) as answer:
                if answer.status != web.HTTPOk.status_code:
                    raise PeerError(f"it answered with status {answer.status}")
                return msgspec.json.decode(await _bounded(answer), type=kind)
        except TimeoutError:
            raise PeerError(f"no answer within {LIMIT_S:g} s") from None
        except aiohttp.ClientError as error:
            raise PeerError(f"it cannot be reached: {type(error).__name__}") from None
        except msgspec.MsgspecError:
            raise PeerError("its answer is not one that this version knows") from None

    def _address(self, other: Replica) -> str:
        """Where to ask. Raises PeerError."""
        if other.url is None:
            raise PeerError("it has told no address: set api.advertise_url there")
        if not other.url.startswith(("http://", "https://")):
            raise PeerError("its address is none of HTTP: see api.advertise_url there")
        if is_loopback(host_of_url(other.url)) and other.host != self._host:
            raise PeerError("it listens on the loopback of another machine: set api.bind_addr or api.advertise_url there")
        return other.url


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    """The body, up to the limit. Raises PeerError beyond it."""
    body = bytearray()
    async for part in answer.content.iter_chunked(65_536):
        body += part
        if len(body) > MOST_BYTES:
            raise PeerError(f"its answer has more than {MOST_BYTES} bytes")
    return bytes(body)
