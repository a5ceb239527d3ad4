"""The official client, in synchronous mode, with its failures as ours. Every call blocks: never call it from the event loop.

The client's own batching is not used: it gives up points. Its redirects are off, so the token goes to the configured address only.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import pyarrow as pa
from influxdb_client_3 import SYNCHRONOUS, InfluxDBClient3, WriteOptions
from influxdb_client_3.exceptions import InfluxDB3ClientQueryError, InfluxDBError, InfluxDBPartialWriteError
from pyarrow import flight
from urllib3.exceptions import HTTPError

from sentinel.config.schema import InfluxDB
from sentinel.core.errors import CredentialsError, RetryableError, StartupError
from sentinel.storage.database import ReadTimeLimitError

CREDENTIALS_AGAIN_S: Final = 2.0
"""Seconds between two tries while our credentials are refused."""
MAX_WAIT_S: Final = 300.0
"""Longest wait that a server can ask for."""
MAX_MESSAGE_BYTES: Final = 67_108_864
"""Largest part of an answer that is taken."""
RECONNECT_MS: Final = 2_000
"""Longest pause between two tries to reach a server for queries."""

_CREDENTIALS: Final = (
    "set storage.influxdb.token or token_file to a token that may read and write both databases; until then everything waits"
)
_SAID: Final = 300


class RejectedError(Exception):
    """The server will never take this content. `reason` is its own words, bounded."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NoDatabaseError(Exception):
    """The database does not exist, because nothing was ever written to it."""


class Client(Protocol):
    """What the store needs of a server. All calls block, within the configured time."""

    def write(self, bucket: str, payload: bytes) -> None:
        """Store lines, all or none. Raises RejectedError or RetryableError."""
        ...

    def ask(self, bucket: str, statement: str, parameters: Mapping[str, object]) -> Iterator[pa.RecordBatch]:
        """The rows of a statement, in parts. Raises NoDatabaseError or RetryableError."""
        ...


