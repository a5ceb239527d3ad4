"""The producer: what an application calls."""

import os
import weakref
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, Unpack, cast

from llm_sentinel import connect
from llm_sentinel.delivery import OnError, Stats, Tally
from llm_sentinel.event import TelemetryEvent, TelemetryFields, completed, create_telemetry_event, record
from llm_sentinel.security import Security
from llm_sentinel.transport import CLOSED, Limits, Transport
from llm_sentinel.validation import InvalidEventError

MIB: Final = 1_048_576


class TelemetryProducer:
    """Sends telemetry events without getting in the application's way. Safe to use from several threads, and after a fork.

    Sending puts an event into a bounded buffer and returns; threads of the producer's own deliver it and try again until
    `delivery_timeout_s` has passed. Trouble with delivery never raises: it is counted in `stats()` and told to `on_error`. At the end of
    the block, at `close()` and at the normal end of the interpreter what is buffered is sent, for at most `close_timeout_s`.

    After a fork the child's producer begins empty, with a connection and counts of its own; what the parent had buffered the parent sends.

    Args:
        brokers: Kafka brokers as host:port, in a list or separated by commas. Needs `pip install 'llm-sentinel-sdk[kafka]'`.
        topic: Kafka topic.
        bootstrap_servers: another name for `brokers`.
        url: of a daemon that takes events over HTTP, such as `http://127.0.0.1:8080`; instead of brokers.
        api_key: for the daemon, over HTTP.
        security: encryption and authentication.
        strict: raise InvalidEventError for events that the daemon would not take; otherwise they are counted, told and left out.
        on_error: told what goes wrong, about once a second, from a thread of the producer's own or the one that closes it. It should
            not block. Without it a warning is logged by the logger `llm_sentinel`.
        buffer_max_events: events that may wait for their confirm.
        buffer_max_bytes: their size as JSON, in bytes.
        block_timeout_s: how long `send_event` may wait for room in a full buffer, in seconds; then, with 0 at once, the event is dropped.
        delivery_timeout_s: how long an event is tried to be delivered, in seconds.
        close_timeout_s: how long the end may take, in seconds.
        linger_ms: how long an event waits for others to share a request, in milliseconds.
        client_options: further properties of the Kafka client by librdkafka's names; they win over what is set here.

    Raises:
        ValueError: settings that cannot be, or do not fit together. A broker or daemon that is down is no reason: it is waited for.
        ImportError: the Kafka client is not installed.
        OSError: a TLS file cannot be used.
    """

    def __init__(
        self,
        brokers: Sequence[str] | str | None = None,
        topic: str = "llm.telemetry",
        *,
        bootstrap_servers: Sequence[str] | str | None = None,
        url: str | None = None,
        api_key: str | None = None,
        security: Security | None = None,
        strict: bool = True,
        on_error: OnError | None = None,
        buffer_max_events: int = 100_000,
        buffer_max_bytes: int = 32 * MIB,
        block_timeout_s: float = 0.0,
        delivery_timeout_s: float = 300.0,
        close_timeout_s: float = 5.0,
        linger_ms: float = 5.0,
        client_options: Mapping[str, Any] | None = None,
    ) -> None:
        servers = brokers if brokers is not None else bootstrap_servers
        if sum(given is not None for given in (brokers, bootstrap_servers, url)) != 1:
            raise ValueError("give either brokers (or bootstrap_servers) for Kafka, or url for a daemon over HTTP")
        if min(buffer_max_events, buffer_max_bytes) < 1 or delivery_timeout_s <= 0:
            raise ValueError("buffer_max_events, buffer_max_bytes and delivery_timeout_s must be more than 0")
        limits = Limits(buffer_max_events, buffer_max_bytes, delivery_timeout_s, linger_ms / 1e3)
        if servers is not None:
            if api_key is not None:
                raise ValueError("api_key is for HTTP; Kafka takes security=Security(username=..., password=...)")
            self._destination = connect.kafka(servers, topic, security or Security(), limits, client_options)
        else:
            if client_options is not None:
                raise ValueError("client_options are for Kafka")
            self._destination = connect.http(url or "", api_key, security or Security(), limits)
        self._strict = strict
        self._on_error = on_error
        self._block_timeout_s = block_timeout_s
        self._close_timeout_s = close_timeout_s
        self._begin()
        self._transport.open()

    def _begin(self) -> None:
        """Start with an empty buffer and no counts."""
        self._tally = Tally(self._on_error)
        self._transport = self._destination.transport(self._tally)
        self._end = weakref.finalize(self, _close, self._transport, self._tally, self._close_timeout_s)
        _producers.add(self)

    def create_telemetry_event(
        self, service_name: str, model_name: str, latency_ms: float, **fields: Unpack[TelemetryFields]
    ) -> TelemetryEvent:
        """As the function of this name; with `strict=False` it raises nothing, and `send_event` counts what is wrong."""
        if self._strict:
            return create_telemetry_event(service_name, model_name, latency_ms, **fields)
        event = {"service_name": service_name, "model_name": model_name, "latency_ms": latency_ms, **fields}
        return cast("TelemetryEvent", completed(event))

    def send_event(self, event: TelemetryEvent | Mapping[str, Any]) -> bool:
        """Take an event for delivery. It gets an id and a time where it has none.

        Returns:
            Whether it is in the buffer; false when it was dropped, or is invalid and the producer not strict.

        Raises:
            InvalidEventError: with `strict`, the daemon would not take it. Nothing else.
        """
        try:
            taken = record(event)
        except InvalidEventError as error:
            self._tally.invalid(str(error), told=self._strict)
            if self._strict:
                raise
            return False
        reason = self._transport.offer(taken, self._block_timeout_s)
        if reason is None:
            self._tally.accepted()
            return True
        self._tally.dropped(reason, taken.event_id)
        if reason == CLOSED:
            self._tally.tell()  # no thread of ours would
        return False

    def flush(self, timeout_s: float = 10.0) -> int:
        """Wait until every event that was taken is delivered or has failed, at most so long. Returns how many are left."""
        left = self._transport.flush(timeout_s)
        self._tally.tell(now=True)
        return left

    def stats(self) -> Stats:
        """What became of the events so far."""
        return self._tally.stats(self._transport.buffered())

    def close(self) -> None:
        """Send what is buffered, for at most `close_timeout_s`, and disconnect. What is left has failed. Twice is harmless."""
        self._end()
        self._tally.tell(now=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"TelemetryProducer({self._destination.place!r})"


def _close(transport: Transport, tally: Tally, timeout_s: float) -> None:
    transport.close(timeout_s)
    tally.tell(now=True)


_producers: "weakref.WeakSet[TelemetryProducer]" = weakref.WeakSet()
_left_to_parent: list[object] = []
"""What belongs to the parent of a fork. It is kept: closing it here would wait for threads that are not here."""


def _begin_in_child() -> None:
    for producer in list(_producers):
        finalizer = producer._end.detach()  # noqa: SLF001  this module's own
        if finalizer is not None:
            _left_to_parent.append(producer._transport)  # noqa: SLF001
            producer._begin()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)
