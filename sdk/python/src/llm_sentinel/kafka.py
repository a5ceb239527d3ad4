"""Events to a Kafka topic."""

import re
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from llm_sentinel.delivery import Tally, log
from llm_sentinel.event import Record
from llm_sentinel.security import Security
from llm_sentinel.transport import CLOSED, FULL, GIVEN_UP, TIMED_OUT, Limits

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer

POLL_S: Final = 0.1
"""How long the client waits for news before it looks whether it is to end."""

PURGE_S: Final = 1.0
_CONNECTION_DETAILS: Final = re.compile(r" \(after .*\)$")


def client_options(brokers: Sequence[str], security: Security, limits: Limits, own: Mapping[str, Any]) -> dict[str, Any]:
    """Properties of the Kafka client (librdkafka's names).

    Args:
        brokers: host:port each.
        security: how to reach them.
        limits: of the buffer.
        own: the application's, which win.

    Raises:
        ValueError: no broker, or security settings that do not fit together.
    """
    if not brokers or not all(broker.strip() for broker in brokers):
        raise ValueError("brokers: give host:port of one or more Kafka brokers")
    return {
        "bootstrap.servers": ",".join(broker.strip() for broker in brokers),
        "client.id": "llm-sentinel-sdk",
        "acks": "all",
        # The hash of Kafka's own clients and of the daemon's: a key then has one partition, whoever produces it.
        "partitioner": "murmur2_random",
        # A retry never overtakes, so a series stays in order; repeats are told by the event id.
        "max.in.flight.requests.per.connection": 1,
        "linger.ms": limits.linger_s * 1e3,
        "message.timeout.ms": int(limits.delivery_timeout_s * 1e3),
        "queue.buffering.max.messages": limits.max_events,
        "queue.buffering.max.kbytes": max(1, limits.max_bytes // 1024),
        "reconnect.backoff.max.ms": 5_000,
        # What matters comes as an error, too.
        "log_level": 2,
        **security.for_kafka(brokers),
        **own,
    }


class KafkaTransport:
    """Hands records to the Kafka client, whose own threads send them.

    Args:
        options: properties of the client.
        topic: where to.
        tally: told what became of every record.
    """

    def __init__(self, options: Mapping[str, Any], topic: str, tally: Tally) -> None:
        self._options = options
        self._topic = topic
        self._tally = tally
        self._lock = threading.RLock()
        self._client: Producer | None = None
        self._poller: threading.Thread | None = None
        self._closed = False

    def open(self) -> None:
        """Make the client. It connects by itself, now or when the brokers are there.

        Raises:
            ValueError: the client does not take the options; the message names the property.
            ImportError: there is no client.
        """
        try:
            from confluent_kafka import KafkaException, Producer  # noqa: PLC0415  loaded only by who sends to Kafka
        except ImportError as error:
            raise ImportError("sending to Kafka needs the Kafka client: pip install 'llm-sentinel-sdk[kafka]'") from error
        with self._lock:
            if self._client is not None or self._closed:
                return
            try:
                self._client = Producer({**self._options, "error_cb": self._trouble}, logger=log)
            except KafkaException as error:
                raise ValueError(f"the Kafka client does not take its options: {error.args[0].str()}") from error
            self._poller = threading.Thread(target=self._poll, args=(self._client,), name="llm-sentinel-kafka", daemon=True)
            self._poller.start()

    def offer(self, record: Record, block_s: float) -> str | None:
        """See `Transport`."""
        deadline = time.monotonic() + block_s if block_s > 0 else 0.0
        while (reason := self._produce(record)) == FULL:
            client, left_s = self._client, deadline - time.monotonic() if deadline else 0.0
            if client is None or left_s <= 0:
                break
            client.poll(min(left_s, POLL_S))
        return reason

    def _produce(self, record: Record) -> str | None:
        try:
            if self._client is None:
                self.open()  # the first record after a fork
            client = self._client
            if client is None:
                return CLOSED
            client.produce(self._topic, record.value, record.key, on_delivery=partial(self._settled, record.event_id))
        except BufferError:
            return FULL
        except Exception as error:  # noqa: BLE001  the client's own kinds; trouble with delivery must not reach the host
            return f"the Kafka client refused it: {error}"
        return None

    def buffered(self) -> int:
        """See `Transport`."""
        client = self._client
        return len(client) if client is not None else 0

    def flush(self, timeout_s: float) -> int:
        """See `Transport`."""
        client = self._client
        return client.flush(timeout_s) if client is not None else 0

    def close(self, timeout_s: float) -> None:
        """See `Transport`."""
        with self._lock:
            client, self._client, self._closed = self._client, None, True
        if client is None:
            return
        if client.flush(timeout_s):
            client.purge()
            client.flush(PURGE_S)
        if self._poller is not None and self._poller is not threading.current_thread():
            self._poller.join(PURGE_S)

    def _poll(self, client: "Producer") -> None:
        """Let the client tell what became of the records, until it is closed and has told all."""
        while not self._closed or len(client):
            client.poll(POLL_S)
            self._tally.tell()

    def _settled(self, event_id: str, error: "KafkaError | None", _: "Message") -> None:
        if error is None:
            self._tally.delivered()
        else:
            self._tally.failed(_REASONS.get(error.name(), error.str()), (event_id,))

    def _trouble(self, error: "KafkaError") -> None:
        self._tally.trouble(_CONNECTION_DETAILS.sub("", error.str()))


_REASONS: Final = {
    "_MSG_TIMED_OUT": TIMED_OUT,
    "_PURGE_QUEUE": GIVEN_UP,
    "_PURGE_INFLIGHT": GIVEN_UP,
}
