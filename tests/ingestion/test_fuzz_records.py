"""Hostile records: whatever the bytes, nothing breaks, nothing vanishes, nothing that cannot be reaches the columns."""

import json
import re
from collections.abc import Callable, Iterator
from random import Random

import numpy as np
import pytest
from decode_inputs import LOG_NS, START_NS, as_json, delivery, flat, request

from sentinel.config.schema import Parsing, Validation
from sentinel.core.batch import EventBatch
from sentinel.core.delivery import Delivery
from sentinel.core.errors import RejectCode
from sentinel.core.reject import Reject
from sentinel.ingestion.decode import decode
from sentinel.ingestion.validate import validate
from sentinel.ingestion.wire import EARLIEST_NS, LATEST_NS

RECORDS, BATCH = 100_000, 250
LIMITS = (Validation(), Validation(on_out_of_range="reject"))
CANARY = "canary-5f1d"
MEGABYTE = 1_048_576

CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": CANARY,
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 5,
    "gen_ai.input.messages": [{"role": "user", "content": CANARY}],
    "gen_ai.response.finish_reasons": ["stop"],
    "events": [("exception", {"exception.type": CANARY})],
    "note": CANARY,
}
INFERENCE = {
    "openinference.span.kind": "LLM",
    "llm.model_name": "m",
    "llm.token_count.prompt": 3,
    "llm.cost_usd": 0.5,
    "status": (2, CANARY),
}
SPANS = request(CHAT, {"http.method": "GET"}, INFERENCE, {"traceloop.span.kind": "agent"}, service=CANARY)

JSON_BASES = [
    json.dumps(record).encode()
    for record in (
        flat(service_name=CANARY, event_id=CANARY, prompt_tokens=10, completion_tokens=4, total_tokens=14, cost_usd=0.01, error=None),
        flat(timestamp=START_NS, user_id=CANARY, ttft_ms=3.5, streaming=True, status=200, metadata={CANARY: CANARY, "n": 1}),
        {"application": CANARY, "model": "m", "inference_time": 0.5, "success": True, "timestamp": 1_768_473_000.5, "tenant": CANARY},
        flat(model=CANARY, model_name=..., prompt={"text": CANARY, "tokens": 3}, response={"text": "é😀", "tokens": 4}, errors=[CANARY]),
    )
]
OTLP_BASES = [SPANS.SerializeToString(), as_json(SPANS), request(CHAT).SerializeToString(), as_json(request(INFERENCE))]
BASES = JSON_BASES + OTLP_BASES

TOKENS = [
    *b"null true false 0 -0.0 -1 1.5 1e400 -1e400 1e308 5e-324 NaN Infinity -Infinity 18446744073709551616".split(),
    *b'[] {} [[]] {"a":1} [null] "" "NaN" "12" 1768473000 1768473000000000000000 0.1 946684799999'.split(),
    *b'"2026-02-30T00:00:00Z" "2026-01-15T10:30:60Z" "0001-01-01T00:00:00+23:59" "9999-12-31T23:59:59.999999999-23:59"'.split(),
    *(rb'"\ud800"', rb'"\udc00\ud800"', rb'"\u0000"', b'"\x00"', rb'"a\nb"', b'"\xff"', b'"\xed\xa0\x80"', rb'"\u202e"', b'" "'),
    *(b"9" * 4300, b"-" + b"9" * 25, b"1" + b"0" * 400, b'"1' + b"0" * 30 + b'"', b'"' + b"x" * 300 + b'"', b"[" * 2_000 + b"]" * 2_000),
]
_VALUE = re.compile(rb'(?<=:)\s*(?:"[^"]*"|[^,\]}\[{]+)')


def flipped(raw: bytes, rng: Random) -> bytes:
    """Some bytes changed."""
    changed = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(len(changed))] = rng.getrandbits(8)
    return bytes(changed)


def cut(raw: bytes, rng: Random) -> bytes:
    """A piece left out."""
    start = rng.randrange(len(raw))
    return raw[:start] + raw[start + rng.randint(1, 40) :]


def spliced(raw: bytes, rng: Random) -> bytes:
    """The beginning of one record and the end of another."""
    other = rng.choice(BASES)
    return raw[: rng.randrange(len(raw))] + other[rng.randrange(len(other)) :]


def replaced(raw: bytes, rng: Random) -> bytes:
    """A JSON value, or a stretch of bytes, replaced by something nasty."""
    places = list(_VALUE.finditer(raw)) if raw.startswith(b"{") else []
    start, stop = rng.choice(places).span() if places else sorted(rng.choices(range(len(raw)), k=2))
    return raw[:start] + rng.choice(TOKENS) + raw[stop:]


def doubled(raw: bytes, rng: Random) -> bytes:
    """A field given twice, or the record twice."""
    return raw[:-1] + b',"latency_ms":' + rng.choice(TOKENS) + b"}" if raw.startswith(b"{") and rng.random() < 0.7 else raw + raw


def prefixed(raw: bytes, rng: Random) -> bytes:
    """Something in front."""
    return rng.choice([b"\xef\xbb\xbf", b"\n", b"\x00", b" ", b"\xff\xfe", b"\n\n", b"["]) + raw


