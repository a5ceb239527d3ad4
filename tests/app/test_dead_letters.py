"""Dead letters: which are complete, which are meant, and what their records would be now."""

import json
from typing import Any

import pytest
from dead_letter_inputs import DAY_NS, HTTP, START_NS, as_read, letters_of, made_of, plain
from hypothesis import given
from hypothesis import strategies as st

from sentinel.app.dead_letters.choose import Chosen, Wanted
from sentinel.app.dead_letters.fate import Fate, Original, Verdict
from sentinel.app.dead_letters.judge import judge
from sentinel.app.dead_letters.letter import Letter, read_letter
from sentinel.config.schema import Ingestion, Parsing, Validation
from sentinel.core.batch import PartitionId
from sentinel.core.errors import RejectCode
from sentinel.ingestion.dead_letter import encode
from sentinel.ingestion.wire import read_event

EVENT = {"service_name": "chat", "model_name": "m", "latency_ms": 120.0}
STRICT = Ingestion(validation=Validation(max_latency_ms=100.0, on_out_of_range="reject"))


def record(**fields: Any) -> bytes:
    """An event as JSON."""
    return json.dumps(EVENT | fields).encode()


def trace(*latencies_ms: int | None) -> bytes:
    """An OTLP record of as many requests; None for one that names no model."""
    spans = []
    for number, latency_ms in enumerate(latencies_ms):
        attributes = {"gen_ai.operation.name": "chat"} | ({"gen_ai.request.model": "m"} if latency_ms is not None else {})
        spans.append(
            {
                "traceId": "0" * 31 + "1",
                "spanId": f"{number + 1:016x}",
                "name": "chat",
                "startTimeUnixNano": str(START_NS),
                "endTimeUnixNano": str(START_NS + (latency_ms or 1) * 1_000_000),
                "attributes": [{"key": name, "value": {"stringValue": value}} for name, value in attributes.items()],
            }
        )
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "chat"}}]}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}).encode()


def judged(raw: bytes | None, then: Ingestion, now: Ingestion, at_ns: int = START_NS) -> list[Verdict]:
    """What the letters of a record, made by one configuration, are by another."""
    return judge(letters_of([raw], then), Original(raw, at_ns, 0), now)


# ------------------------------------------------------------------------------------------------------------------ letters


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"service_name":"chat","latency_ms":1}', None),
        (b'{"service_name":"ch\xc3\xa4t","latency_ms":1}', None),
        (b'{"service_name":"chat","user_id":"u1","latency_ms":1}', "redacted"),
        (b'{"service_name":"chat","note":"write to ann@example.com","latency_ms":1}', "redacted"),
        (b'{"service_name":"a\\tb","latency_ms":1}', "redacted"),
        (b'{"service_name":"a\tb","latency_ms":1}', "redacted"),
        (b'{"service_name":"a\xff","latency_ms":1}', "redacted"),
        (b"\x00\x01\x02\x03\x04\x05\x06\x07", "redacted"),
        (b'{"service_name":"' + b"x" * 5_000, "2,048 of the record's 5,017 bytes"),
        (None, "nothing of the record"),
    ],
)
def test_only_a_whole_and_unchanged_copy_is_complete(raw: bytes | None, reason: str | None) -> None:
    """What was cut, redacted, escaped or is no text is not the record any more, and the letter says so."""
    (letter,) = letters_of([raw])
    if reason is None:
        assert letter.incomplete is None
        assert letter.record.encode() == raw
    else:
        assert reason in str(letter.incomplete)


@given(st.one_of(st.binary(max_size=80), st.text(max_size=60).map(lambda text: b'{"service_name":"' + text.encode("utf-8", "replace"))))
def test_a_complete_copy_is_the_record(raw: bytes) -> None:
    """Whatever the record, a letter that calls itself complete holds it byte for byte."""
    for letter in letters_of([raw]):
        assert letter.incomplete is not None or letter.record.encode() == raw


