"""OTLP traces to events: `ExportTraceServiceRequest` in JSON and in protobuf.

Source: OpenTelemetry protocol 1.x, `opentelemetry/proto/trace/v1/trace.proto`; its JSON encoding has hexadecimal ids and 64-bit
integers as strings. Spans are decoded one by one, so that a bad span spoils no other and memory is bounded by the largest span.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from sentinel.core.errors import RejectCode
from sentinel.ingestion.attributes import Value
from sentinel.ingestion.protobuf import Extent, Extents
from sentinel.ingestion.span import Span, SpanEvent, event_of
from sentinel.ingestion.unusable import UNREADABLE, Budget, Reason, UnusableError, reason_of

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

MAX_LLM_SPANS: Final = 2_500
MAX_SPANS: Final = 5_000
MAX_PARTS: Final = 30_000
MAX_VALUES: Final = 100_000
"""What may be looked at in one record; beyond it the record, or the span that holds too many values, is too_large. Two bytes of OTLP can
stand for 200 bytes of memory and much work; a megabyte of real spans stays below.
"""

EVENT_TEXTS: Final = ("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.prompt", "gen_ai.completion")
STATUS_ERROR: Final = 2

_SMALL_BYTES = 16_384
"""Messages up to this size are parsed without counting their fields first."""

_LLM_MARKS = (b"gen_ai.", b"llm.", b"openinference.span.kind")
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_DOUBLES = frozenset({"NaN", "Infinity", "-Infinity"})


class BadSpan(NamedTuple):
    """A span that looks like an LLM request and cannot be an event, with the bytes of this span alone."""

    reason: Reason
    raw: bytes


@dataclass(slots=True)
class Spans:
    """What one record held.

    Attributes:
        events: one per LLM span, in the record's order: the event, or why it is none.
        filtered: how many spans are no LLM requests; 1 for a record without any span, so that every record is accounted for.
        budget: how many more LLM spans are accepted.
    """

    events: list[SpanEvent | BadSpan] = field(default_factory=list)
    filtered: int = 0
    budget: Budget = field(default_factory=lambda: Budget(MAX_LLM_SPANS, "LLM spans"))

    def add(self, raw: bytes, read: Callable[[bytes], Span], resource: Mapping[str, Value]) -> None:
        """Read one span; what is wrong with it is wrong with it alone. Raises UnusableError when the record holds too many."""
        try:
            event: SpanEvent | BadSpan | None = event_of(read(raw), resource)
        except (UnusableError, *UNREADABLE) as error:
            event = BadSpan(reason_of(error, raw, "span"), raw)
        if event is None:
            self.filtered += 1
        else:
            self.budget.spend(1)
            self.events.append(event)

    def counted(self) -> "Spans":
        """The same; one is filtered when there was no span."""
        self.filtered = self.filtered or int(not self.events)
        return self


def from_json(resource_spans: bytes) -> Spans:
    """The events of an OTLP JSON record.

    Args:
        resource_spans: the value of the record's `resourceSpans`.

    Raises:
        UnusableError: it holds too many spans.
        ValueError, RecursionError: the tree around the spans is not OTLP; see `reason_of`.
    """
    tree = _read_tree(resource_spans) or []
    parts, count = Budget(MAX_PARTS, "parts"), Budget(MAX_SPANS, "spans")
    parts.spend(len(tree))
    for branch in tree:
        parts.spend(len(branch.scope_spans or ()))
        count.spend(sum(len(scope.spans or ()) for scope in branch.scope_spans or ()))
    values = Budget(MAX_VALUES, "attribute values")
    read = partial(_from_json_span, values=values)
    spans = Spans()
    for branch in tree:
        resource = _json_attributes(branch.resource.attributes if branch.resource else None, values)
        for scope in branch.scope_spans or ():
            for raw in scope.spans or ():
                spans.add(bytes(raw), read, resource)
    return spans.counted()


def from_protobuf(raw: bytes) -> Spans:
    """The events of an OTLP protobuf record.

    Raises:
        UnusableError: this is no `ExportTraceServiceRequest` (malformed_json), or it holds too many spans.
    """
    parts, count, values = Budget(MAX_PARTS, "parts"), Budget(MAX_SPANS, "spans"), Budget(MAX_VALUES, "attribute values")
    extents = Extents(raw, parts)
    read = partial(_from_protobuf_span, parts=parts, values=values)
    spans = Spans()
    for resource_spans in _numbered(1, extents.within(0, len(raw))):
        inner = extents.within(*resource_spans)
        resource = _from_protobuf_resource(b"".join(raw[start:stop] for start, stop in _numbered(1, inner)), parts, values)
        for scope_spans in _numbered(2, inner):
            for start, stop in _numbered(2, extents.within(*scope_spans)):
                span = raw[start:stop]
                # Strings stand in protobuf as they are, so most other spans need not be parsed.
                if any(mark in span for mark in _LLM_MARKS):
                    count.spend(1)
                    spans.add(span, read, resource)
                else:
                    spans.filtered += 1
    return spans.counted()


def _with_texts(attributes: dict[str, Value], events: Iterable[tuple[str, Mapping[str, Value]]]) -> tuple[dict[str, Value], str | None]:
    """A span's attributes with the texts that older conventions put into its events, and the type of the first exception."""
    exception = None
    for name, inner in events:
        if name == "exception" and exception is None:
            exception = str(inner.get("exception.type") or "exception")
        elif name.startswith("gen_ai."):
            attributes |= {text: inner[text] for text in EVENT_TEXTS if text in inner and text not in attributes}
    return attributes, exception