class InfluxClient:
    """A connection to one server. The constructor connects nothing.

    Raises StartupError when the CA file cannot be read.
    """

    def __init__(self, section: InfluxDB) -> None:
        self.url = section.url
        parts = urlsplit(section.url)
        host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
        port = parts.port or (443 if parts.scheme == "https" else 80)
        self._client = InfluxDBClient3(
            host=f"{parts.scheme}://{host}:{port}",
            org=section.org,
            database=section.telemetry_bucket,
            token=section.token.reveal() if section.token else "",
            enable_gzip=section.gzip,
            write_client_options={
                "write_options": WriteOptions(write_type=SYNCHRONOUS.write_type, accept_partial=False, use_v2_api=section.api == "v2"),
            },
            flight_client_options={
                "generic_options": [
                    ("grpc.enable_http_proxy", 0),  # the write side goes by none either
                    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),  # Arrow knows no limit
                    ("grpc.initial_reconnect_backoff_ms", RECONNECT_MS // 20),
                    ("grpc.max_reconnect_backoff_ms", RECONNECT_MS),
                ],
            },
            write_timeout=int(section.timeout_secs * 1000),
            query_timeout=int(section.query_timeout_secs * 1000),
            **_trust(section.ca_file),
        )
        self._client.rest_client.timeout = section.timeout_secs  # for calls that take no limit of their own

    def write(self, bucket: str, payload: bytes) -> None:
        """Store lines, all or none.

        Raises:
            RejectedError: some of it will never be accepted.
            RetryableError: anything else; it may have been stored all the same.
        """
        try:
            self._client.write(record=payload, database=bucket)
        except InfluxDBError as error:
            raise self._refused(error, bucket) from error
        except (HTTPError, OSError) as error:
            raise self._unreachable(error) from error

    def ask(self, bucket: str, statement: str, parameters: Mapping[str, object]) -> Iterator[pa.RecordBatch]:
        """The rows of a statement, in parts as they arrive; stop early by closing the iterator.

        Raises:
            NoDatabaseError: nothing was ever written there.
            ReadTimeLimitError: it took too long.
            RetryableError: any other failure.
        """
        with self._failures():
            reader = self._client.query(statement, "sql", "chunk", bucket, query_parameters=parameters)
            try:
                while (part := _next(reader.read_chunk)) is not None:
                    if part.data is not None:
                        yield part.data
            finally:
                reader.cancel()

    def ping(self) -> str:
        """The server's version. Raises RetryableError when it does not answer."""
        try:
            return self._client.get_server_version() or "unknown"
        except InfluxDBError as error:
            raise self._refused(error, "") from error
        except (HTTPError, OSError) as error:
            raise self._unreachable(error) from error

    def close(self) -> None:
        """Disconnect."""
        self._client.close()

    def _unreachable(self, error: Exception) -> RetryableError:
        return RetryableError(f"cannot reach {self.url}: {_said(error)}; see that InfluxDB runs there and that no firewall is between")

    def _refused(self, error: InfluxDBError, bucket: str) -> Exception:
        status = error.response.status if error.response is not None else 0
        said = _said(_words_of(error))
        if status in {400, 413, 422}:
            return RejectedError(f"InfluxDB answered {status}: {said}")
        if status in {401, 403}:
            return CredentialsError(f"{self.url} refuses our credentials ({status}): {_CREDENTIALS}", CREDENTIALS_AGAIN_S)
        if status == 404:
            return RetryableError(f"{self.url} has no bucket {bucket} or no such API ({said}); create it, or set storage.influxdb.api")
        return RetryableError(f"{self.url} did not take a write ({status or 'no answer'}): {said}", _after_s(error.retry_after))

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Turn failures of a query into ours."""
        try:
            yield
        except (InfluxDB3ClientQueryError, pa.ArrowException) as error:
            cause = error.__context__ if isinstance(error, InfluxDB3ClientQueryError) else error
            if isinstance(cause, flight.FlightTimedOutError):
                raise ReadTimeLimitError(
                    "InfluxDB did not answer in time; ask for less, or raise storage.influxdb.query_timeout_secs"
                ) from error
            if isinstance(cause, flight.FlightUnauthenticatedError | flight.FlightUnauthorizedError):
                raise CredentialsError(f"{self.url} refuses our credentials: {_CREDENTIALS}", CREDENTIALS_AGAIN_S) from error
            if isinstance(cause, flight.FlightUnavailableError):
                raise self._unreachable(error) from error
            if "database" in str(error).lower() and "not found" in str(error).lower():
                raise NoDatabaseError from error
            raise RetryableError(f"{self.url} cannot answer: {_said(error)}") from error


def _words_of(error: InfluxDBError) -> str:
    """What the server said of the first line it names, or of the request; without an answer, what the client says."""
    if isinstance(error, InfluxDBPartialWriteError):
        return error.line_errors[0].error_message
    return error.message if error.response is not None else str(getattr(error, "reason", None) or error.message)


def _next(read: Callable[[], flight.FlightStreamChunk]) -> flight.FlightStreamChunk | None:
    try:
        return read()
    except StopIteration:
        return None


def _trust(ca_file: str | None) -> dict[str, Any]:
    """The client's option for a CA file of one's own."""
    if ca_file is None:
        return {}
    try:
        Path(ca_file).read_bytes()
    except OSError as error:
        raise StartupError(f"storage.influxdb.ca_file names {ca_file}, which cannot be read: {error.strerror}") from error
    return {"ssl_ca_cert": ca_file}


def _after_s(header: str | None) -> float | None:
    """How long the server asks us to wait: seconds or a date; None when it does not say, or nothing of use."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), MAX_WAIT_S) if seconds == seconds else None  # noqa: PLR0124  NaN


def _said(words: object) -> str:
    """What the other side said, fit for a log: one line, bounded."""
    text = " ".join(str(words).split())
    text = "".join(letter if letter.isprintable() else "?" for letter in text[: _SAID + 1])
    return text if len(text) <= _SAID else f"{text[:_SAID]}..."
