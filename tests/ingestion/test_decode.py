"""Records of the flat and the nested dialect to columns and rejects."""

import json
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from decode_inputs import LOG_NS, as_json, decoded, delivery, events, flat, rejected, request
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.config.schema import Parsing
from sentinel.core.batch import Dialect, EventBatch, SeriesKey
from sentinel.core.errors import RejectCode
from sentinel.core.flags import Flag
from sentinel.core.metrics import COST, ERROR, LATENCY, PROMPT_TOKENS, TIME_PER_OUTPUT_TOKEN, TOTAL_TOKENS, TTFT
from sentinel.ingestion.columns import epoch_ns
from sentinel.ingestion.decode import decode


def metric(batch: EventBatch, index: int) -> list[float | None]:
    """One column with None for absent."""
    return [None if np.isnan(value) else value for value in batch.metrics[:, index].tolist()]


def test_flat_event_becomes_one_row() -> None:
    """Every measured field of a flat event stands in its column, absent ones are NaN, and position and time are the record's."""
    batch = events(flat(prompt_tokens=10, completion_tokens=5, cost_usd=0.25, ttft_ms=40, user_id="u"), flat(event_id="e-2"))
    assert metric(batch, LATENCY) == [120.5, 120.5]
    assert metric(batch, TTFT) == [40.0, None]
    assert metric(batch, PROMPT_TOKENS) == [10.0, None]
    assert metric(batch, TOTAL_TOKENS) == [15.0, None]
    assert metric(batch, COST) == [0.25, None]
    assert metric(batch, ERROR) == [0.0, 0.0]
    assert batch.offsets.tolist() == [100, 101]
    assert batch.index.tolist() == [0, 1]
    assert batch.subs.tolist() == [0, 0]
    assert batch.ts_ns.tolist() == [epoch_ns(datetime.fromisoformat("2026-01-15T10:30:00+00:00"))] * 2
    assert batch.dialects.tolist() == [Dialect.FLAT, Dialect.FLAT]
    assert batch.flags.tolist() == [0, 0]
    assert [wire.event_id for wire in batch.wire] == [None, "e-2"]
    assert batch.wire[0].user_id == "u"


def test_columns_have_their_declared_types() -> None:
    """The batch's arrays have the types and shapes its contract names."""
    batch = events(flat())
    assert (batch.index.dtype, batch.offsets.dtype, batch.subs.dtype) == (np.int32, np.int64, np.int32)
    assert (batch.ts_ns.dtype, batch.log_ns.dtype, batch.series.dtype) == (np.int64, np.int64, np.int32)
    assert (batch.metrics.dtype, batch.flags.dtype, batch.dialects.dtype) == (np.float64, np.int32, np.int8)
    assert batch.metrics.shape == (1, 8)


@pytest.mark.parametrize(
    ("fields", "latency"),
    [
        ({"application": "chat", "service_name": ..., "model": "gpt-4o", "model_name": ...}, 120.5),
        ({"service": "chat", "service_name": ...}, 120.5),
        ({"latency_ms": ..., "duration_ms": 7}, 7.0),
        ({"latency_ms": ..., "inference_time": 0.5}, 500.0),
        ({"duration_ms": 7, "inference_time": 3, "service": "other", "model": "other"}, 120.5),
        ({"service_name": "  chat ", "model_name": "gpt-4o "}, 120.5),
    ],
)
def test_aliases_stand_in_for_absent_names(fields: dict[str, Any], latency: float) -> None:
    """An alias is taken where the canonical name is absent and ignored where it is present; spaces around names do not count."""
    batch = events(flat(**fields))
    assert batch.names == (SeriesKey("default", "chat", "gpt-4o"),)
    assert metric(batch, LATENCY) == [latency]


