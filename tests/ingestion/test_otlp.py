"""OTLP traces to events, in both encodings."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from decode_inputs import SOURCE, START_NS, as_json, decoded, flat, request
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sentinel.core.batch import Dialect, EventBatch, SeriesKey
from sentinel.core.errors import RejectCode
from sentinel.core.flags import Flag
from sentinel.core.metrics import COMPLETION_TOKENS, COST, ERROR, LATENCY, PROMPT_TOKENS, TOTAL_TOKENS, TTFT
from sentinel.ingestion.attributes import MAX_METADATA
from sentinel.ingestion.decode import Decoded
from sentinel.ingestion.otlp import MAX_LLM_SPANS, MAX_PARTS, MAX_SPANS, MAX_VALUES
from sentinel.ingestion.wire import WireEvent

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}
Encoding = Callable[[ExportTraceServiceRequest], bytes]
ENCODINGS: list[Encoding] = [as_json, lambda export: export.SerializeToString()]

both = pytest.mark.parametrize("encode", ENCODINGS, ids=["json", "protobuf"])


def found_in(encode: Encoding, *spans: dict[str, Any], **options: object) -> Decoded:
    """What a record with these spans decodes to."""
    return decoded(encode(request(*spans, **options)))


def event(encode: Encoding, attributes: dict[str, Any], **options: object) -> tuple[EventBatch, WireEvent]:
    """The one event of a record with one span."""
    found = found_in(encode, attributes, **options)
    assert found.rejects == []
    assert found.batch is not None
    assert len(found.batch) == 1
    return found.batch, found.batch.wire[0]


CONVENTIONS = {
    "current": {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "requested",
        "gen_ai.response.model": "answered",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.conversation.id": "s-1",
        "gen_ai.input.messages": "asked",
        "gen_ai.output.messages": "said",
        "gen_ai.response.finish_reasons": ["stop"],
        "user.id": "u-1",
    },
    "1.36": {
        "gen_ai.operation.name": "chat",
        "gen_ai.system": "openai",
        "gen_ai.response.model": "answered",
        "gen_ai.usage.prompt_tokens": 10,
        "gen_ai.usage.completion_tokens": 5,
        "gen_ai.usage.cache_read_input_tokens": 4,
        "session.id": "s-1",
        "events": [("gen_ai.content.prompt", {"gen_ai.prompt": "asked"}), ("gen_ai.content.completion", {"gen_ai.completion": "said"})],
        "gen_ai.response.finish_reasons": ["stop"],
        "enduser.id": "u-1",
    },
    "OpenInference": {
        "openinference.span.kind": "LLM",
        "llm.provider": "openai",
        "llm.model_name": "answered",
        "llm.token_count.prompt": 10,
        "llm.token_count.completion": 5,
        "llm.token_count.total": 15,
        "llm.token_count.prompt_details.cache_read": 4,
        "session.id": "s-1",
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": "asked",
        "llm.output_messages.0.message.content": "said",
        "input.value": "everything",
        "llm.finish_reason": "stop",
        "user.id": "u-1",
    },
    "Traceloop": {
        "llm.request.type": "chat",
        "gen_ai.system": "openai",
        "gen_ai.request.model": "requested",
        "gen_ai.response.model": "answered",
        "gen_ai.usage.prompt_tokens": 10,
        "gen_ai.usage.completion_tokens": 5,
        "llm.usage.total_tokens": 15,
        "gen_ai.usage.cache_read_input_tokens": 4,
        "traceloop.association.properties.session_id": "s-1",
        "traceloop.association.properties.user_id": "u-1",
        "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": "asked",
        "gen_ai.completion.0.content": "said",
        "gen_ai.completion.0.finish_reason": "stop",
    },
    "llm.*": {
        "llm.provider": "openai",
        "llm.model": "answered",
        "llm.prompt.tokens": 10,
        "llm.response.tokens": 5.0,
        "llm.token_count.prompt_details.cache_read": 4,
        "session.id": "s-1",
        "user.id": "u-1",
        "llm.prompt": "asked",
        "llm.response": "said",
        "llm.finish_reason": "stop",
    },
}


@both
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_every_convention_gives_the_same_event(encode: Encoding, convention: str) -> None:
    """The same request told in five attribute conventions and two encodings becomes the same event."""
    batch, wire = event(encode, CONVENTIONS[convention])
    assert batch.names == (SeriesKey("default", "chat", "answered"),)
    row = batch.metrics[0]
    assert (row[LATENCY], row[PROMPT_TOKENS], row[COMPLETION_TOKENS], row[TOTAL_TOKENS], row[ERROR]) == (250.0, 10.0, 5.0, 15.0, 0.0)
    assert (wire.operation, wire.provider, wire.cached_tokens, wire.session_id, wire.user_id) == ("chat", "openai", 4.0, "s-1", "u-1")
    assert (wire.prompt_text, wire.response_text, wire.finish_reason) == ("asked", "said", "stop")
    assert wire.metadata is None
    assert (batch.ts_ns[0], batch.flags[0]) == (START_NS, 0)
    assert (wire.trace_id, wire.span_id, wire.parent_span_id) == (bytes(range(16)).hex(), "0000000000000001", None)
    assert batch.dialects[0] == (Dialect.OTLP_JSON if encode is as_json else Dialect.OTLP_PROTO)


@both
@pytest.mark.parametrize(
    ("attributes", "operation"),
    [
        ({"gen_ai.operation.name": "text_completion", "gen_ai.request.model": "m"}, "text_completion"),
        ({"gen_ai.operation.name": "generate_content", "gen_ai.request.model": "m"}, "generate_content"),
        ({"gen_ai.operation.name": "embeddings", "gen_ai.request.model": "m"}, "embeddings"),
        ({"openinference.span.kind": "EMBEDDING", "embedding.model_name": "m"}, "embeddings"),
        ({"llm.request.type": "completion", "gen_ai.request.model": "m"}, "text_completion"),
        ({"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 1}, "chat"),
    ],
)
def test_model_calls_become_events(encode: Encoding, attributes: dict[str, Any], operation: str) -> None:
    """Every kind of request to a model is an event with its operation."""
    assert event(encode, attributes)[1].operation == operation


@both
@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 9},
        {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"},
        {"openinference.span.kind": "CHAIN", "llm.model_name": "m"},
        {"traceloop.span.kind": "workflow", "gen_ai.request.model": "m", "llm.usage.total_tokens": 9},
        {"llm.request.type": "rerank", "gen_ai.request.model": "m"},
        {"http.request.method": "GET"},
        {"gen_ai.system": "openai"},
        {},
    ],
)
def test_other_spans_are_filtered(encode: Encoding, attributes: dict[str, Any]) -> None:
    """Agent, workflow, tool and foreign spans are counted, never events: their tokens are those of the spans they enclose."""
    found = found_in(encode, attributes)
    assert (found.batch, found.rejects, found.filtered) == (None, [], 1)


@both
def test_record_of_many_spans(encode: Encoding) -> None:
    """Events and rejects of one record are numbered by `sub`, the other spans are filtered, and a bad span spoils no other."""
    bad = CHAT | {"gen_ai.usage.input_tokens": "many"}
    found = found_in(encode, CHAT, {"http.method": "GET"}, bad, CHAT | {"gen_ai.request.model": "other"}, {})
    assert found.batch is not None
    assert found.batch.subs.tolist() == [0, 2]
    assert found.batch.index.tolist() == [0, 0]
    assert found.batch.offsets.tolist() == [100, 100]
    assert [(reject.sub, reject.code, reject.detail) for reject in found.rejects] == [
        (1, RejectCode.WRONG_TYPE, "prompt_tokens: expected number, got string")
    ]
    assert found.filtered == 2


@pytest.mark.parametrize(
    "record", [b'{"resourceSpans": []}', b'{"resourceSpans": null}', b"\n\x00", b'{"resourceSpans": [{"scopeSpans": [{}]}]}']
)
def test_record_without_spans_is_filtered(record: bytes) -> None:
    """A valid record that holds no span is accounted for as one filtered."""
    found = decoded(record)
    assert (found.batch, found.rejects, found.filtered) == (None, [], 1)


@both
@pytest.mark.parametrize(
    ("attributes", "code", "detail"),
    [
        ({"gen_ai.usage.input_tokens": 1.5}, RejectCode.WRONG_TYPE, "prompt_tokens: expected whole number"),
        ({"gen_ai.usage.input_tokens": True}, RejectCode.WRONG_TYPE, "prompt_tokens: expected number, got boolean"),
        ({"gen_ai.usage.input_tokens": -1}, RejectCode.OUT_OF_RANGE, "prompt_tokens: number negative or not finite"),
        ({"llm.latency_ms": float("nan")}, RejectCode.OUT_OF_RANGE, "latency_ms: number negative or not finite"),
        ({"llm.cost_usd": float("inf")}, RejectCode.OUT_OF_RANGE, "cost_usd: number negative or not finite"),
        ({"gen_ai.response.model": "a\nb"}, RejectCode.CONTROL_CHARACTER, "model_name: holds a control character"),
        ({"gen_ai.request.model": ""}, RejectCode.MISSING_FIELD, "model_name: missing"),
    ],
)
def test_values_that_cannot_be(encode: Encoding, attributes: dict[str, Any], code: RejectCode, detail: str) -> None:
    """A known attribute of the wrong type, negative or not finite rejects its span alone, with the field's name."""
    (reject,) = found_in(encode, CHAT | attributes).rejects
    assert (reject.code, reject.detail, reject.sub) == (code, detail, 0)