def test_the_point_of_a_store_is_not_the_event() -> None:
    """A letter of the store's is never taken for its event, whatever it holds."""
    assert "point" in str(as_read(plain(code=RejectCode.REFUSED_BY_STORE)).incomplete)


@pytest.mark.parametrize("line", [b"", b"{}", b"no json", encode(plain())[:-9], encode(plain()).replace(b"2026-", b"2x26-")])
def test_what_is_no_letter_is_none(line: bytes) -> None:
    """A line that a crash cut off, or somebody else's, is told apart without an error."""
    assert read_letter(line) is None


# ------------------------------------------------------------------------------------------------------------------ choosing


@pytest.mark.parametrize(
    ("wanted", "takes"),
    [
        (Wanted(), True),
        (Wanted(codes=frozenset({"missing_field"})), True),
        (Wanted(codes=frozenset({"too_large"})), False),
        (Wanted(log="c1/llm.telemetry/3"), True),
        (Wanted(log="llm.telemetry/3"), True),
        (Wanted(log="c1/llm.telemetry"), True),
        (Wanted(log="llm.telemetry"), True),
        (Wanted(log="telemetry/3"), False),
        (Wanted(partition=3), True),
        (Wanted(partition=0), False),
        (Wanted(start_ns=START_NS), True),
        (Wanted(start_ns=START_NS + 1), False),
        (Wanted(end_ns=START_NS + 1), True),
        (Wanted(end_ns=START_NS), False),
        (Wanted(ids=frozenset({"c1/llm.telemetry/3/0/0", "x"})), True),
        (Wanted(ids=frozenset({"c1/llm.telemetry/3/0/1"})), False),
        (Wanted(offset=0, sub=0), True),
        (Wanted(offset=1), False),
        (Wanted(sub=1), False),
    ],
)
def test_every_filter_filters(wanted: Wanted, takes: bool) -> None:
    """Each filter leaves out what it does not name."""
    (letter,) = letters_of([b'{"latency_ms":1}'], log=PartitionId("c1", "llm.telemetry", 3))
    assert wanted.takes(letter) is takes


def test_the_newest_are_kept_and_all_are_counted() -> None:
    """Memory is bounded by the limit, the counts are of everything."""
    chosen = Chosen(2)
    for offset, age_days in enumerate((3, 0, 2, 1)):
        chosen.add(as_read(plain(offset, START_NS - age_days * DAY_NS)))
    chosen.add(as_read(plain(9, START_NS - 9 * DAY_NS, code=RejectCode.TOO_LARGE)))
    assert [letter.offset for letter in chosen.newest_first()] == [1, 3]
    assert (chosen.total, dict(chosen.by_code)) == (5, {"missing_field": 4, "too_large": 1})


# ------------------------------------------------------------------------------------------------------------------- judging


def test_a_record_passes_once_its_limit_is_raised() -> None:
    """The same record by two configurations: refused by the one that refused it, passing by the other, and sent as it is."""
    raw = record(event_id="e1", timestamp="2026-01-15T10:29:00Z")
    (verdict,) = judged(raw, STRICT, STRICT)
    assert (verdict.fate, verdict.why) == (Fate.REFUSED, "out_of_range: latency_ms: outside its limits")
    (verdict,) = judged(raw, STRICT, Ingestion())
    assert (verdict.fate, verdict.why, verdict.records) == (Fate.PASSES, "", [raw])
    small = Ingestion(parsing=Parsing(max_record_bytes=256))
    (verdict,) = judged(record(event_id="e1", timestamp=START_NS, note="x" * 300), small, Ingestion())
    assert verdict.fate is Fate.PASSES


def test_an_event_without_an_id_gets_one_that_stays_the_same() -> None:
    """Sent twice it is one event; two events are two. The rest of the record is as it was."""
    raws = [record(timestamp="2026-01-15T10:29:00Z"), record(timestamp="2026-01-15T10:29:00Z")]
    sent = []
    for _ in range(2):
        letters = letters_of(raws, STRICT)
        sent.append(
            [judge([letter], Original(raw, START_NS, 0), Ingestion())[0].records[0] for letter, raw in zip(letters, raws, strict=True)]
        )
    assert sent[0] == sent[1]
    first, second = (json.loads(value) for value in sent[0])
    assert first["event_id"] != second["event_id"]
    assert first | {"event_id": 0} == json.loads(raws[0]) | {"event_id": 0}