# JSON


class _AnyValue(msgspec.Struct, gc=False, rename="camel"):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | float | None = None
    double_value: float | str | None = None
    array_value: "_Array | None" = None
    kvlist_value: "_KeyValues | None" = None
    bytes_value: str | None = None


class _KeyValue(msgspec.Struct, gc=False):
    key: str
    value: _AnyValue | None = None


class _Array(msgspec.Struct, gc=False):
    values: list[_AnyValue] | None = None


class _KeyValues(msgspec.Struct, gc=False):
    values: list[_KeyValue] | None = None


class _Resource(msgspec.Struct, gc=False):
    attributes: list[_KeyValue] | None = None


class _ScopeSpans(msgspec.Struct, gc=False):
    spans: list[msgspec.Raw] | None = None


class _ResourceSpans(msgspec.Struct, gc=False, rename="camel"):
    resource: _Resource | None = None
    scope_spans: list[_ScopeSpans] | None = None


class _Status(msgspec.Struct, gc=False):
    code: int | str | None = None
    message: str | None = None


class _Event(msgspec.Struct, gc=False):
    name: str | None = None
    attributes: list[_KeyValue] | None = None


class _Span(msgspec.Struct, gc=False, rename="camel"):
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    start_time_unix_nano: int | str | None = None
    end_time_unix_nano: int | str | None = None
    attributes: list[_KeyValue] | None = None
    events: list[_Event] | None = None
    status: _Status | None = None


_read_tree = msgspec.json.Decoder(list[_ResourceSpans] | None).decode
_read_span = msgspec.json.Decoder(_Span).decode


def _from_json_span(raw: bytes, values: Budget) -> Span:
    span = _read_span(raw)
    values.spend(len(span.events or ()))
    events = ((event.name or "", _json_attributes(event.attributes, values)) for event in span.events or ())
    attributes, exception = _with_texts(_json_attributes(span.attributes, values), events)
    status = span.status or _Status()
    return Span(
        span.trace_id or None,
        span.span_id or None,
        span.parent_span_id or None,
        _nanoseconds("startTimeUnixNano", span.start_time_unix_nano),
        _nanoseconds("endTimeUnixNano", span.end_time_unix_nano),
        status.code in {STATUS_ERROR, str(STATUS_ERROR), "STATUS_CODE_ERROR"},
        status.message or "",
        exception,
        attributes,
    )


def _json_attributes(pairs: list[_KeyValue] | None, values: Budget) -> dict[str, Value]:
    values.spend(len(pairs or ()))
    return {pair.key: _json_value(pair.value, values) for pair in pairs or ()}


