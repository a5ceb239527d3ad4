"""Bytes to columns: one decode per record, the dialect recognised per record.

Records are never joined before decoding: three broken ones could read as three whole ones.
"""

from dataclasses import dataclass, field, replace
from operator import attrgetter

import msgspec
import numpy as np

from sentinel.config.schema import Parsing
from sentinel.core.batch import Bool, Delivery, Dialect, EventBatch, Flag, Int64, Reject
from sentinel.core.errors import RejectCode
from sentinel.ingestion.columns import clean_event_ids, metrics, renumber, series, times
from sentinel.ingestion.otlp import Spans, from_json, from_protobuf
from sentinel.ingestion.unusable import UNREADABLE, Reason, UnusableError, reason_of
from sentinel.ingestion.wire import Part, WireEvent

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
PROTOBUF_START = b"\x0a"
"""The first field of an `ExportTraceServiceRequest`; in JSON it is a line feed."""

_read = msgspec.json.Decoder(WireEvent).decode
_telling = attrgetter(
    *("service_name", "service", "application", "model_name", "model", "latency_ms", "duration_ms", "inference_time"),
    *("prompt_tokens", "completion_tokens", "total_tokens", "prompt_text", "response_text", "prompt", "response", "cost_usd"),
)
"""Fields that only a record about an LLM request has; a time, a status and metadata are everywhere."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a delivery's records are: events + rejects + filtered spans account for each of them.

    Attributes:
        batch: the events in log order; None when there is none.
        rejects: what cannot be an event, in log order.
        filtered: OTLP spans that are no LLM requests.
    """

    batch: EventBatch | None
    rejects: list[Reject]
    filtered: int


@dataclass(slots=True)
class _Found:
    """What was read so far, in log order.

    Attributes:
        wires: the records that may be events; index their positions in the delivery.
        spans: by position in `wires`, the sub, dialect and flags of events that came out of a span.
        rejects, filtered: as in `Decoded`.
    """

    delivery: Delivery
    wires: list[WireEvent] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    spans: dict[int, tuple[int, Dialect, int]] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    filtered: int = 0

    def reject(self, index: int, sub: int, reason: Reason) -> None:
        """Note that one event of record number `index` cannot be."""
        delivery = self.delivery
        offset, timestamp_ns = int(delivery.offsets[index]), int(delivery.timestamps_ns[index])
        self.rejects.append(Reject(index, offset, sub, timestamp_ns, reason.code, reason.detail, delivery.records[index]))


def decode(delivery: Delivery, limits: Parsing) -> Decoded:
    """Decode a delivery's records into columns. The events of a record do not depend on its neighbours.

    Args:
        delivery: records in log order, None = tombstone.
        limits: the largest record.
    """
    found = _Found(delivery)
    for index, raw in enumerate(delivery.records):
        if raw is None or len(raw) > limits.max_record_bytes:
            found.reject(index, 0, _unread(raw, limits.max_record_bytes))
            continue
        try:
            wire = _read(raw)
        except UNREADABLE as error:
            _reread(found, index, raw, error)
        else:
            if wire.resource_spans:
                _expand(found, index, from_json, bytes(wire.resource_spans), Dialect.OTLP_JSON)
            else:
                found.wires.append(wire)
                found.index.append(index)
    return _columns(found)


def _unread(raw: bytes | None, max_bytes: int) -> Reason:
    if raw is None:
        return Reason(RejectCode.TOMBSTONE, "the record has no value")
    return Reason(RejectCode.TOO_LARGE, f"{len(raw)} bytes, more than {max_bytes}")


def _reread(found: _Found, index: int, raw: bytes, error: Exception) -> None:
    """A record that is no JSON object of ours may still be protobuf, or JSON behind a byte order mark."""
    if raw.startswith(PROTOBUF_START) and _is_protobuf(found, index, raw):
        return
    reason = reason_of(error, raw)
    if raw.startswith(BYTE_ORDER_MARK):
        try:
            wire = _read(raw[len(BYTE_ORDER_MARK) :])
        except UNREADABLE as second:
            reason = reason_of(second, raw[len(BYTE_ORDER_MARK) :])
        else:
            found.wires.append(wire)
            found.index.append(index)
            return
    found.reject(index, 0, reason)