@pytest.mark.parametrize("raw", [record(), record(event_id=None, timestamp=None), b"\xef\xbb\xbf \n" + record()])
def test_an_event_without_a_time_keeps_that_of_its_record(raw: bytes) -> None:
    """It was then, not when somebody sends it again; also where its keys are there without values."""
    (verdict,) = judged(raw, STRICT, Ingestion())
    wire = read_event(verdict.records[0])
    assert str(wire.timestamp) == "2026-01-15 10:30:00+00:00"
    assert str(wire.event_id).startswith("replay-")
    assert wire.latency_ms == 120.0


def test_of_a_trace_only_the_refused_request_is_sent() -> None:
    """The other requests of its record are stored already: it goes alone, as an event of its own."""
    verdicts = judged(trace(50, 120, 60, 130), STRICT, Ingestion())
    assert [(verdict.letter.sub, verdict.fate) for verdict in verdicts] == [(1, Fate.PASSES), (3, Fate.PASSES)]
    wires = [read_event(verdict.records[0]) for verdict in verdicts]
    assert [wire.latency_ms for wire in wires] == [120.0, 130.0]
    assert len({wire.event_id for wire in wires} - {None}) == 2


def test_a_trace_that_was_refused_whole_is_sent_whole() -> None:
    """All its requests go, each with an id; those that would be refused are told."""
    raw = trace(50, None, 60)
    small = Ingestion(parsing=Parsing(max_record_bytes=256))
    (verdict,) = judged(raw, small, Ingestion())
    assert (verdict.fate, verdict.why) == (Fate.PASSES, "2 of its 3 events; the others would be refused (missing_field)")
    assert len({read_event(value).event_id for value in verdict.records}) == 2


@pytest.mark.parametrize(
    ("raw", "lies_there", "fate", "why"),
    [
        (record(latency_ms="x"), record(latency_ms=12345), Fate.MISSING, "another record of"),
        (None, None, Fate.MISSING, "no value"),
        (b"{", b"{", Fate.REFUSED, "malformed_json"),
        (trace(50, None), trace(50, None), Fate.REFUSED, "missing_field"),
    ],
)
def test_what_is_not_sent_is_told(raw: bytes | None, lies_there: bytes | None, fate: Fate, why: str) -> None:
    """Another record at the place, none at all, one that is refused again: each has its reason."""
    (verdict,) = judge(letters_of([raw]), Original(lies_there, START_NS, 0), Ingestion())
    assert verdict.fate is fate
    assert why in verdict.why


def test_a_letter_of_the_store_is_judged_by_its_record() -> None:
    """The record decodes, as it did the first time; that the store may refuse it again is said."""
    letter = as_read(plain(code=RejectCode.REFUSED_BY_STORE, record="llm_telemetry latency_ms=1"))
    raw = record(event_id="e", timestamp="2026-01-15T10:29:00Z")
    (verdict,) = judge([letter], Original(raw, START_NS, 0), Ingestion())
    assert (verdict.fate, verdict.records) == (Fate.PASSES, [raw])
    assert "the store refused it" in verdict.why


def test_a_letter_stands_for_its_own_event() -> None:
    """Copies of two requests of one record get two ids, though each is the only event in its letter."""
    letters = [as_read(letter) for letter in made_of([trace(120, 130)], STRICT, HTTP)]
    ids = set()
    for letter in letters:
        assert isinstance(letter, Letter)
        assert letter.incomplete is None
        (verdict,) = judge([letter], Original(letter.record.encode(), START_NS), Ingestion())
        ids.add(read_event(verdict.records[0]).event_id)
    assert len(ids) == 2