@both
def test_span_without_service_or_time(encode: Encoding) -> None:
    """No service name and no duration are missing fields; a span that ends before it starts is out of range."""
    (reject,) = found_in(encode, CHAT, service=None).rejects
    assert (reject.code, reject.detail) == (RejectCode.MISSING_FIELD, "service_name: missing")
    (reject,) = found_in(encode, CHAT, duration_ms=-5).rejects
    assert (reject.code, reject.detail) == (RejectCode.OUT_OF_RANGE, "latency_ms: the span ends before it starts")
    export = request(CHAT)
    export.resource_spans[0].scope_spans[0].spans[0].start_time_unix_nano = 0
    (reject,) = decoded(encode(export)).rejects
    assert (reject.code, reject.detail) == (RejectCode.MISSING_FIELD, "latency_ms: missing")
    export.resource_spans[0].scope_spans[0].spans[0].start_time_unix_nano = 5
    (reject,) = decoded(encode(export)).rejects
    assert reject.code is RejectCode.BAD_TIMESTAMP


@both
@pytest.mark.parametrize(
    ("attributes", "error", "errors"),
    [
        ({"error.type": "timeout"}, "timeout", None),
        ({"status": (2, "upstream broke")}, "upstream broke", None),
        ({"status": (2, "")}, "error", None),
        ({"error.type": "timeout", "status": (2, "after 30 s")}, "timeout", ["after 30 s"]),
        ({"events": [("exception", {"exception.type": "RateLimit"})]}, "RateLimit", None),
        ({"events": [("exception", {})]}, "exception", None),
        ({"status": (1, "fine")}, None, None),
    ],
)
def test_failures_of_spans(encode: Encoding, attributes: dict[str, Any], error: str | None, errors: list[str] | None) -> None:
    """error.type, status ERROR and a recorded exception each mean an error; the most precise names it."""
    batch, wire = event(encode, CHAT | attributes)
    assert batch.metrics[0, ERROR] == (error is not None)
    assert (wire.error, wire.errors) == (error, errors)


