"""Bytes to columns: one decode per record, the dialect recognised per record.

Records are never joined before decoding: three broken ones could read as three whole ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sentinel.config.schema import Parsing
from sentinel.core.batch import Dialect, EventBatch
from sentinel.core.delivery import NO_LOG_TIME, Delivery
from sentinel.core.errors import RejectCode
from sentinel.core.flags import Flag
from sentinel.core.reject import Reject
from sentinel.ingestion.columns import are_event_ids, clean_event_ids, metrics, series, sketches, take, times
from sentinel.ingestion.dialects import canonicalize, is_canonical
from sentinel.ingestion.otlp import BadSpan, Spans
from sentinel.ingestion.otlp_json import from_json
from sentinel.ingestion.otlp_protobuf import from_protobuf
from sentinel.ingestion.unusable import UNREADABLE, Reason, UnusableError, reason_of
from sentinel.ingestion.wire import WireEvent, as_record, read_event, transposed

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
PROTOBUF_START = b"\x0a"
"""The first field of an `ExportTraceServiceRequest`; in JSON it is a line feed."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a delivery's records are: events, rejects and filtered spans account for each of them.

    Attributes:
        batch: the events in log order; None when there is none.
        rejects: what cannot be an event, in log order; a rejected span carries its own bytes, or its event in the flat dialect.
        filtered_of: how many OTLP spans of a record are no LLM requests, by its position, where there are some.
    """

    batch: EventBatch | None
    rejects: list[Reject]
    filtered_of: dict[int, int]

    @property
    def filtered(self) -> int:
        """OTLP spans that are no LLM requests."""
        return sum(self.filtered_of.values())


@dataclass(slots=True)
class _Found:
    """What was read so far, in log order.

    Attributes:
        wires: what may be events; index the positions of their records in the delivery.
        spans: by position in `wires`, sub, dialect and flags of the events that came out of a span.
        rejects, filtered_of: as in `Decoded`, rejects in any order.
    """

    delivery: Delivery
    wires: list[WireEvent] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    spans: dict[int, tuple[int, Dialect, int]] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    filtered_of: dict[int, int] = field(default_factory=dict)

    def add(self, index: int, wire: WireEvent) -> None:
        """Take a record that is JSON."""
        if not wire.resource_spans:
            self.wires.append(wire)
            self.index.append(index)
            return
        raw = bytes(wire.resource_spans)
        try:
            spans = from_json(raw)
        except (UnusableError, *UNREADABLE) as error:
            self.reject(index, 0, reason_of(error, raw, "resourceSpans"), self.delivery.records[index])
        else:
            self.expand(index, spans, Dialect.OTLP_JSON)

    def expand(self, index: int, spans: Spans, dialect: Dialect) -> None:
        """Take the events of a record of many spans; `sub` counts them, usable or not."""
        if spans.filtered:
            self.filtered_of[index] = spans.filtered
        for sub, event in enumerate(spans.events):
            if isinstance(event, BadSpan):
                self.reject(index, sub, event.reason, event.raw)
            else:
                self.spans[len(self.wires)] = (sub, dialect, Flag.METADATA_TRIMMED if event.trimmed else 0)
                self.wires.append(event.wire)
                self.index.append(index)

    def reject(self, index: int, sub: int, reason: Reason, raw: bytes | None) -> None:
        """Note that a record, or the one event of it that is `raw`, cannot be."""
        offset, timestamp_ns = int(self.delivery.offsets[index]), int(self.delivery.timestamps_ns[index])
        self.rejects.append(Reject(index, offset, sub, timestamp_ns, reason.code, reason.detail, raw))


def decode(delivery: Delivery, limits: Parsing, only: Sequence[int] | None = None) -> Decoded:
    """Decode a delivery's records into columns. What a record becomes does not depend on its neighbours.

    Args:
        delivery: records in log order, None = tombstone.
        limits: the largest record.
        only: positions of the records to decode, rising; all when None.
    """
    found, max_bytes = _Found(delivery), limits.max_record_bytes
    for index in range(len(delivery.records)) if only is None else only:
        raw = delivery.records[index]
        if raw is None:
            found.reject(index, 0, Reason(RejectCode.TOMBSTONE, "the record has no value"), raw)
        elif len(raw) > max_bytes:
            found.reject(index, 0, Reason(RejectCode.TOO_LARGE, f"{len(raw)} bytes, more than {max_bytes}"), raw)
        else:
            try:
                wire = read_event(raw)
            except UNREADABLE as error:
                _reread(found, index, raw, error)
            else:
                found.add(index, wire)
    batch = _columns(found) if found.wires else None
    found.rejects.sort(key=lambda reject: (reject.index, reject.sub))
    return Decoded(batch, found.rejects, found.filtered_of)


def _reread(found: _Found, index: int, raw: bytes, error: Exception) -> None:
    """A record that is no JSON object may still be protobuf, or JSON behind a byte order mark."""
    try:
        if raw.startswith(PROTOBUF_START):
            found.expand(index, from_protobuf(raw), Dialect.OTLP_PROTO)
            return
        if raw.startswith(BYTE_ORDER_MARK):
            found.add(index, read_event(raw[len(BYTE_ORDER_MARK) :]))
            return
        reason = reason_of(error, raw)
    except UnusableError as other:
        # A JSON text may begin with a line feed: what is wrong with it as JSON says more than that it is no protobuf.
        as_json = reason_of(error, raw)
        reason = as_json if other.reason.code is RejectCode.MALFORMED_JSON != as_json.code else other.reason
    except UNREADABLE as other:
        reason = reason_of(other, raw[len(BYTE_ORDER_MARK) :])
    found.reject(index, 0, reason, raw)


def _columns(found: _Found) -> EventBatch | None:
    """The columns of everything that can be an event; the rest is rejected."""
    delivery, wires, n = found.delivery, found.wires, len(found.wires)
    index = np.fromiter(found.index, np.int32, n)
    subs, dialects, flags = np.zeros(n, np.int32), np.zeros(n, np.int8), np.zeros(n, np.int32)
    for position, (sub, dialect, flag) in found.spans.items():
        subs[position], dialects[position], flags[position] = sub, dialect, flag
    fields = transposed(wires)
    unspelled: dict[int, Reason] = {}
    if not is_canonical(fields):
        unspelled = canonicalize(wires, dialects)
        fields = transposed(wires)
    log_ns = delivery.timestamps_ns[index]
    # A log without a time of its own cannot stand in for a missing timestamp: the time of receipt does.
    keys, at = series(fields), times(fields["timestamp"], np.where(log_ns == NO_LOG_TIME, delivery.received_ns, log_ns))
    if not are_event_ids(fields["event_id"]):
        flags[clean_event_ids(wires)] |= Flag.CLEANED
        fields["event_id"] = tuple(wire.event_id for wire in wires)
    table, disagreeing = metrics(fields)
    sketched, unusable = sketches(fields)
    if unusable:
        flags[unusable] |= Flag.EMBEDDING_UNUSABLE
    batch = EventBatch(
        source=delivery.source,
        received_ns=delivery.received_ns,
        index=index,
        offsets=delivery.offsets[index],
        subs=subs,
        ts_ns=at.ts_ns,
        log_ns=log_ns,
        names=keys.names,
        series=keys.codes,
        metrics=table,
        flags=flags | at.flags | disagreeing,
        dialects=dialects,
        wire=wires,
        fields=fields,
        sketches=sketched,
    )
    # The first reason counts: a record without a service is not also one with a bad timestamp.
    refused = at.refused | keys.refused | unspelled
    if not refused:
        return batch
    keep = np.ones(n, np.bool_)
    for position, reason in refused.items():
        keep[position] = False
        # Of a record with many events only the one in question is rejected.
        raw = as_record(wires[position]) if position in found.spans else delivery.records[found.index[position]]
        found.reject(found.index[position], int(subs[position]), reason, raw)
    return take(batch, keep)
