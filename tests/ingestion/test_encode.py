"""Clean events back to records: what comes out of the topic is what went in."""

import json
from dataclasses import replace
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from decode_inputs import as_json, delivery, flat, request
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.config.schema import DeadLetters, Parsing, Privacy, Validation
from sentinel.core.batch import CleanBatch, PartitionId
from sentinel.ingestion.encode import flat as encoded
from sentinel.ingestion.sanitize import Sanitizer
from sentinel.pipeline.process import Rules, clean

KEY = b"k" * 32
LOG_NS = 1_768_473_060_123_456_789


def rules(capture: str) -> Rules:
    """The rules of an installation."""
    parsing, validation = Parsing(), Validation()
    privacy = Privacy.model_validate({"capture": capture})
    return Rules(parsing, validation, Sanitizer(parsing, validation, privacy, DeadLetters(), KEY))


RULES = {"none": rules("none"), "redacted": rules("redacted")}

text = st.text(max_size=40) | st.sampled_from(
    ["alice@example.com", "sk-proj-Abc123Def456Ghi789Jkl012Mno345Pqr678", "4111 1111 1111 1111", "p1_x"]
)
amount = st.floats(0, 1e6) | st.integers(0, 10**6)
count = st.integers(0, 10**9) | st.integers(0, 10**6).map(float)
scalar = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | text
words = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=40)
error = st.none() | st.booleans() | words | st.integers(-5, 600) | st.dictionaries(st.sampled_from(["message", "type", "code"]), words)
times = st.sampled_from(["2026-01-15T10:30:00Z", "2026-01-15T10:30:00.123456+02:00"]) | st.integers(1_768_000_000_000_000_000, LOG_NS)
FIELDS: dict[str, Any] = {
    "event_id": text,
    "timestamp": times,
    "ttft_ms": amount,
    "time_per_output_token_ms": amount,
    "prompt_tokens": count,
    "completion_tokens": count,
    "total_tokens": count,
    "cached_tokens": count,
    "cost_usd": amount,
    "error": error,
    "errors": st.lists(error, max_size=3),
    "success": st.booleans(),
    "status": st.integers(100, 599) | st.sampled_from(["ok", "error", "failed", "429"]),
    "streaming": st.booleans(),
    "user_id": text | st.integers(0, 10**9),
    "session_id": text,
    "request_id": text | st.integers(0, 10**12),
    "trace_id": st.text("0123456789abcdef", min_size=32, max_size=32) | text,
    "provider": text,
    "operation": text,
    "finish_reason": text,
    "prompt_text": text,
    "response_text": text,
    "prompt_length": st.integers(-5, 10**6),
    "prompt_hash": text,
    "tenant": st.text("abc def", max_size=10),
    "image_count": amount,
    "metadata": st.dictionaries(st.text(max_size=20) | st.sampled_from(["email", "user.id", "note", "prompt"]), scalar, max_size=5),
}
events = st.fixed_dictionaries({"service_name": text, "model_name": text, "latency_ms": amount}, optional=FIELDS)


def cleaned(records: list[bytes], capture: str) -> CleanBatch:
    """What becomes of records."""
    return clean(delivery(records, log_ns=LOG_NS), RULES[capture]).batch


def assert_same(one: CleanBatch, two: CleanBatch) -> None:
    """The same events: names, times, numbers, ids and everything else that is kept."""
    assert len(one) == len(two)
    assert [one.names[code] for code in one.series] == [two.names[code] for code in two.series]
    np.testing.assert_array_equal(one.metrics, two.metrics)
    assert one.ts_ns.tolist() == two.ts_ns.tolist()
    assert [one.dimension_sets[code] for code in one.dimensions] == [two.dimension_sets[code] for code in two.dimensions]
    assert list(one.event_ids) == list(two.event_ids)
    assert list(one.trace_ids) == list(two.trace_ids)
    assert [json.loads(extra or b"{}") for extra in one.extra] == [json.loads(extra or b"{}") for extra in two.extra]


@pytest.mark.parametrize("capture", ["none", "redacted"])
@settings(max_examples=150)
@given(records=st.lists(events, min_size=1, max_size=4))
def test_a_clean_event_comes_back_the_same(capture: str, records: list[dict[str, Any]]) -> None:
    """decode, sanitize, encode, decode, sanitize: whatever the event held, the second pass changes nothing."""
    once = cleaned([json.dumps(record).encode() for record in records], capture)
    twice = cleaned(encoded(once), capture)
    assert_same(once, twice)
    assert encoded(twice) == encoded(once)


def test_a_span_comes_back_the_same() -> None:
    """An OpenTelemetry span is an event of the flat dialect behind the relay, to the nanosecond."""
    span = {"gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 120, "gen_ai.usage.output_tokens": 40, "user.id": "alice"}
    once = cleaned([as_json(request(span, {**span, "error.type": "timeout", "status": (2, "took too long")}))], "none")
    assert len(once) == 2
    assert_same(once, cleaned(encoded(once), "none"))


def test_ids_made_here_survive() -> None:
    """An id that the relay gives an event is the id the source reads, not something that looks like a secret."""
    records = [json.dumps(flat()).encode()] * 300
    once = replace(cleaned(records, "none"), event_ids=[uuid4().hex for _ in records])
    assert_same(once, cleaned(encoded(once), "none"))


def test_nothing_of_the_record_is_told_that_was_not_kept() -> None:
    """Personal data and texts are in none of the bytes."""
    record = flat(
        user_id="alice",
        prompt_text="mail bob@example.com",
        error="key sk-proj-Abc123Def456Ghi789Jkl012Mno345Pqr678 refused",
        metadata={"email": "carol@example.com", "note": "call dave@example.com"},
    )
    (value,) = encoded(cleaned([json.dumps(record).encode()], "none"))
    for secret in (b"alice", b"bob", b"carol", b"dave", b"sk-proj-Abc"):
        assert secret not in value
    assert cleaned([value], "none").names[0].service == "chat"


def test_an_empty_batch_is_no_record() -> None:
    """Nothing in, nothing out."""
    assert encoded(CleanBatch.empty(PartitionId("c", "t", 0), 0)) == []