def test_nested_dialect_is_made_canonical() -> None:
    """Texts, tokens and the finish reason of `prompt` and `response` move to the flat fields, which win where both are given."""
    prompt, response = {"text": "hi", "tokens": 3, "embedding": [0.1]}, {"text": "hello", "tokens": 4.0, "finish_reason": "stop"}
    batch = events(
        flat(prompt=prompt, response=response, model="gpt-4o", model_name=...),
        flat(prompt=prompt, prompt_tokens=9),
        flat(prompt="only text", response="more text"),
    )
    first = batch.wire[0]
    assert (first.prompt_text, first.response_text, first.finish_reason) == ("hi", "hello", "stop")
    assert (first.prompt_tokens, first.completion_tokens) == (3.0, 4.0)
    assert metric(batch, PROMPT_TOKENS) == [3.0, 9.0, None]
    assert metric(batch, TOTAL_TOKENS) == [7.0, None, None]
    assert (batch.wire[2].prompt_text, batch.wire[2].response_text) == ("only text", "more text")
    assert batch.dialects.tolist() == [Dialect.NESTED, Dialect.NESTED, Dialect.FLAT]


def test_total_is_derived_and_a_disagreeing_one_is_flagged() -> None:
    """The sum of the parts is used; a given total that differs is flagged, and counts only where a part is missing."""
    batch = events(
        flat(prompt_tokens=1, completion_tokens=2, total_tokens=3),
        flat(prompt_tokens=1, completion_tokens=2, total_tokens=30),
        flat(prompt_tokens=1, total_tokens=30),
    )
    assert metric(batch, TOTAL_TOKENS) == [3.0, 3.0, 30.0]
    assert batch.flags.tolist() == [0, Flag.TOTAL_DISAGREES, 0]


@pytest.mark.parametrize(
    ("fields", "failed"),
    [
        ({}, 0),
        ({"error": None, "errors": [], "status": "ok", "success": True}, 0),
        ({"error": False}, 0),
        ({"error": ""}, 0),
        ({"error": True}, 1),
        ({"error": "rate_limit"}, 1),
        ({"error": {"type": "timeout"}}, 1),
        ({"errors": ["a"]}, 1),
        ({"status": "Failed"}, 1),
        ({"status": "error"}, 1),
        ({"status": 503}, 1),
        ({"status": "429"}, 1),
        ({"status": 200}, 0),
        ({"status": {"code": 1}}, 0),
        ({"success": False}, 1),
    ],
)
def test_error_column_reads_every_spelling(fields: dict[str, Any], failed: int) -> None:
    """error, errors, status and success each can say that the request failed; empty values never do."""
    assert metric(events(flat(**fields)), ERROR) == [failed]


def test_streaming_times_count_only_when_streamed() -> None:
    """Time to first token and per token are absent when streaming is off, or when the first token took the whole latency."""
    times = {"ttft_ms": 40, "time_per_output_token_ms": 2}
    batch = events(flat(**times), flat(streaming=False, **times), flat(latency_ms=40, **times), flat(streaming=True, **times))
    assert metric(batch, TTFT) == [40.0, None, None, 40.0]
    assert metric(batch, TIME_PER_OUTPUT_TOKEN) == [2.0, None, None, 2.0]


def test_series_are_numbered_by_first_appearance() -> None:
    """Distinct names stand in order of first appearance, spellings of one name are one series, and refused events leave no name."""
    found = decoded(
        flat(service_name="bad\u0007"),
        flat(service_name="b"),
        flat(service_name="a"),
        flat(service_name=" b"),
        flat(tenant="t", service_name="a"),
    )
    assert found.batch is not None
    assert found.batch.names == (SeriesKey("default", "b", "gpt-4o"), SeriesKey("default", "a", "gpt-4o"), SeriesKey("t", "a", "gpt-4o"))
    assert found.batch.series.tolist() == [0, 1, 0, 2]
    assert [reject.index for reject in found.rejects] == [0]


SECOND = 1_768_473_000


