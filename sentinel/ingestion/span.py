"""One OpenTelemetry span to one event, if it is an LLM request."""

from collections.abc import Mapping
from math import isfinite
from sys import float_info
from typing import Any, Final, NamedTuple

import msgspec

from sentinel.core.errors import RejectCode
from sentinel.ingestion.attributes import COUNTS, EMBEDDING, NUMBERS, SECONDS, TEXTS, Fields, Value, fields_of
from sentinel.ingestion.sketch import sketch_of
from sentinel.ingestion.unusable import UnusableError
from sentinel.ingestion.wire import EARLIEST_NS, LATEST_NS, WireEvent

OPERATIONS: Final = {
    "chat": "chat",
    "text_completion": "text_completion",
    "generate_content": "generate_content",
    "embeddings": "embeddings",
    "completion": "text_completion",
    "embedding": "embeddings",
}
"""Operations that are one LLM request, with their older names. Agent, workflow and tool spans enclose them: to count both would double the
tokens.
"""

_OPERATION_OF_KIND: Final = {"llm": "chat", "embedding": "embeddings"}
_MODEL_CALL_PREFIXES = ("llm.", "gen_ai.usage.")
_TYPES = {str: "string", bool: "boolean", list: "array", dict: "object"}


class Span(NamedTuple):
    """One span, whichever encoding it came in.

    Attributes:
        start_ns, end_ns: nanoseconds since the epoch; 0 = not given.
        failed: whether its status is ERROR; status is the status's text.
        exception: type of the first recorded exception, None when there is none.
    """

    trace_id: str | None
    span_id: str | None
    parent_span_id: str | None
    start_ns: int
    end_ns: int
    failed: bool
    status: str
    exception: str | None
    attributes: Mapping[str, Value]


class SpanEvent(NamedTuple):
    """The event of one LLM span; `trimmed` says that it had more unknown attributes than are kept."""

    wire: WireEvent
    trimmed: bool


def event_of(span: Span, resource: Mapping[str, Value]) -> SpanEvent | None:
    """The event of a span, None when it is not an LLM request.

    Raises:
        UnusableError: an LLM span with a value that cannot be.
    """
    fields = fields_of(span.attributes, resource)
    operation = _operation(fields.known, span.attributes)
    if operation is None:
        return None
    _check_times(span)
    values: dict[str, Any] = {name: _text(fields.known[name]) for name in TEXTS if name in fields.known}
    values |= {name: _whole(name, fields.known[name]) for name in COUNTS if name in fields.known}
    values |= {name: _number(name, fields.known[name]) for name in NUMBERS if name in fields.known}
    values |= {name: _number(name, fields.known[name]) * 1e3 for name in SECONDS if name in fields.known}
    if EMBEDDING in fields.known:
        values["prompt_sketch"] = sketch_of(fields.known[EMBEDDING])
    if "latency_ms" not in values:
        values["latency_ms"] = _duration_ms(span)
    streaming = fields.known.get("streaming")
    wire = WireEvent(
        **values | _failure(span, values.get("error")),
        timestamp=span.start_ns or None,
        operation=operation,
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        streaming=streaming if isinstance(streaming, bool) else None,
        metadata=_metadata(fields),
    )
    return SpanEvent(wire, fields.trimmed)


def _operation(known: Mapping[str, Value], attributes: Mapping[str, Value]) -> str | None:
    """The LLM operation by the first of: its name, the span's kind, the request's type, a model with usage. None = no LLM request."""
    for field, operations in (("operation", OPERATIONS), ("kind", _OPERATION_OF_KIND), ("request", OPERATIONS)):
        if field in known:
            return operations.get(str(known[field]).lower())
    if "model_name" in known and any(name.startswith(_MODEL_CALL_PREFIXES) for name in attributes):
        return "embeddings" if "embedding.model_name" in attributes else "chat"
    return None


def _text(value: Value) -> str:
    """Strings as they are, lists of strings joined by commas, anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return ",".join(value)
    return msgspec.json.encode(value).decode()


def _number(name: str, value: Value) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnusableError(RejectCode.WRONG_TYPE, f"{name}: expected number, got {_TYPES.get(type(value), 'null')}")
    # Comparing, not converting: an integer may be too large for a float.
    if not 0 <= value <= float_info.max:
        raise UnusableError(RejectCode.OUT_OF_RANGE, f"{name}: number negative or not finite")
    return float(value)


def _whole(name: str, value: Value) -> float:
    number = _number(name, value)
    if number % 1:
        raise UnusableError(RejectCode.WRONG_TYPE, f"{name}: expected whole number")
    return number


def _duration_ms(span: Span) -> float | None:
    if not span.start_ns or not span.end_ns:
        return None
    if span.end_ns < span.start_ns:
        raise UnusableError(RejectCode.OUT_OF_RANGE, "latency_ms: the span ends before it starts")
    return (span.end_ns - span.start_ns) / 1e6


def _check_times(span: Span) -> None:
    for name, at_ns in (("startTimeUnixNano", span.start_ns), ("endTimeUnixNano", span.end_ns)):
        if at_ns and not EARLIEST_NS <= at_ns < LATEST_NS:
            raise UnusableError(RejectCode.BAD_TIMESTAMP, f"span.{name}: not between the years 2000 and 2200")


def _failure(span: Span, error_type: str | None) -> dict[str, Any]:
    """The error's type, and the status text besides when it says more."""
    error = error_type or span.exception or (span.status or "error" if span.failed else None)
    return {"error": error, "errors": [span.status] if span.failed and span.status not in {"", error} else None}


def _metadata(fields: Fields) -> dict[str, Any] | None:
    kept = {name: value if isinstance(value, str | bool | int | float) else _text(value) for name, value in fields.unknown.items()}
    return {name: value for name, value in kept.items() if not isinstance(value, float) or isfinite(value)} or None
