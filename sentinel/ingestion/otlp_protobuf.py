"""OTLP traces in protobuf, an `ExportTraceServiceRequest`, to events."""

from base64 import b64encode
from collections.abc import Sequence
from functools import cache, partial
from typing import TYPE_CHECKING

from sentinel.core.errors import RejectCode
from sentinel.ingestion.attributes import Value
from sentinel.ingestion.otlp import MAX_PARTS, MAX_SPANS, MAX_VALUES, STATUS_ERROR, Spans, with_texts
from sentinel.ingestion.protobuf import Extent, Extents
from sentinel.ingestion.span import Span
from sentinel.ingestion.unusable import Budget, UnusableError

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

_SMALL_BYTES = 16_384
"""Messages up to this size are parsed without counting their fields first."""

_LLM_MARKS = (b"gen_ai.", b"llm.", b"openinference.span.kind")


def from_protobuf(raw: bytes) -> Spans:
    """The events of an OTLP protobuf record.

    Raises:
        UnusableError: this is no `ExportTraceServiceRequest` (malformed_json), or it holds too many spans.
    """
    parts, count, values = Budget(MAX_PARTS, "parts"), Budget(MAX_SPANS, "spans"), Budget(MAX_VALUES, "attribute values")
    extents = Extents(raw, parts)
    read = partial(_span_of, parts=parts, values=values)
    spans = Spans()
    for resource_spans in _numbered(1, extents.within(0, len(raw))):
        inner = extents.within(*resource_spans)
        resource = _resource_of(b"".join(raw[start:stop] for start, stop in _numbered(1, inner)), parts, values)
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


def _numbered(number: int, extents: list[Extent]) -> list[tuple[int, int]]:
    return [(extent.start, extent.stop) for extent in extents if extent.number == number]


@cache
def _messages() -> "tuple[type[ProtoSpan], type[Resource], type[Exception]]":
    """The generated classes, imported at the first protobuf record: most deployments never see one."""
    from google.protobuf.message import DecodeError  # noqa: PLC0415
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource  # noqa: PLC0415
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan  # noqa: PLC0415

    return ProtoSpan, Resource, DecodeError


def _span_of(raw: bytes, parts: Budget, values: Budget) -> Span:
    if len(raw) > _SMALL_BYTES:
        Extents(raw, parts).within(0, len(raw))
    span_type, _, decode_error = _messages()
    try:
        span = span_type.FromString(raw)
    except decode_error as error:
        raise _undecodable("span", error) from error
    values.spend(len(span.events))
    events = ((event.name, _attributes(event.attributes, values)) for event in span.events)
    attributes, exception = with_texts(_attributes(span.attributes, values), events)
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


def _resource_of(raw: bytes, parts: Budget, values: Budget) -> dict[str, Value]:
    if len(raw) > _SMALL_BYTES:
        Extents(raw, parts).within(0, len(raw))
    _, resource_type, decode_error = _messages()
    try:
        return _attributes(resource_type.FromString(raw).attributes, values)
    except decode_error as error:
        raise _undecodable("resource", error) from error


def _undecodable(part: str, error: Exception) -> UnusableError:
    """Protobuf tells bad text from bad structure only in its words."""
    if "UTF-8" in str(error):
        return UnusableError(RejectCode.BAD_UTF8, f"{part}: a string is not UTF-8")
    return UnusableError(RejectCode.MALFORMED_JSON, f"{part}: not OTLP protobuf")


def _attributes(pairs: "Sequence[KeyValue]", values: Budget) -> dict[str, Value]:
    values.spend(len(pairs))
    return {pair.key: _value(pair.value, values) for pair in pairs}


def _value(value: "AnyValue", values: Budget) -> Value:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        values.spend(len(value.array_value.values))
        return [_value(inner, values) for inner in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values, values)
    found: str | bool | int | float | bytes = getattr(value, kind)
    return b64encode(found).decode() if isinstance(found, bytes) else found
