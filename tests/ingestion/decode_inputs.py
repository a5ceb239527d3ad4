"""Records in every dialect, and deliveries made of them."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from sentinel.config.schema import Parsing
from sentinel.core.batch import EventBatch, PartitionId
from sentinel.core.delivery import Delivery
from sentinel.core.reject import Reject
from sentinel.ingestion.decode import Decoded, decode

LOG_NS = 1_768_473_060_000_000_000
START_NS = 1_768_473_000_000_000_000
SOURCE = PartitionId("cluster", "llm.telemetry", 3)


def delivery(records: Sequence[bytes | None], first_offset: int = 100, log_ns: int = LOG_NS) -> Delivery:
    """The records as a source would hand them over."""
    n = len(records)
    size = sum(len(record or b"") for record in records)
    return Delivery(SOURCE, records, np.arange(first_offset, first_offset + n), np.full(n, log_ns), log_ns, 1, size)


def flat(**fields: object) -> dict[str, Any]:
    """A minimal flat event with some fields changed; `...` leaves one out."""
    event = {"timestamp": "2026-01-15T10:30:00Z", "service_name": "chat", "model_name": "gpt-4o", "latency_ms": 120.5} | fields
    return {name: value for name, value in event.items() if value is not ...}


def decoded(*records: dict[str, Any] | bytes | None, limits: Parsing | None = None) -> Decoded:
    """What the records decode to."""
    raws = [json.dumps(record).encode() if isinstance(record, dict) else record for record in records]
    return decode(delivery(raws), limits or Parsing())


def events(*records: dict[str, Any] | bytes | None) -> EventBatch:
    """The events of records that are all usable."""
    found = decoded(*records)
    assert found.batch is not None, found.rejects
    assert found.rejects == []
    return found.batch


def rejected(record: dict[str, Any] | bytes | None) -> Reject:
    """The one reject of a record that is no event."""
    found = decoded(record)
    assert found.batch is None
    assert len(found.rejects) == 1
    return found.rejects[0]


def any_value(value: object) -> AnyValue:  # noqa: PLR0911  one type a line
    """A Python value in OTLP's union."""
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case str():
            return AnyValue(string_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case list():
            return AnyValue(array_value=ArrayValue(values=[any_value(inner) for inner in value]))
        case dict():
            return AnyValue(kvlist_value=KeyValueList(values=key_values(value)))
        case _:
            raise TypeError(type(value))


def key_values(attributes: dict[str, Any]) -> list[KeyValue]:
    """Attributes as OTLP writes them."""
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def request(
    *spans: dict[str, Any], service: str | None = "chat", duration_ms: float = 250.0, **resource: object
) -> ExportTraceServiceRequest:
    """An export request with one span for each dict of attributes; `events` and `status` are keys of their own."""
    export = ExportTraceServiceRequest()
    branch = export.resource_spans.add()
    branch.resource.attributes.extend(key_values(({"service.name": service} if service else {}) | resource))
    scope = branch.scope_spans.add()
    for number, attributes in enumerate(spans):
        span = scope.spans.add(name="call", trace_id=bytes(range(16)), span_id=(number + 1).to_bytes(8, "big"))
        span.start_time_unix_nano, span.end_time_unix_nano = START_NS, START_NS + int(duration_ms * 1e6)
        span.attributes.extend(key_values({name: value for name, value in attributes.items() if name not in {"events", "status"}}))
        for name, inner in attributes.get("events", ()):
            span.events.add(name=name, attributes=key_values(inner))
        if "status" in attributes:
            span.status.code, span.status.message = attributes["status"]
    return export


def as_json(export: ExportTraceServiceRequest) -> bytes:
    """The request in OTLP's JSON encoding: hexadecimal ids, 64-bit integers as strings, enums as numbers."""
    branches = []
    for branch in export.resource_spans:
        scopes = [{"spans": [_json_span(span) for span in scope.spans]} for scope in branch.scope_spans]
        branches.append({"resource": {"attributes": _json_pairs(branch.resource.attributes)}, "scopeSpans": scopes})
    return json.dumps({"resourceSpans": branches}).encode()


def _json_span(span: Span) -> dict[str, Any]:
    return {
        "traceId": span.trace_id.hex(),
        "spanId": span.span_id.hex(),
        "parentSpanId": span.parent_span_id.hex(),
        "name": span.name,
        "kind": 3,
        "startTimeUnixNano": str(span.start_time_unix_nano),
        "endTimeUnixNano": str(span.end_time_unix_nano),
        "attributes": _json_pairs(span.attributes),
        "events": [{"name": event.name, "attributes": _json_pairs(event.attributes)} for event in span.events],
        "status": {"code": span.status.code, "message": span.status.message},
    }


def _json_pairs(pairs: Iterable[KeyValue]) -> list[dict[str, Any]]:
    return [{"key": pair.key, "value": _json_value(pair.value)} for pair in pairs]


def _json_value(value: AnyValue) -> dict[str, Any]:  # noqa: PLR0911  one type a line
    match value.WhichOneof("value"):
        case "string_value":
            return {"stringValue": value.string_value}
        case "bool_value":
            return {"boolValue": value.bool_value}
        case "int_value":
            return {"intValue": str(value.int_value)}
        case "double_value":
            finite = abs(value.double_value) < float("inf")
            return {
                "doubleValue": value.double_value
                if finite
                else {float("inf"): "Infinity", float("-inf"): "-Infinity"}.get(value.double_value, "NaN")
            }
        case "array_value":
            return {"arrayValue": {"values": [_json_value(inner) for inner in value.array_value.values]}}
        case "kvlist_value":
            return {"kvlistValue": {"values": _json_pairs(value.kvlist_value.values)}}
        case _:
            return {}