@pytest.mark.parametrize(
    ("timestamp", "expected_ns"),
    [
        ("2026-01-15T10:30:00Z", SECOND * 10**9),
        ("2026-01-15T10:30:00", SECOND * 10**9),
        ("2026-01-15T12:30:00+02:00", SECOND * 10**9),
        ("2026-01-15T10:30:00.123456Z", SECOND * 10**9 + 123_456_000),
        (SECOND, SECOND * 10**9),
        (SECOND + 0.25, SECOND * 10**9 + 250_000_000),
        (SECOND * 10**3 + 7, SECOND * 10**9 + 7_000_000),
        (SECOND * 10**6 + 7, SECOND * 10**9 + 7_000),
        (SECOND * 10**9 + 7, SECOND * 10**9 + 7),
    ],
)
def test_times_of_every_kind_are_read(timestamp: str | float, expected_ns: int) -> None:
    """RFC 3339 with and without zone (then UTC) and epoch numbers of four units give the same nanoseconds."""
    assert events(flat(timestamp=timestamp)).ts_ns.tolist() == [expected_ns]


def test_missing_time_is_the_log_time() -> None:
    """An event without a time takes the time of its record in the log and is flagged."""
    batch = events(flat(timestamp=...), flat(timestamp=None), flat())
    assert batch.ts_ns.tolist()[:2] == [LOG_NS, LOG_NS]
    assert batch.flags.tolist() == [Flag.TIMESTAMP_MISSING, Flag.TIMESTAMP_MISSING, 0]


@pytest.mark.parametrize(
    ("given_id", "kept", "flags"),
    [
        ("abc", "abc", 0),
        (17, "17", 0),
        (" padded ", "padded", 0),
        ("é-" * 64, "é-" * 64, 0),
        ("", None, 0),
        ("x" * 129, None, Flag.CLEANED),
        ("a\nb", None, Flag.CLEANED),
        ("\u0000", None, Flag.CLEANED),
        ("   ", None, Flag.CLEANED),
        (10**200, None, Flag.CLEANED),
    ],
)
def test_event_id_is_kept_or_dropped_never_fatal(given_id: str | int, kept: str | None, flags: int) -> None:
    """Ids up to 128 printable characters are kept, numbers as text; any other is dropped with a flag, the event stays."""
    batch = events(flat(event_id=given_id))
    assert batch.wire[0].event_id == kept
    assert batch.flags.tolist() == [flags]