def random_bytes(_: bytes, rng: Random) -> bytes:
    """No record at all."""
    return rng.choice([b"", b"\n", b"{", b'{"resourceSpans":']) + rng.randbytes(rng.randrange(60))


def unchanged(raw: bytes, _: Random) -> bytes:
    """The record as it is."""
    return raw


MUTATIONS: list[Callable[[bytes, Random], bytes]] = [
    *(flipped, flipped, cut, spliced, replaced, replaced, replaced, doubled, prefixed, random_bytes, unchanged),
]


def generated(rng: Random, count: int) -> Iterator[bytes | None]:
    """Records of every dialect, mutated up to three times; some tombstones."""
    for _ in range(count):
        raw = rng.choice(BASES)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            raw = rng.choice(MUTATIONS)(raw, rng) if raw else b"{}"
        yield None if rng.random() < 0.01 else raw


def is_otlp(raw: bytes | None) -> bool:
    """Whether a record may hold any number of spans."""
    return raw is not None and (b"resourceSpans" in raw or raw.startswith(b"\n"))


def judged(work: Delivery, limits: Validation) -> tuple[EventBatch | None, list[Reject], int]:
    """Decode and validate."""
    found = decode(work, Parsing())
    batch, refused = validate(found.batch, limits) if found.batch is not None else (None, [])
    return batch, [*found.rejects, *refused], found.filtered


def check(records: list[bytes | None], limits: Validation) -> None:
    """Everything that must hold of a delivery, however hostile."""
    work = delivery(records)
    batch, rejects, filtered = judged(work, limits)
    counts = np.bincount([reject.index for reject in rejects], minlength=len(records))
    if batch is not None:
        counts += np.bincount(batch.index, minlength=len(records))
        check_batch(batch)
    for raw, count in zip(records, counts.tolist(), strict=True):
        if is_otlp(raw):
            assert count or judged(delivery([raw]), limits)[2] >= 1, raw
        else:
            assert count == 1, raw
    assert filtered == 0 or any(map(is_otlp, records))
    for reject in rejects:
        assert isinstance(reject.code, RejectCode)
        assert reject.detail
        assert CANARY not in reject.detail
        assert reject.offset == work.offsets[reject.index]


def check_batch(batch: EventBatch) -> None:
    """What every sink may rely on."""
    with np.errstate(invalid="ignore"):
        assert not np.isinf(batch.metrics).any()
        assert not (batch.metrics < 0).any()
    assert ((batch.ts_ns >= EARLIEST_NS) & (batch.ts_ns < LATEST_NS)).all()
    place = list(zip(batch.offsets.tolist(), batch.subs.tolist(), strict=True))
    assert place == sorted(set(place))
    assert sorted(set(batch.series.tolist())) == list(range(len(batch.names)))
    for key in batch.names:
        assert 1 <= len(key.tenant) <= 64
        assert 1 <= len(key.service) <= 128
        assert 1 <= len(key.model) <= 128
        assert not re.search("[\x00-\x1f\x7f-\x9f]", "".join(key))
        assert "".join(key).encode()
    assert all(wire.event_id is None or (isinstance(wire.event_id, str) and len(wire.event_id) <= 128) for wire in batch.wire)