@both
def test_seconds_become_milliseconds(encode: Encoding) -> None:
    """Time to first token is in seconds, `llm.latency_ms` wins over the span's length, and cost is taken as it is."""
    batch, _ = event(encode, CHAT | {"gen_ai.response.time_to_first_chunk": 0.125, "llm.latency_ms": 300, "gen_ai.usage.cost": 0.5})
    assert (batch.metrics[0, TTFT], batch.metrics[0, LATENCY], batch.metrics[0, COST]) == (125.0, 300.0, 0.5)
    batch, _ = event(encode, CHAT | {"gen_ai.server.time_to_first_token": 0.25})
    assert str(batch.metrics[0, TTFT]) == "nan"


@both
def test_unknown_attributes_become_metadata(encode: Encoding) -> None:
    """Unknown attributes of span and resource are kept as scalars, at most 64, with a flag when there were more."""
    batch, wire = event(encode, CHAT | {"team": "blue", "tries": 3, "tags": ["a", "b"], "deep": {"k": [1]}, "odd": float("nan")}, zone="z1")
    assert wire.metadata == {"team": "blue", "tries": 3, "tags": "a,b", "deep": '{"k":[1]}', "zone": "z1"}
    assert batch.flags[0] == 0
    batch, wire = event(encode, CHAT | {f"key-{number}": number for number in range(MAX_METADATA + 1)})
    assert wire.metadata is not None
    assert list(wire.metadata) == [f"key-{number}" for number in range(MAX_METADATA)]
    assert batch.flags[0] == Flag.METADATA_TRIMMED