@pytest.mark.parametrize(
    ("record", "code", "detail"),
    [
        (None, RejectCode.TOMBSTONE, "the record has no value"),
        (b"", RejectCode.MALFORMED_JSON, "not valid JSON: ends too early"),
        (b'{"service_name":', RejectCode.MALFORMED_JSON, "not valid JSON: ends too early"),
        (b'{"service_name": ?}', RejectCode.MALFORMED_JSON, "not valid JSON at byte 17"),
        (b"[1, 2]", RejectCode.NOT_AN_OBJECT, "expected object, got array"),
        (b"[1, 2", RejectCode.MALFORMED_JSON, "not valid JSON: ends too early"),
        (b"\n17", RejectCode.NOT_AN_OBJECT, "expected object, got integer"),
        (b"null", RejectCode.NOT_AN_OBJECT, "expected object, got null"),
        (b"{}", RejectCode.UNKNOWN_DIALECT, "an object with none of the fields of an LLM request"),
        ({"timestamp": 1, "level": "info"}, RejectCode.UNKNOWN_DIALECT, "an object with none of the fields of an LLM request"),
        (flat(service_name=...), RejectCode.MISSING_FIELD, "service_name: missing"),
        (flat(model_name=None), RejectCode.MISSING_FIELD, "model_name: missing"),
        (flat(latency_ms=...), RejectCode.MISSING_FIELD, "latency_ms: missing"),
        (flat(service_name="  "), RejectCode.MISSING_FIELD, "service_name: empty"),
        (flat(latency_ms="secret"), RejectCode.WRONG_TYPE, "latency_ms: expected number, got string"),
        (flat(service_name=7), RejectCode.WRONG_TYPE, "service_name: expected string, got integer"),
        (flat(prompt_tokens=1.5), RejectCode.WRONG_TYPE, "prompt_tokens: expected whole number"),
        (flat(prompt={"tokens": "3"}), RejectCode.WRONG_TYPE, "prompt.tokens: expected number, got string"),
        (flat(user_id=True), RejectCode.WRONG_TYPE, "user_id: expected integer or string, got boolean"),
        (flat(latency_ms=-1), RejectCode.OUT_OF_RANGE, "latency_ms: number negative or too large"),
        (flat(cached_tokens=-1), RejectCode.OUT_OF_RANGE, "cached_tokens: number negative or too large"),
        (b'{"latency_ms": 1e400}', RejectCode.OUT_OF_RANGE, "latency_ms: number negative or too large"),
        (b'{"prompt_tokens": ' + b"9" * 4300 + b"}", RejectCode.OUT_OF_RANGE, "prompt_tokens: number negative or too large"),
        (b'{"latency_ms": NaN}', RejectCode.OUT_OF_RANGE, "NaN or Infinity at byte 15"),
        (b'{"latency_ms": -Infinity}', RejectCode.OUT_OF_RANGE, "NaN or Infinity at byte 16"),
        (flat(service_name="x" * 129), RejectCode.OUT_OF_RANGE, "service_name: longer than 128 characters"),
        (flat(tenant="x" * 65), RejectCode.OUT_OF_RANGE, "tenant: longer than 64 characters"),
        (flat(model_name="a\u0000b"), RejectCode.CONTROL_CHARACTER, "model_name: holds a control character"),
        (b'{"service_name": "\xff"}', RejectCode.BAD_UTF8, "a string is not UTF-8"),
        (b'{"service_name": "\\ud800 and more"}', RejectCode.MALFORMED_JSON, "not valid JSON at byte 24"),
        (b'{"unknown": ' + b"[" * 200_000, RejectCode.TOO_DEEP, "nested too deep"),
        (flat(timestamp="yesterday"), RejectCode.BAD_TIMESTAMP, "timestamp: neither RFC 3339 nor an epoch number"),
        (flat(timestamp=-1), RejectCode.BAD_TIMESTAMP, "timestamp: not between the years 2000 and 2200"),
        (flat(timestamp=10**300), RejectCode.BAD_TIMESTAMP, "timestamp: not between the years 2000 and 2200"),
        (flat(timestamp="1999-12-31T23:59:59Z"), RejectCode.BAD_TIMESTAMP, "timestamp: not between the years 2000 and 2200"),
        (flat(timestamp="2200-01-01T00:00:00Z"), RejectCode.BAD_TIMESTAMP, "timestamp: not between the years 2000 and 2200"),
        (flat(timestamp="2610-08-03T10:04:33Z"), RejectCode.BAD_TIMESTAMP, "timestamp: not between the years 2000 and 2200"),
        (flat(timestamp="9999-12-31T23:59:59"), RejectCode.BAD_TIMESTAMP, "timestamp: not between the years 2000 and 2200"),
        (flat(timestamp="0001-01-01T00:00:00+23:59"), RejectCode.BAD_TIMESTAMP, "timestamp: not between the years 2000 and 2200"),
        (b'{"timestamp": 1e400}', RejectCode.BAD_TIMESTAMP, "timestamp: neither RFC 3339 nor an epoch number"),
    ],
)
def test_each_defect_has_its_code_and_names_the_field(record: dict[str, Any] | bytes | None, code: RejectCode, detail: str) -> None:
    """A record that cannot be an event is rejected with the code of its defect, its place, and words that quote nothing of it."""
    reject = rejected(record)
    assert (reject.code, reject.detail) == (code, detail)
    assert (reject.index, reject.offset, reject.sub, reject.timestamp_ns) == (0, 100, 0, LOG_NS)
    assert reject.raw == (json.dumps(record).encode() if isinstance(record, dict) else record)


def test_record_size_is_limited() -> None:
    """A record of the allowed size is read, one byte more is too_large, and no text of it was looked at."""
    raw = json.dumps(flat(metadata={"pad": "x" * 300})).encode()
    assert decode(delivery([raw]), Parsing(max_record_bytes=len(raw))).batch is not None
    (reject,) = decode(delivery([raw]), Parsing(max_record_bytes=len(raw) - 1)).rejects
    assert reject.code is RejectCode.TOO_LARGE