@pytest.mark.parametrize("part", range(4))
def test_mutated_records_are_all_accounted_for(part: int) -> None:
    """100,000 mutated records in all: no exception, each one is an event, a reject or filtered, and no absurd value gets through."""
    rng = Random(f"records {part}")  # noqa: S311  repeatable on purpose
    records = list(generated(rng, RECORDS // 4))
    for start in range(0, len(records), BATCH):
        check(records[start : start + BATCH], LIMITS[start // BATCH % 2])


def span_json(body: bytes) -> bytes:
    """An OTLP JSON record around the inside of one span's attributes."""
    return b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[' + body + b"]}]}]}]}"


def filled(start: bytes, unit: bytes, end: bytes, separator: bytes = b",") -> bytes:
    """A record of about one megabyte of the same thing."""
    count = (MEGABYTE - len(start) - len(end)) // (len(unit) + len(separator))
    return start + separator.join([unit] * count) + end


def sized(field: int, body: bytes) -> bytes:
    """One length-delimited protobuf field whose length takes four bytes."""
    size = len(body)
    length = bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14 & 127 | 128, size >> 21])
    return bytes([field << 3 | 2]) + length + body


def in_span(body: bytes) -> bytes:
    """A protobuf record around the inside of one LLM span."""
    return sized(1, sized(2, sized(2, b"\x4a\x16\x0a\x14gen_ai.request.model" + body)))


HEAD = b'{"service_name":"s","model_name":"m","latency_ms":1,'
LARGE = {
    "deep array": HEAD + b'"x":' + b"[" * 200_000,
    "deep object": HEAD + b'"metadata":' + b'{"a":' * 150_000,
    "deep closed": HEAD + b'"error":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "deep top": b"[" * 200_000,
    "deep otlp": span_json(b'{"key":"gen_ai.system","value":' + b'{"arrayValue":{"values":[' * 30_000),
    "deep otlp below the limit": span_json(
        b'{"key":"llm.model","value":' + b'{"arrayValue":{"values":[' * 300 + b"{}" + b"]}}" * 300 + b"}"
    ),
    "digits": HEAD + b'"metadata":{"n":' + b"9" * 1_000_000 + b"}}",
    "long integers": filled(HEAD + b'"metadata":{"n":[', b"9" * 4_300, b"]}}"),
    "long string": HEAD + b'"prompt_text":"' + b"x" * 1_000_000 + b'"}',
    "escapes": filled(HEAD + b'"prompt_text":"', b"\\u0041", b'"}', b""),
    "surrogates": filled(HEAD + b'"user_id":"', b"\\ud83d\\ude00", b'"}', b""),
    "long name": b'{"service_name":"' + b"a" * 1_000_000 + b'","model_name":"m","latency_ms":1}',
    "unknown fields": filled(b"{", b'"abcdefgh":1', b"}"),
    "same field": filled(b"{", b'"latency_ms":1', b"}"),
    "errors": filled(HEAD + b'"errors":[', b"1", b"]}"),
    "metadata": filled(HEAD + b'"metadata":{', b'"k":{}', b"}}"),
    "spaces": HEAD + b'"error":null}' + b" " * 1_000_000,
    "too large": b" " * (MEGABYTE + 1),
    "json resources": filled(b'{"resourceSpans":[', b"{}", b"]}"),
    "json scopes": filled(b'{"resourceSpans":[{"scopeSpans":[', b"{}", b"]}]}"),
    "json spans": filled(b'{"resourceSpans":[{"scopeSpans":[{"spans":[', b"{}", b"]}]}]}"),
    "json LLM spans": filled(
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[',
        b'{"attributes":[{"key":"gen_ai.operation.name","value":{"stringValue":"chat"}}]}',
        b"]}]}]}",
    ),
    "json attributes": span_json(filled(b"", b'{"key":""}', b"")[:900_000].rsplit(b",", 1)[0]),
    "json values": span_json(b'{"key":"a","value":{"arrayValue":{"values":[' + b",".join([b"{}"] * 300_000) + b"]}}}"),
    "proto resources": b"\x0a\x00" * 500_000,
    "proto scopes": sized(1, b"\x12\x00" * 500_000),
    "proto spans": sized(1, sized(2, b"\x12\x00" * 500_000)),
    "proto LLM spans": request(*[INFERENCE] * 2_500).SerializeToString(),
    "proto bad LLM spans": request(*[{"gen_ai.operation.name": "chat"}] * 2_500, service=None).SerializeToString(),
    "proto marked spans": sized(1, sized(2, sized(2, b"\x4a\x09\x0a\x07gen_ai.") * 29_000)),
    "proto attributes": in_span(b"\x4a\x00" * 500_000),
    "proto events": in_span(b"\x5a\x00" * 500_000),
    "proto values": in_span(sized(9, b"\x0a\x01a" + sized(2, sized(5, b"\x0a\x00" * 500_000)))),
    "proto groups": in_span(b"\x0b" * 500_000),
    "line feeds": b"\n" * 1_000_000,
}


@pytest.mark.parametrize("name", LARGE)
def test_large_hostile_records_are_cheap(name: str) -> None:
    """A megabyte built to be expensive raises nothing and is accounted for; what it may cost is bounded by counts, not by a clock."""
    raw = LARGE[name]
    for limits in LIMITS:
        check([raw], limits)


ARRAYS = (b'{"arrayValue":{"values":[', b"{}", b"]}}")
NESTS = {
    "metadata": (HEAD + b'"cost_usd":1e9,"metadata":', b'{"a":', b"1", b"}"),
    "errors": (HEAD + b'"cost_usd":1e9,"errors":', b"[", b"1", b"]"),
    "resource": (b'{"resourceSpans":[{"resource":{"attributes":[{"key":"a","value":', *ARRAYS),
    "span": (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[{"key":"llm.model","value":', *ARRAYS),
}


@pytest.mark.parametrize("name", NESTS)
def test_nesting_around_the_limit(name: str) -> None:
    """At every depth, well within, just readable or just too deep, a record is accounted for."""
    start, deeper, core, end = NESTS[name]
    opened = [b"}" if byte == ord("{") else b"]" for byte in start if byte in b"{["]
    codes = set()
    for depth in range(1, 1_100, 3):
        raw = start + deeper * depth + core + end * depth + b"".join(reversed(opened))
        check([raw], LIMITS[1])
        codes |= {reject.code for reject in judged(delivery([raw]), LIMITS[1])[1]}
    assert RejectCode.TOO_DEEP in codes
    assert RejectCode.MALFORMED_JSON not in codes


def test_valid_bases_are_events() -> None:
    """The records that are mutated are valid: the mutations, not the generator, make the rejects."""
    for raw in BASES:
        batch, rejects, _ = judged(delivery([raw], log_ns=LOG_NS), LIMITS[0])
        assert rejects == []
        assert batch is not None
