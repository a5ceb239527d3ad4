"""OTLP traces to events: `ExportTraceServiceRequest` in JSON and in protobuf.

Source: OpenTelemetry protocol 1.x, `opentelemetry/proto/trace/v1/trace.proto`; its JSON encoding has hexadecimal ids and 64-bit
integers as strings. Spans are decoded one by one, so that a bad span spoils no other and memory is bounded by the largest span.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Final

import msgspec

from sentinel.core.errors import RejectCode
from sentinel.ingestion.attributes import Value
from sentinel.ingestion.protobuf import Extent, Extents
from sentinel.ingestion.span import Span, SpanEvent, event_of
from sentinel.ingestion.unusable import UNREADABLE, Reason, UnusableError, reason_of

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

MAX_SPANS: Final = 10_000
"""More spans than this in one record are too_large: the smallest take two bytes and 200 bytes of memory each."""

MAX_SPAN_PARTS: Final = 2_000
"""More attributes, events and links than this in one span are too_large."""

EVENT_TEXTS: Final = ("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.prompt", "gen_ai.completion")
STATUS_ERROR: Final = 2

_SMALL_BYTES = 16_384
"""Messages up to this size are parsed without counting their parts first."""

_LLM_MARKS = (b"gen_ai.", b"llm.", b"openinference.span.kind")
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_DOUBLES = frozenset({"NaN", "Infinity", "-Infinity"})


@dataclass(slots=True)
class Spans:
    """What one record held.

    Attributes:
        events: one per LLM span, in the record's order: the event, or why it is none.
        filtered: how many spans are no LLM requests; 1 for a record without any span, so that every record is accounted for.
    """

    events: list[SpanEvent | Reason] = field(default_factory=list)
    filtered: int = 0


def from_json(resource_spans: bytes) -> Spans:
    """The events of an OTLP JSON record.

    Args:
        resource_spans: the value of the record's `resourceSpans`.

    Raises:
        UnusableError: the tree around the spans is not OTLP, or it holds too many spans.
    """
    try:
        tree = _read_tree(resource_spans) or []
    except UNREADABLE as error:
        raise UnusableError(*reason_of(error, resource_spans, "resourceSpans")) from error
    if sum(len(scope.spans or ()) for branch in tree for scope in branch.scope_spans or ()) > MAX_SPANS:
        raise UnusableError(RejectCode.TOO_LARGE, f"more than {MAX_SPANS} spans in one record")
    found = Spans()
    for branch in tree:
        resource = _json_attributes(branch.resource.attributes if branch.resource else None)
        for scope in branch.scope_spans or ():
            for raw in scope.spans or ():
                _add(found, bytes(raw), _from_json_span, resource)
    return _counted(found)


def from_protobuf(raw: bytes) -> Spans:
    """The events of an OTLP protobuf record.

    Raises:
        UnusableError: this is no `ExportTraceServiceRequest` (malformed_json), or it holds too many spans.
    """
    extents = Extents(raw, 2 * MAX_SPANS)
    found = Spans()
    for resource_spans in _numbered(1, extents.within(0, len(raw))):
        inner = extents.within(*resource_spans)
        resource = _resource(b"".join(raw[start:stop] for start, stop in _numbered(1, inner)))
        for scope_spans in _numbered(2, inner):
            for start, stop in _numbered(2, extents.within(*scope_spans)):
                _add(found, raw[start:stop], _from_protobuf_span, resource)
    return _counted(found)


def _add(found: Spans, raw: bytes, read: Callable[[bytes], Span | None], resource: Mapping[str, Value]) -> None:
    """Read one span; what is wrong with it is wrong with it alone."""
    try:
        span = read(raw)
        event = event_of(span, resource) if span else None
    except (UnusableError, *UNREADABLE) as error:
        found.events.append(reason_of(error, raw, "span"))
    else:
        if event is None:
            found.filtered += 1
        else:
            found.events.append(event)


def _counted(found: Spans) -> Spans:
    found.filtered = found.filtered or int(not found.events)
    return found


def _bounded(parts: int) -> None:
    if parts > MAX_SPAN_PARTS:
        raise UnusableError(RejectCode.TOO_LARGE, f"span: more than {MAX_SPAN_PARTS} attributes, events and links")


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


def _from_json_span(raw: bytes) -> Span:
    span = _read_span(raw)
    _bounded(len(span.attributes or ()) + sum(1 + len(event.attributes or ()) for event in span.events or ()))
    events = ((event.name or "", _json_attributes(event.attributes)) for event in span.events or ())
    attributes, exception = _with_texts(_json_attributes(span.attributes), events)
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


def _json_attributes(pairs: list[_KeyValue] | None) -> dict[str, Value]:
    return {pair.key: _json_value(pair.value) for pair in pairs or ()}


def _json_value(value: _AnyValue | None) -> Value:
    if value is None:
        return None
    if value.array_value is not None:
        return [_json_value(inner) for inner in value.array_value.values or ()]
    if value.kvlist_value is not None:
        return _json_attributes(value.kvlist_value.values)
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
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # noqa: PLC0415  protobuf ships no types
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource  # noqa: PLC0415
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan  # noqa: PLC0415

    return ProtoSpan, Resource, DecodeError


def _from_protobuf_span(raw: bytes) -> Span | None:
    """The span, None when its bytes show that it is no LLM request: strings stand in protobuf as they are."""
    if not any(mark in raw for mark in _LLM_MARKS):
        return None
    if len(raw) > _SMALL_BYTES:
        Extents(raw, MAX_SPAN_PARTS).within(0, len(raw))
    span_type, _, decode_error = _messages()
    try:
        span = span_type.FromString(raw)
    except decode_error as error:
        raise _undecodable("span", error) from error
    events = ((event.name, _protobuf_attributes(event.attributes)) for event in span.events)
    attributes, exception = _with_texts(_protobuf_attributes(span.attributes), events)
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


def _resource(raw: bytes) -> dict[str, Value]:
    if len(raw) > _SMALL_BYTES:
        Extents(raw, MAX_SPAN_PARTS).within(0, len(raw))
    _, resource_type, decode_error = _messages()
    try:
        return _protobuf_attributes(resource_type.FromString(raw).attributes)
    except decode_error as error:
        raise _undecodable("resource", error) from error


def _undecodable(part: str, error: Exception) -> UnusableError:
    """Protobuf tells bad text from bad structure only in its words."""
    if "UTF-8" in str(error):
        return UnusableError(RejectCode.BAD_UTF8, f"{part}: a string is not UTF-8")
    return UnusableError(RejectCode.MALFORMED_JSON, f"{part}: not OTLP protobuf")


def _protobuf_attributes(pairs: "Iterable[KeyValue]") -> dict[str, Value]:
    return {pair.key: _protobuf_value(pair.value) for pair in pairs}


def _protobuf_value(value: "AnyValue") -> Value:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_protobuf_value(inner) for inner in value.array_value.values]
    if kind == "kvlist_value":
        return _protobuf_attributes(value.kvlist_value.values)
    found: str | bool | int | float | bytes = getattr(value, kind)
    return b64encode(found).decode() if isinstance(found, bytes) else found