def _json_value(value: _AnyValue | None, values: Budget) -> Value:
    if value is None:
        return None
    if value.array_value is not None:
        values.spend(len(value.array_value.values or ()))
        return [_json_value(inner, values) for inner in value.array_value.values or ()]
    if value.kvlist_value is not None:
        return _json_attributes(value.kvlist_value.values, values)
    if value.int_value is not None:
        return _integer(value.int_value)
    if value.double_value is not None:
        return _double(value.double_value)
    scalars = (value.string_value, value.bool_value, value.bytes_value)
    return next((scalar for scalar in scalars if scalar is not None), None)


def _integer(value: float | str) -> Value:
    """64-bit integers are strings in protobuf's JSON; anything else that stands there is kept as it is."""
    return int(value) if isinstance(value, str) and _INTEGER.fullmatch(value) else value


def _double(value: float | str) -> Value:
    """Protobuf's JSON has words for what JSON numbers cannot say."""
    return float(value) if value in _DOUBLES else value


def _nanoseconds(name: str, value: int | str | None) -> int:
    whole = _integer(value or 0)
    if not isinstance(whole, int) or whole < 0:
        raise UnusableError(RejectCode.BAD_TIMESTAMP, f"span.{name}: expected nanoseconds since the epoch")
    return whole


# Protobuf


def _numbered(number: int, extents: list[Extent]) -> list[tuple[int, int]]:
    return [(extent.start, extent.stop) for extent in extents if extent.number == number]


@cache
def _messages() -> "tuple[type[ProtoSpan], type[Resource], type[Exception]]":
    """The generated classes, imported at the first protobuf record: most deployments never see one."""
    from google.protobuf.message import DecodeError  # noqa: PLC0415
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource  # noqa: PLC0415
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan  # noqa: PLC0415

    return ProtoSpan, Resource, DecodeError


def _from_protobuf_span(raw: bytes, parts: Budget, values: Budget) -> Span:
    if len(raw) > _SMALL_BYTES:
        Extents(raw, parts).within(0, len(raw))
    span_type, _, decode_error = _messages()
    try:
        span = span_type.FromString(raw)
    except decode_error as error:
        raise _undecodable("span", error) from error
    values.spend(len(span.events))
    events = ((event.name, _protobuf_attributes(event.attributes, values)) for event in span.events)
    attributes, exception = _with_texts(_protobuf_attributes(span.attributes, values), events)
    return Span(
        span.trace_id.hex() or None,
        span.span_id.hex() or None,
        span.parent_span_id.hex() or None,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == STATUS_ERROR,
        span.status.message,
        exception,
        attributes,
    )


def _from_protobuf_resource(raw: bytes, parts: Budget, values: Budget) -> dict[str, Value]:
    if len(raw) > _SMALL_BYTES:
        Extents(raw, parts).within(0, len(raw))
    _, resource_type, decode_error = _messages()
    try:
        return _protobuf_attributes(resource_type.FromString(raw).attributes, values)
    except decode_error as error:
        raise _undecodable("resource", error) from error


def _undecodable(part: str, error: Exception) -> UnusableError:
    """Protobuf tells bad text from bad structure only in its words."""
    if "UTF-8" in str(error):
        return UnusableError(RejectCode.BAD_UTF8, f"{part}: a string is not UTF-8")
    return UnusableError(RejectCode.MALFORMED_JSON, f"{part}: not OTLP protobuf")


def _protobuf_attributes(pairs: "Sequence[KeyValue]", values: Budget) -> dict[str, Value]:
    values.spend(len(pairs))
    return {pair.key: _protobuf_value(pair.value, values) for pair in pairs}


def _protobuf_value(value: "AnyValue", values: Budget) -> Value:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        values.spend(len(value.array_value.values))
        return [_protobuf_value(inner, values) for inner in value.array_value.values]
    if kind == "kvlist_value":
        return _protobuf_attributes(value.kvlist_value.values, values)
    found: str | bool | int | float | bytes = getattr(value, kind)
    return b64encode(found).decode() if isinstance(found, bytes) else found
