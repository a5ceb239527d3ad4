"""Replayed records go to a daemon's HTTP API, which sanitizes and judges them as any other."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from sentinel.alerting.retry_after import asked_s
from sentinel.app.dead_letters.letter import DeadLettersError
from sentinel.app.dead_letters.target import Outgoing, Target
from sentinel.core.requests import in_requests

EVENTS_PATH: Final = "/api/v1/events"
MOST_RECORDS: Final = 100
"""Of one request: an answer names as many rejects."""
MOST_BYTES: Final = 900_000
MOST_TRIES: Final = 10
LONGEST_PAUSE_S: Final = 60.0
_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, sock_connect=5)


class _Rejected(msgspec.Struct):
    index: int
    code: str
    detail: str


class _Answer(msgspec.Struct):
    """The part of an answer that tells what became of records; an answer to none of them has no errors."""

    errors: list[_Rejected]


class UrlTarget:
    """`POST /api/v1/events`, one request at a time, each an array of records. Open it with `url_target`.

    Args:
        url: of the operation.
        session: with the headers of every request.
    """

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    def unfit(self, outgoing: Outgoing) -> str | None:
        """Records travel as elements of an array."""
        try:
            msgspec.json.decode(outgoing.value, type=msgspec.Raw)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return "it is no JSON, and so cannot be sent over HTTP"
        return None

    async def send(self, batch: Sequence[Outgoing]) -> list[str | None]:
        """Post them. Raises DeadLettersError when there is no such daemon, it does not let us in, or stays busy."""
        told: list[str | None] = []
        for records in in_requests([outgoing.value for outgoing in batch], MOST_RECORDS, MOST_BYTES):
            told += await self._sent(records)
        return told

    async def _sent(self, records: list[bytes]) -> list[str | None]:
        status, body = await self._answer(b"[" + b",".join(records) + b"]")
        if status == 413:
            return await self._halved(records)
        try:
            errors = msgspec.json.decode(body, type=_Answer).errors
        except (msgspec.MsgspecError, ValueError) as error:
            raise DeadLettersError(f"{self._url} answered {status} and not as a daemon does. Check the address after --to.") from error
        reasons = {rejected.index: f"{rejected.code}: {rejected.detail}" for rejected in errors}
        return [reasons.get(index) for index in range(len(records))]

    async def _halved(self, records: list[bytes]) -> list[str | None]:
        """What is too much at once may pass in two parts."""
        if len(records) == 1:
            return [f"{len(records[0]):,} bytes are more than {self._url} takes"]
        half = len(records) // 2
        return [*await self._sent(records[:half]), *await self._sent(records[half:])]

    async def _answer(self, body: bytes) -> tuple[int, bytes]:
        """Status and body of an answer that is final; a daemon that is busy is asked again when it says."""
        for _ in range(MOST_TRIES):
            try:
                async with self._session.post(self._url, data=body, allow_redirects=False) as response:
                    if response.status in (401, 403):
                        raise DeadLettersError(
                            f"{self._url} answered {response.status}: it wants an API key that may write events. Give one with --api-key."
                        )
                    if response.status not in (429, 503):
                        return response.status, await response.read()
                    pause_s = asked_s(response.headers.get("Retry-After"), time.time())
            except (aiohttp.ClientError, TimeoutError) as error:
                raise DeadLettersError(
                    f"no answer from {self._url} ({str(error) or type(error).__name__}). Start the daemon, or check the address after --to."
                ) from error
            await asyncio.sleep(min(1.0 if pause_s is None else pause_s, LONGEST_PAUSE_S))
        raise DeadLettersError(f"{self._url} was busy {MOST_TRIES} times in a row. Replay what is left once it is well: see its /health.")


@asynccontextmanager
async def url_target(url: str, api_key: str | None) -> AsyncIterator[Target]:
    """A daemon's API; the first request shows whether there is one.

    Args:
        url: `http://host:port`, with or without the path of the operation.
        api_key: sent as `X-API-Key`.
    """
    parts = urlsplit(url)
    path = parts.path.rstrip("/").removesuffix(EVENTS_PATH) + EVENTS_PATH
    headers = {"Content-Type": "application/json"} | ({"X-API-Key": api_key} if api_key else {})
    async with aiohttp.ClientSession(headers=headers, timeout=_TIMEOUT) as session:
        yield UrlTarget(f"{parts.scheme}://{parts.netloc}{path}", session)
