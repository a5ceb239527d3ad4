"""OTLP traces in JSON to events: ids are hexadecimal, and 64-bit integers are strings."""

import re
from functools import partial

import msgspec

from sentinel.core.errors import RejectCode
from sentinel.ingestion.attributes import Value
from sentinel.ingestion.otlp import MAX_PARTS, MAX_SPANS, MAX_VALUES, STATUS_ERROR, Spans, with_texts
from sentinel.ingestion.span import Span
from sentinel.ingestion.unusable import Budget, UnusableError

_INTEGER = re.compile(r"-?[0-9]{1,20}")
_DOUBLES = frozenset({"NaN", "Infinity", "-Infinity"})


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
    read = partial(_span_of, values=values)
    spans = Spans()
    for branch in tree:
        resource = _attributes(branch.resource.attributes if branch.resource else None, values)
        for scope in branch.scope_spans or ():
            for raw in scope.spans or ():
                spans.add(bytes(raw), read, resource)
    return spans.counted()


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


def _span_of(raw: bytes, values: Budget) -> Span:
    span = _read_span(raw)
    values.spend(len(span.events or ()))
    events = ((event.name or "", _attributes(event.attributes, values)) for event in span.events or ())
    attributes, exception = with_texts(_attributes(span.attributes, values), events)
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


def _attributes(pairs: list[_KeyValue] | None, values: Budget) -> dict[str, Value]:
    values.spend(len(pairs or ()))
    return {pair.key: _value(pair.value, values) for pair in pairs or ()}


def _value(value: _AnyValue | None, values: Budget) -> Value:
    if value is None:
        return None
    if value.array_value is not None:
        values.spend(len(value.array_value.values or ()))
        return [_value(inner, values) for inner in value.array_value.values or ()]
    if value.kvlist_value is not None:
        return _attributes(value.kvlist_value.values, values)
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