@both
def test_prompt_content_never_becomes_metadata(encode: Encoding) -> None:
    """Content that no field takes, and content that lost to another attribute, is not kept at all."""
    content = {
        "gen_ai.system_instructions": "secret",
        "llm.tools.0.tool.json_schema": "secret",
        "gen_ai.prompt.0.tool_calls.0.arguments": "secret",
        "input.value": "secret",
        "gen_ai.input.messages": "asked",
    }
    _, wire = event(encode, CHAT | content)
    assert wire.prompt_text == "asked"
    assert "secret" not in repr(wire)


def test_json_encoding_is_read_leniently() -> None:
    """Integers as numbers, enum names and nulls are accepted as protobuf's JSON allows; what is unreadable costs its span alone."""
    span = {
        "startTimeUnixNano": START_NS,
        "endTimeUnixNano": START_NS + 10**6,
        "attributes": [
            {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
            {"key": "gen_ai.request.model", "value": {"stringValue": "m"}},
            {"key": "gen_ai.usage.input_tokens", "value": {"intValue": 7}},
            {"key": "unset"},
            {"key": "strange", "value": {"intValue": "seven"}},
        ],
        "status": {"code": "STATUS_CODE_ERROR"},
        "events": None,
    }
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "chat"}}]}
    spans = [span, span | {"attributes": 5}, span | {"endTimeUnixNano": "soon"}, 17]
    found = decoded(json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}, {"spans": None}]}]}).encode())
    assert found.batch is not None
    assert found.batch.metrics[0, [LATENCY, PROMPT_TOKENS, ERROR]].tolist() == [1.0, 7.0, 1.0]
    assert found.batch.wire[0].metadata == {"strange": "seven"}
    assert [(reject.sub, reject.code, reject.detail) for reject in found.rejects] == [
        (1, RejectCode.WRONG_TYPE, "span.attributes: expected array, got integer"),
        (2, RejectCode.BAD_TIMESTAMP, "span.endTimeUnixNano: expected nanoseconds since the epoch"),
        (3, RejectCode.WRONG_TYPE, "span: expected object, got integer"),
    ]


def test_broken_tree_is_one_reject() -> None:
    """When the tree around the spans is wrong the record is rejected as a whole, and says where."""
    (reject,) = decoded(b'{"resourceSpans": [{"scopeSpans": 5}]}').rejects
    assert (reject.code, reject.detail) == (RejectCode.WRONG_TYPE, "resourceSpans.[0].scopeSpans: expected array, got integer")
    (reject,) = decoded(b'{"resourceSpans": "x"}').rejects
    assert (reject.code, reject.detail) == (RejectCode.WRONG_TYPE, "resourceSpans: expected array, got string")