def test_first_defect_decides() -> None:
    """A record with many defects has one reject, and which one does not depend on the batch."""
    assert rejected(flat(service_name=..., timestamp=-1)).code is RejectCode.MISSING_FIELD
    assert rejected(flat(service_name="\u0000", timestamp=-1)).code is RejectCode.CONTROL_CHARACTER


def test_byte_order_mark_is_skipped() -> None:
    """A UTF-8 byte order mark in front of a record does not lose it, and does not hide what is wrong behind it."""
    assert events(b"\xef\xbb\xbf" + json.dumps(flat()).encode()).offsets.tolist() == [100]
    assert rejected(b'\xef\xbb\xbf{"latency_ms": "x"}').code is RejectCode.WRONG_TYPE
    assert rejected(b"\xef\xbb\xbf").code is RejectCode.MALFORMED_JSON


def test_duplicate_keys_take_the_last() -> None:
    """Of a repeated field the last one counts, as JSON parsers do."""
    assert metric(events(b'{"service_name":"s","model_name":"m","latency_ms":1,"latency_ms":2}'), LATENCY) == [2.0]


def test_rejects_stand_in_log_order() -> None:
    """Whatever stage found them, rejects are in the order of their records, and the events around them keep their places."""
    found = decoded(flat(timestamp=-1), None, flat(), flat(service_name=""), b"{", flat())
    assert [(reject.index, reject.code) for reject in found.rejects] == [
        (0, RejectCode.BAD_TIMESTAMP),
        (1, RejectCode.TOMBSTONE),
        (3, RejectCode.MISSING_FIELD),
        (4, RejectCode.MALFORMED_JSON),
    ]
    assert found.batch is not None
    assert found.batch.offsets.tolist() == [102, 105]


POOL: list[bytes | None] = [
    None,
    b"{",
    b"[1]",
    *(json.dumps(record).encode() for record in (
        flat(),
        flat(service_name=" chat", event_id=5, prompt_tokens=3, completion_tokens=4, total_tokens=8),
        flat(service_name="search", tenant="t", timestamp=...),
        flat(service_name="bad\n"),
        flat(timestamp=-5),
        flat(timestamp=SECOND, latency_ms=..., inference_time=0.3, event_id="x" * 200),
        flat(prompt={"text": "a", "tokens": 2}, response={"tokens": 7}, errors=["e"]),
        flat(streaming=False, ttft_ms=3),
    )),
    request({"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}, {"http.method": "GET"}, {"llm.model": "m"}).SerializeToString(),
    as_json(request({"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}, {"gen_ai.operation.name": "chat"})),
]  # fmt: skip


def everything(records: list[bytes | None], cuts: list[int]) -> tuple[list[Any], list[Any], int]:
    """All events and rejects of a stream that was cut into deliveries at the given places."""
    rows: list[Any] = []
    rejects: list[Any] = []
    filtered = 0
    edges = [0, *sorted(cuts), len(records)]
    for start, stop in pairwise(edges):
        found = decode(delivery(records[start:stop], first_offset=start), Parsing())
        filtered += found.filtered
        rejects += [(reject.offset, reject.sub, reject.code, reject.detail, reject.raw) for reject in found.rejects]
        if found.batch is not None:
            batch = found.batch
            columns = (batch.offsets, batch.subs, batch.ts_ns, batch.log_ns, batch.flags, batch.dialects)
            assert list(dict.fromkeys(batch.series.tolist())) == list(range(len(batch.names)))
            rows += zip(
                *(column.tolist() for column in columns),
                [batch.names[code] for code in batch.series.tolist()],
                [row.tobytes() for row in batch.metrics],
                map(repr, batch.wire),
                strict=True,
            )
    return rows, rejects, filtered


@given(st.lists(st.sampled_from(POOL), max_size=20), st.data())
@settings(max_examples=150)
def test_cutting_the_stream_changes_nothing(records: list[bytes | None], data: st.DataObject) -> None:
    """Any cutting of the same records into deliveries gives the same events, rejects and counts, bit for bit."""
    cuts = data.draw(st.lists(st.integers(0, len(records)), max_size=6))
    assert everything(records, cuts) == everything(records, [])
