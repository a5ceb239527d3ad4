"""One request to the daemon, and what its answer means."""

import json
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final
from urllib.parse import urlsplit

from llm_sentinel.event import Record
from llm_sentinel.security import Security

EVENTS_PATH: Final = "/api/v1/events"
TIMEOUT_S: Final = 15.0
"""Longer than the daemon takes to answer that it could not make the events durable."""

MAX_ANSWER_BYTES: Final = 1_048_576
LONGEST_PAUSE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Taken:
    """The daemon answered for every event.

    Attributes:
        rejected: how many it could not accept; they are in its dead letters.
        reasons: position in the request and reason of those it named.
    """

    rejected: int = 0
    reasons: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Later:
    """Nothing was taken, or nobody knows: the same is to be sent again.

    Attributes:
        reason: in words.
        after_s: seconds to wait, as the daemon asked; None when it did not.
    """

    reason: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The daemon will never take this request.

    Attributes:
        reason: in words.
        too_large: it may take the events in smaller requests.
    """

    reason: str
    too_large: bool = False


Answer = Taken | Later | Refused

_NOT_OURS: Final = "the answer was {}: check that the URL is that of an LLM-Sentinel daemon and that it takes events over HTTP"


class Poster:
    """Posts records over one connection that it keeps. Used from one thread at a time.

    Redirects are not followed and proxies of the environment are not used.

    Args:
        url: `http://host:port` or `https://host:port` of the daemon; a path before `/api/v1/events` is kept.
        api_key: sent as `X-API-Key`.
        security: files for TLS, and whether the key may travel unencrypted.

    Raises:
        ValueError: the URL is none, or would show the key.
        OSError: a file cannot be used.
    """

    def __init__(self, url: str, api_key: str | None, security: Security) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query or parts.fragment:
            raise ValueError("url: give http://host:port or https://host:port of the daemon, without user, query or fragment")
        if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
            raise ValueError("api_key: must be printable ASCII")
        if api_key is not None and parts.scheme == "http":
            security.require_private("the API key", [parts.hostname])
        self._host, self._port = parts.hostname, parts.port
        self._path = parts.path.rstrip("/").removesuffix(EVENTS_PATH) + EVENTS_PATH
        self.url = f"{parts.scheme}://{parts.netloc}{self._path}"
        self._headers = {"Content-Type": "application/x-ndjson", "User-Agent": "llm-sentinel-sdk"} | (
            {"X-API-Key": api_key} if api_key else {}
        )
        self._tls = _tls(security) if parts.scheme == "https" else None
        self._connection: HTTPConnection | None = None

    def post(self, records: Sequence[Record]) -> Answer:
        """Send the records in one request and wait for the answer. Raises nothing that the network or the other side can cause."""
        body = b"\n".join(record.value for record in records)
        try:
            return self._answer(body, len(records))
        except (OSError, HTTPException, ValueError) as error:
            self.close()
            return Later(f"no answer from the daemon at {self._host}: {_reason(error)}")

    def close(self) -> None:
        """Disconnect. Twice is harmless."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _answer(self, body: bytes, events: int) -> Answer:
        reused = self._connection is not None
        try:
            status, retry_after, text = self._exchange(body)
        except (ConnectionError, HTTPException):
            if not reused:
                raise
            # Servers close idle connections; what was sent on one is told by its ids.
            self.close()
            status, retry_after, text = self._exchange(body)
        return meaning(status, retry_after, text, events)

    def _exchange(self, body: bytes) -> tuple[int, str | None, bytes]:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request("POST", self._path, body, self._headers)
        response = self._connection.getresponse()
        text = response.read(MAX_ANSWER_BYTES)
        if response.read(1):
            self.close()
        return response.status, response.headers.get("Retry-After"), text

    def _connect(self) -> HTTPConnection:
        if self._tls is not None:
            return HTTPSConnection(self._host, self._port, timeout=TIMEOUT_S, context=self._tls)
        return HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)


def meaning(status: int, retry_after: str | None, text: bytes, events: int) -> Answer:
    """What an answer to so many events means.

    >>> meaning(202, None, b'{"accepted": 2, "rejected": 0, "errors": []}', 2)
    Taken(rejected=0, reasons=())
    >>> meaning(429, "2", b"", 2)
    Later(reason='the daemon is busy (429)', after_s=2.0)
    """
    if 200 <= status < 300 or status == 400:
        return _taken(status, _json_object(text), events)
    if status in {429, 503}:
        return Later(f"the daemon is busy ({status})", _seconds(retry_after))
    if status == 413:
        return Refused("the request is too large for the daemon (413)", too_large=True)
    if status in {401, 403}:
        return Later(f"the daemon wants an API key that may write events ({status})")
    if status == 415:
        return Refused("the daemon does not understand what was sent (415)")
    return Later(_NOT_OURS.format(status))


def _taken(status: int, answer: dict[str, Any], events: int) -> Answer:
    rejected = answer.get("rejected")
    if not isinstance(rejected, int) or rejected < 0:
        return Refused("the daemon could not read the request (400)") if status == 400 else Later(_NOT_OURS.format(status))
    errors = answer.get("errors")
    named = [
        (error["index"], f"rejected by the daemon: {error.get('code')}: {error.get('detail')}"[:300])
        for error in (errors if isinstance(errors, list) else [])
        if isinstance(error, dict) and isinstance(error.get("index"), int) and 0 <= error["index"] < events
    ]
    return Taken(min(rejected, events), tuple(named))


def _json_object(text: bytes) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):
        answer = json.loads(text)
        if isinstance(answer, dict):
            return answer
    return {}


def _seconds(header: str | None) -> float | None:
    text = (header or "").strip()
    return min(float(text), LONGEST_PAUSE_S) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _tls(security: Security) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=security.ca_file)
    if security.cert_file:
        context.load_cert_chain(security.cert_file, security.key_file)
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return f"nothing within {TIMEOUT_S:g} s"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