def test_bad_text_in_one_protobuf_span() -> None:
    """A string that is not UTF-8 rejects its span, not the record's others."""
    raw = request(CHAT | {"note": "XYZ"}, CHAT).SerializeToString().replace(b"XYZ", b"X\xffZ")
    found = decoded(raw)
    assert found.batch is not None
    assert found.batch.subs.tolist() == [1]
    assert [(reject.sub, reject.code) for reject in found.rejects] == [(0, RejectCode.BAD_UTF8)]


def test_damaged_protobuf_is_rejected() -> None:
    """Truncated protobuf is rejected as neither JSON nor protobuf, whatever JSON makes of its second byte."""
    raw = request(CHAT).SerializeToString()
    for stop in range(1, len(raw)):
        found = decoded(raw[:stop])
        assert [reject.code for reject in found.rejects] == [RejectCode.MALFORMED_JSON], stop
    assert decoded(raw[:-1]).rejects[0].detail == "neither JSON nor OTLP protobuf"


def test_json_behind_a_line_feed_is_json() -> None:
    """A line feed in front does not make a JSON record protobuf, and its defects are told as JSON's."""
    assert decoded(b"\n" + json.dumps(flat()).encode()).batch is not None
    assert decoded(b'\n{"latency_ms": "x"}').rejects[0].code is RejectCode.WRONG_TYPE


def nested(field: int, body: bytes) -> bytes:
    """One length-delimited protobuf field."""
    size, length = len(body), b""
    while size >= 0x80:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([field << 3 | 2]) + length + bytes([size]) + body


MARK = nested(9, b"\x0a\x07gen_ai.")
BOMBS = {
    "spans": nested(1, nested(2, b"\x12\x00" * MAX_PARTS)),
    "LLM spans": request(*[CHAT] * (MAX_LLM_SPANS + 1)).SerializeToString(),
    "json LLM spans": as_json(request(*[CHAT] * (MAX_LLM_SPANS + 1))).replace(b" ", b""),
    "scopes": nested(1, b"\x12\x00" * MAX_PARTS),
    "resources": b"\x0a\x00" * (MAX_PARTS + 1),
    "attributes": nested(1, nested(2, nested(2, MARK + b"\x4a\x00" * MAX_PARTS))),
    "values": nested(1, nested(2, nested(2, MARK + nested(9, nested(2, nested(5, b"\x0a\x00" * MAX_VALUES)))))),
    "json resources": b'{"resourceSpans":[' + b"{}," * MAX_PARTS + b"{}]}",
    "json scopes": b'{"resourceSpans":[{"scopeSpans":[' + b"{}," * MAX_PARTS + b"{}]}]}",
    "json spans": b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + b"{}," * MAX_SPANS + b"{}]}]}]}",
    "json values": b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[{"key":"","value":{"arrayValue":{"values":['
    + b"{}," * MAX_VALUES
    + b"{}]}}}]}]}]}]}",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_refused_by_counting(bomb: str) -> None:
    """A record whose parts are few in bytes and many in number is too_large before anything is built of it."""
    (reject,) = decoded(BOMBS[bomb]).rejects
    assert reject.code is RejectCode.TOO_LARGE


def test_protobuf_is_imported_at_its_first_record() -> None:
    """Decoding JSON, OTLP's too, does not import protobuf: start-up stays fast."""
    script = (
        "import sys, numpy as np\n"
        "from sentinel.config.schema import Parsing\n"
        "from sentinel.core.batch import PartitionId\n"
        "from sentinel.core.delivery import Delivery\n"
        "from sentinel.ingestion.decode import decode\n"
        f"records = [{as_json(request(CHAT))!r}]\n"
        f"decode(Delivery(PartitionId(*{tuple(SOURCE)!r}), records, np.arange(1), np.arange(1), 0, 0, 0), Parsing())\n"
        "sys.exit(any(name.startswith('google.protobuf') for name in sys.modules))\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
