"""What the scan calls plain, `decode` finds too, field by field and bit by bit; and typical records are plain."""

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from random import Random

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sentinel.core.buffers import as_words
from sentinel.ingestion import scan as scanning
from sentinel.ingestion import scan_keys
from sentinel.ingestion.columns import are_event_ids, times
from sentinel.ingestion.scan import Scanned, scan
from sentinel.ingestion.scan_columns import FACTOR, SEED, Groups, gather, group, group_by_dict, number_tuples, objects, strings
from sentinel.ingestion.scan_keys import NUMBERS, STRINGS, TEXTS
from sentinel.ingestion.unusable import UNREADABLE
from sentinel.ingestion.wire import WireEvent
from sentinel.testing.simulator import Simulator

read = msgspec.json.Decoder(WireEvent).decode
DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(WireEvent)}
ENCODED = [field.encode_name for field in msgspec.structs.fields(WireEvent)]
LINKS = ("user_id", "session_id", "request_id", "trace_id", "span_id", "parent_span_id")
MARKS = {-1: None, 0: False, 1: True}
BASE = b'{"service_name":"chat","model_name":"gpt-4o","latency_ms":120.5'
FULL = (
    rb'{"event_id":"e-1","timestamp":"2026-02-28T23:59:59.125+05:30","service_name":"chat","model_name":"gpt-4o","tenant":"t",'
    rb'"latency_ms":120.5,"ttft_ms":1e1,"time_per_output_token_ms":0.25,"prompt_tokens":12.0,"completion_tokens":3,"total_tokens":15,'
    rb'"cost_usd":0.0123,"user_id":"u","session_id":"s","request_id":"r","trace_id":"a1","span_id":"b2","parent_span_id":"c3",'
    rb'"provider":"openai","operation":"chat","environment":"","region":"eu west","finish_reason":"stop","prompt_version":"v2",'
    rb'"streaming":true,"success":false,"status":"ok","error":"a \"b\" \ud83d\ude00","prompt_text":"caf\u00e9 \xc3\xa9","response_text":"",'
    rb'"metadata":null,"note":"x\n","rank":-1.5e3}'
).replace(rb"\xc3\xa9", b"\xc3\xa9")  # fmt: skip


def row(name: str) -> int:
    """The row of a string field."""
    return STRINGS.index(name)


def rows(scanned: Scanned, *names: str) -> tuple[bytes, np.ndarray, np.ndarray]:
    """Text, starts and ends of some string fields."""
    index = [row(name) for name in names]
    return scanned.text, scanned.start[index], scanned.end[index]


def with_field(name: str, value: str | bytes) -> bytes:
    """A plain record with one more field, or with another value of one."""
    raw = value.encode() if isinstance(value, str) else value
    rest = b",".join(part for part in BASE[1:].split(b",") if not part.startswith(b'"%s"' % name.encode()))
    return b'{"' + name.encode() + b'":' + raw + b"," + rest + b"}"


def is_plain(record: bytes) -> bool:
    """Whether one record is plain; what it holds is checked on the way."""
    return bool(check([record]).plain[0])


def check(records: Sequence[bytes]) -> Scanned:
    """Scan, and hold every record against `decode`."""
    scanned = scan(records)
    assert len(scanned.plain) == len(records)
    for event, record in enumerate(records):
        if scanned.plain[event]:
            assert found(scanned, event) == expected(record), record
        else:
            assert (scanned.start[:, event] == -1).all()
            assert np.isnan(scanned.numbers[:, event]).all()
            marks = (scanned.streaming[event], scanned.success[event], scanned.error_kind[event], scanned.ts_ns[event])
            assert marks == (-1, -1, 0, 0)
            assert not scanned.escaped[:, event].any()
    return scanned


def found(scanned: Scanned, event: int) -> dict[str, object]:
    """The fields of a plain record, as a caller would read them."""
    fields: dict[str, object] = {}
    for index, name in enumerate(STRINGS):
        start, end = scanned.start[index, event], scanned.end[index, event]
        raw = scanned.text[start:end]
        escaped = name in TEXTS and scanned.escaped[TEXTS.index(name), event]
        value = msgspec.json.decode(b'"' + raw + b'"') if escaped else raw.decode()
        fields[name] = None if start < 0 else value
    kind = scanned.error_kind[event]
    assert (kind == 3) == (fields["error"] is not None)
    fields["error"] = (None, False, True, fields["error"])[kind]
    fields |= {name: scanned.numbers[index, event].hex() for index, name in enumerate(NUMBERS)}
    fields |= {"streaming": MARKS[scanned.streaming[event]], "success": MARKS[scanned.success[event]], "timestamp": scanned.ts_ns[event]}
    return fields


def expected(record: bytes) -> dict[str, object]:
    """The same fields as `decode` finds them; fails where a record is not as plain as it should be."""
    wire = read(record)
    fields = {name: getattr(wire, name) for name in (*STRINGS, "streaming", "success")}
    for name, default in DEFAULTS.items():
        if name not in fields and name not in (*NUMBERS, "timestamp"):
            assert getattr(wire, name) is default or getattr(wire, name) == default, name
    assert None not in (wire.service_name, wire.model_name, wire.latency_ms)
    assert wire.event_id is None or are_event_ids([wire.event_id])
    assert all(getattr(wire, name) != "" for name in LINKS)
    for name in set(STRINGS) - set(TEXTS):
        assert fields[name] is None or (fields[name].isascii() and fields[name].isprintable())
    fields |= {name: "nan" if getattr(wire, name) is None else float(getattr(wire, name)).hex() for name in NUMBERS}
    at = times([wire.timestamp], np.zeros(1, np.int64))
    assert not at.refused
    return fields | {"timestamp": at.ts_ns[0]}


# ------------------------------------------------------------------------------------------------------------------- what is plain


def test_typical_records_are_plain() -> None:
    """All that the simulated producers send goes the fast way, with texts, errors and planted secrets too."""
    simulator = Simulator(3, rate=2_000.0, text_share=0.3, error_rate=0.1)
    records = simulator.block(1_768_473_000 * 10**9, 1_768_473_001 * 10**9)
    assert len(records) > 1_000
    assert check(records).plain.all()


def test_every_field_is_found() -> None:
    """A record with all fields that can be plain is plain, and each is where it belongs."""
    scanned = check([FULL])
    assert scanned.plain.all()
    assert (scanned.start >= 0).all()
    assert not np.isnan(scanned.numbers).any()
    assert scanned.escaped[:, 0].tolist() == [True, False, True]
    assert scanned.ts_ns[0] == 1_772_303_399_125_000_000


def test_no_records() -> None:
    """An empty batch is no special case."""
    scanned = scan([])
    assert scanned.plain.shape == (0,)
    assert group(*rows(scanned, "user_id"), scanned.plain).first.shape == (0,)
    assert gather(*rows(scanned, "user_id"), scanned.plain, 64).bounds.tolist() == [0]


@pytest.mark.parametrize("space", ["", " ", "\n", "\t \r\n "])
def test_whitespace_around_tokens(space: str) -> None:
    """JSON's whitespace is allowed around every token."""
    tokens = ["{", '"service_name"', ":", '"a"', ",", '"model_name"', ":", '"b"', ",", '"latency_ms"', ":", "1", "}"]
    assert is_plain((space + space.join(tokens) + space).encode())


@pytest.mark.parametrize("name", sorted(ENCODED))
def test_null_is_absent_and_twice_is_not_plain(name: str) -> None:
    """Null is as good as absent, where `decode` takes it so; no known name may come twice."""
    required = name in ("service_name", "model_name", "latency_ms")
    assert is_plain(with_field(name, "null")) is not (required or name == "resourceSpans")
    assert not is_plain(BASE + f',"{name}":null,"{name}":null}}'.encode())
    assert not is_plain(BASE + b',"service_name":"again"}')


@pytest.mark.parametrize("name", sorted(set(ENCODED) - {*STRINGS, *NUMBERS, "timestamp", "streaming", "success"}))
@pytest.mark.parametrize("value", ['"a"', "1", "true", "false", "{}", "[]", '""', "0"])
def test_other_fields_are_not_plain(name: str, value: str) -> None:
    """Fields of other dialects and nested ones go the other way."""
    assert not is_plain(with_field(name, value))


@pytest.mark.parametrize("value", ['"a"', "1", "-1", "true", "false", "{}", "[]", "NaN", "nul", "trues", "-", '"a', "'a'", ""])
@pytest.mark.parametrize("name", ["user_id", "status", "error", "prompt_text", "latency_ms", "prompt_tokens", "streaming", "timestamp"])
def test_wrong_kinds_are_not_plain(name: str, value: str) -> None:
    """A value of another kind than its field is not plain."""
    strings_ok = value == '"a"' and name in STRINGS
    numbers_ok = value == "1" and name in NUMBERS
    flags_ok = value in ("true", "false") and name in ("streaming", "error")
    assert is_plain(with_field(name, value)) is (strings_ok or numbers_ok or flags_ok)


@pytest.mark.parametrize("value", ['"a\\u00e9\\n"', '"é"', "-1.5e400", "12345678901234567890.5", "true", "null", '""', "0", "-0"])
def test_unknown_scalars_are_skipped(value: str) -> None:
    """Names that nobody knows may hold any scalar, and repeat."""
    assert is_plain(BASE + f',"temperature":{value},"temperature":{value},"":{value}}}'.encode())


@pytest.mark.parametrize("value", ["[1]", "{}", '{"a":1}', "01", "1.", ".5", "+1", "1e", "-", '"\\x"', '"\\ud800"', "tru", '"\t"', "1 2"])
def test_unknown_values_that_are_not_plain(value: str) -> None:
    """What is nested or no JSON is not plain behind an unknown name either."""
    assert not is_plain(BASE + f',"temperature":{value}}}'.encode())


def test_names_close_to_known_ones_are_unknown() -> None:
    """A name is known by all of its bytes."""
    for name in ENCODED:
        for close in (
            name[:-1],
            name + "x",
            name + "\\u0061",
            "x" + name,
            name[:-1] + "~",
            name.upper(),
            name + "_of_somebody_else_altogether",
        ):
            if close not in ENCODED:
                assert is_plain(BASE + f',"{close}":1,"{close}":2}}'.encode()) is ("\\" not in close)


# ------------------------------------------------------------------------------------------------------------- strings and numbers


@pytest.mark.parametrize("name", sorted(set(STRINGS) - set(TEXTS)))
def test_identifiers_are_printable_ascii(name: str) -> None:
    """Every byte but these makes an identifier not plain."""
    for byte in range(256):
        fits = 0x20 <= byte < 0x7F and byte not in b'"\\' and not (name == "event_id" and byte == 0x20)
        assert is_plain(with_field(name, b'"a' + bytes([byte]) + b'b"')) is fits


@pytest.mark.parametrize("name", [*LINKS, "event_id"])
def test_empty_links_are_not_plain(name: str) -> None:
    """An empty identifier needs a second thought; other empty strings do not."""
    assert not is_plain(with_field(name, '""'))
    assert is_plain(with_field("provider", '""'))


def test_event_ids_have_a_longest_length() -> None:
    """An event id has at most 128 characters; other identifiers may be longer."""
    assert is_plain(with_field("event_id", '"' + "e" * 128 + '"'))
    assert not is_plain(with_field("event_id", '"' + "e" * 129 + '"'))
    assert is_plain(with_field("user_id", '"' + "u" * 100_000 + '"'))


TEXT_PARTS = [
    *(rb"\n", rb"\"", rb"\\", rb"\/", rb"\b\f\r\t", rb"\u0041", rb"\u0000", rb"\ud83d\ude00", rb"\uD83D\uDE00", rb"\uFFFF", b"\x7f", b"a"),
    *(rb"\ud83d", rb"\ude00", rb"\ud83d\u0041", rb"\ud83d\ud83d", rb"\ud83dxxxxxx", rb"\u12g4", rb"\u12", rb"\x", b"\\", b"\\u", b'"'),
    *("é€😀\u2028\U0010ffff".encode(), b"\xc0\x80", b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xe0\xa0\x80", b"\xed\x9f\xbf", b"\xed\xa0\x80"),
    *(b"\xf0\x8f\xbf\xbf", b"\xf0\x90\x80\x80", b"\xf4\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\x80", b"\xff", b"\xc3"),
    *(b"\xe2\x82", b"\xf0\x9f\x98", b"\x00", b"\n", b"\x1f", b"\xef\xbb\xbf"),
]  # fmt: skip
TEXT_PARTS += [rb"\u" + one for one in (b"d7ff", b"d800", b"dbff", b"dc00", b"dfff", b"e000", b"DC00", b"00e9")]
TEXT_PARTS += [rb"\u%s\u%s" % (one, other) for one in (b"d800", b"dbff") for other in (b"dbff", b"dc00", b"dfff", b"e000")]
raw_texts = st.lists(st.sampled_from(TEXT_PARTS), max_size=6).map(b"".join)


def decodes(record: bytes) -> bool:
    """Whether the decoder takes a record."""
    try:
        read(record)
    except UNREADABLE:
        return False
    return True


def assert_texts_are_judged_alike(name: str, raws: Sequence[bytes]) -> None:
    """Escapes, surrogates and UTF-8 are judged as the decoder judges them, neither more nor less strictly."""
    records = [with_field(name, b'"' + raw + b'"') for raw in raws]
    for record, raw, plain in zip(records, raws, check(records).plain.tolist(), strict=True):
        # A quote may have ended the text and begun another field.
        assert plain is decodes(record) or b'"' in raw, record


def test_every_pair_of_text_parts() -> None:
    """Two parts of a text, whole or broken, next to each other."""
    assert_texts_are_judged_alike("prompt_text", [one + other for one in [b"", *TEXT_PARTS] for other in TEXT_PARTS])


@pytest.mark.parametrize("name", TEXTS)
@settings(max_examples=500)
@given(raw=raw_texts | st.binary(max_size=12))
def test_texts_are_plain_exactly_when_they_are_strings(name: str, raw: bytes) -> None:
    """Texts of many parts, and any bytes."""
    assert_texts_are_judged_alike(name, [raw])


numbers = (
    st.from_regex(r"\A(0|[1-9][0-9]{0,19})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?\Z")
    | st.floats(min_value=0, allow_nan=False, allow_infinity=False).map(repr)
    | st.floats(min_value=0, max_value=1e6).map(repr)
    | st.integers(0, 1 << 64).map(str)
)


@settings(max_examples=1_000)
@given(text=numbers)
@example("9007199254740992")
@example("9007199254740993")
@example("0.30000000000000004")
@example("1e22")
@example("1e23")
@example("1e400")
@example("1e-400")
@example("4814.957000000001")
@example("0.1e-21")
@example("0." + "0" * 30)
@example("1e00000000000000000000000000000000001")
@example("0e99999999999999999999")
def test_numbers_are_exact(text: str) -> None:
    """A number is the float that Python and the decoder make of the same text, bit for bit; one too large for a float is not plain."""
    record = with_field("latency_ms", text)
    assert is_plain(record) is math.isfinite(float(text))
    if is_plain(record):
        assert scan([record]).numbers[0, 0].hex() == float(text).hex() == float(msgspec.json.decode(text)).hex()


BAD_NUMBERS = [
    "-1",
    "-0",
    "-0.0",
    "+1",
    "01",
    "00",
    "1.",
    ".5",
    "1.e5",
    "1e",
    "1e+",
    "0x1",
    "1_0",
    "1a",
    "Infinity",
    "NaN",
    "1..2",
    "1e5.5",
    "1e1e1",
]


@pytest.mark.parametrize("text", BAD_NUMBERS)
def test_other_numbers_are_not_plain(text: str) -> None:
    """JSON's grammar and a sign that makes sense are required."""
    assert not is_plain(with_field("latency_ms", text))


@pytest.mark.parametrize(("text", "plain"), [("12.0", True), ("1e2", True), ("1.5e1", True), ("12.5", False), ("1e-1", False), ("0", True)])
def test_counts_are_whole(text: str, *, plain: bool) -> None:
    """A number of tokens is a whole number, however it is spelled."""
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert is_plain(with_field(name, text)) is plain


# --------------------------------------------------------------------------------------------------------------------------- times

zones = st.integers(-1_439, 1_439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@settings(max_examples=1_000)
@given(at=st.datetimes(datetime(2000, 1, 2), datetime(2199, 12, 30), timezones=zones))  # noqa: DTZ001  the zone is drawn
@example(datetime(2112, 6, 1, 0, 0, 0, 1, UTC))
@example(datetime(2100, 2, 28, 23, 59, 59, 999_999, UTC))
@example(datetime(2000, 2, 29, 0, 0, 0, 1, UTC))
def test_times_are_those_of_the_decoder(at: datetime) -> None:
    """Every time with a zone from the year 2000 to 2199 is plain, and the same to the nanosecond."""
    assert is_plain(with_field("timestamp", json.dumps(at.isoformat())))


YEARS = (1999, 2000, 2023, 2024, 2100, 2199, 2200)
DATES = [f"{year}-{month:02}-{day:02}" for year in YEARS for month in range(14) for day in (0, 1, 28, 29, 30, 31, 32)]
CLOCKS = ["00:00:00", "23:59:59", "24:00:00", "23:60:00", "23:59:60", "1:00:00", "12-00:00", "12:00", "12:00:0a", "12:00:00,5", "12:00:00."]
FRACTIONS = [".1", ".12", ".123", ".1234", ".12345", ".123456", ".1234567", ".123456789", ".a", ". 1"]
ZONES = ["Z", "z", "", "+00:00", "-00:00", "+23:59", "-23:59", "+24:00", "+00:60", "+0530", "+05", " Z", "Z ", "+05:3", "+05:30:00"]
PLAIN_TIME = re.compile(r"2[01]\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)
TIMES = [
    *(f"{date}T00:00:00{zone}" for date in DATES for zone in ("Z", "+23:59", "-23:59")),
    *(f"{date}T23:59:59.999999{zone}" for date in DATES for zone in ("Z", "+23:59", "-23:59")),
    *(f"2026-01-15T{clock}{zone}" for clock in CLOCKS for zone in ("Z", "+01:00")),
    *(f"2026-01-15T10:30:00{fraction}{zone}" for fraction in ["", *FRACTIONS] for zone in ZONES),
    *("2026-01-15", "2026-01-15 10:30:00Z", "2026-01-15t10:30:00Z", "20260115T103000Z", "2026-1-15T10:30:00Z", "", "Z"),
]  # fmt: skip


def test_times_at_every_border() -> None:
    """Days of months, leap years, hours, fractions and zones: exactly the real ones of the years that events can have are plain."""
    scanned = check([with_field("timestamp", f'"{text}"') for text in TIMES])
    for text, plain in zip(TIMES, scanned.plain.tolist(), strict=True):
        assert plain is is_real(text), text


def is_real(text: str) -> bool:
    """Whether a time is written as the scan takes it, exists, and lies between 2000 and 2200 as `times` has it."""
    if not PLAIN_TIME.fullmatch(text):
        return False
    try:
        at = msgspec.json.decode(f'"{text}"', type=datetime)
    except msgspec.ValidationError:
        return False
    return not times([at], np.zeros(1, np.int64)).refused


def test_a_time_ends_where_its_string_ends() -> None:
    """An escape after a whole timestamp does not go unseen, and numbers are not plain."""
    for value in (r'"2026-01-15T10:30:00Z\u0041"', r'"2026-01-15T10:30:00Z\""', r'"2026-01-15T10:30:00\u005a"', "1768473000", "1.5"):
        assert not is_plain(with_field("timestamp", value))


# ------------------------------------------------------------------------------------------------------------------ hostile records

FRAGMENTS = [
    *(b"null", b"true", b"false", b"0", b"-0", b"1e400", b"12.0", b"9007199254740993", b"{}", b"[]", b'{"a":[1]}', b'""', b'"a b"', b"nul"),
    *(b'"2026-01-15T10:30:00Z"', b'"2024-02-29T23:59:59.999999-23:59"', b'"2023-02-29T00:00:00Z"', b'"\\n"', b'"\\ud800"', b'"\xc3\xa9"'),
    *(b'"\xff"', b'"\x00"', b'"\x7f"', b'"' + b"x" * 129 + b'"', b"1" + b"0" * 400, b'"', b"1 1", b'"a""b"', b""),
]  # fmt: skip
spaces = st.sampled_from([b"", b"", b"", b" ", b"\n", b"\t \r", b"\x0b", b"\xc2\xa0", b"\x00", b"//"])
known_names = st.sampled_from([*ENCODED, "note", "", "latency_msx", "Timestamp", "a\\nb", "\\u0065rror", "é"]).map(str.encode)
values = st.sampled_from(FRAGMENTS) | numbers.map(str.encode) | raw_texts.map(lambda raw: b'"' + raw + b'"')
members = st.tuples(known_names, values)
required = [(b"service_name", b'"chat"'), (b"model_name", b'"gpt-4o"'), (b"latency_ms", b"120.5")]


@st.composite
def near_plain(draw: st.DrawFn) -> bytes:
    """Records near the border of what is plain."""
    fields = draw(st.permutations([*required, *draw(st.lists(members, max_size=6))]))
    space = draw(spaces)
    pairs = [b'"' + name + b'"' + space + b":" + space + value for name, value in fields]
    tail = draw(st.sampled_from([b"", b"", b"", b" ", b"\n", b",", b"}", b"{}", b"x", b"\x00"]))
    return space + b"{" + space + (space + b"," + space).join(pairs) + space + b"}" + tail


@settings(max_examples=1_000)
@given(records=st.lists(near_plain(), min_size=1, max_size=4))
def test_records_near_the_border(records: list[bytes]) -> None:
    """Whatever stands around, between and behind names: a record that is plain is what `decode` says."""
    check(records)


def mutated(record: bytes, random: Random) -> bytes:
    """The record with one to three small damages."""
    raw = bytearray(record)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(raw) + 1)
        match random.randrange(6):
            case 0 if at < len(raw):
                raw[at] ^= 1 << random.randrange(8)
            case 1:
                del raw[at : at + random.randint(1, 3)]
            case 2:
                raw.insert(at, random.choice(b'"\\{}[]:,0123456789eE+-.tfn \n\x00\x7f\xc3\xe2\xff'))
            case 3:
                raw[at:at] = random.choice(FRAGMENTS)
            case 4:
                raw[at:at] = raw[at : at + random.randint(1, 40)]
            case _:
                del raw[at : at + 1 if random.random() < 0.9 else None]
    return bytes(raw)


def test_damaged_records() -> None:
    """20,000 damaged records: what is still plain is what `decode` says, and many of them are."""
    random = Random(7)  # noqa: S311  repeatable, not secret
    simulator = Simulator(5, rate=300.0, text_share=0.2, text_length=40, error_rate=0.3)
    intact = [*simulator.block(1_768_473_000 * 10**9, 1_768_473_001 * 10**9), FULL, FULL.replace(b",", b" ,\n").replace(b":", b" : ", 3)]
    plain = sum(check([mutated(random.choice(intact), random) for _ in range(1_000)]).plain.sum() for _ in range(20))
    assert 2_000 < plain < 18_000


def test_broken_records_are_not_completed_by_their_neighbours() -> None:
    """However a record is cut in two or three, no part of it is plain: three broken records never read as three whole ones."""
    for cut in range(1, len(FULL)):
        other = (cut * 7) % len(FULL)
        low, high = min(cut, other), max(cut, other)
        assert not check([FULL[:cut], FULL[cut:], FULL[:low], FULL[low:high], FULL[high:]]).plain.any()
        assert check([FULL[:cut], FULL, FULL[cut:]]).plain.tolist() == [False, True, False]


def test_a_record_does_not_depend_on_its_neighbours() -> None:
    """Alone and between any others, at every distance from a word's border, a record becomes the same."""
    alone = found(check([FULL]), 0)
    for before in (b"", b" ", b"x" * 7, FULL[:-1], b'"', b"\\", b"\xff" * 9):
        for after in (b"", b"}", b'"}', b"\x00", FULL):
            scanned = check([before, FULL, after])
            assert scanned.plain[1]
            assert found(scanned, 1) == alone


def test_long_records() -> None:
    """A text of a megabyte, or as many names, costs its length and changes nothing."""
    long_text = with_field("prompt_text", '"' + "a" * 500_000 + "\\n" + "é" * 250_000 + '"')
    many_names = BASE + b",".join([b'"a":1'] * 200_000).join([b",", b"}"])
    quotes = b'"' * 1_000_000
    assert check([long_text, many_names, FULL]).plain.all()
    assert not check([quotes, b"\\" * 100_000, b"{" * 100_000]).plain.any()


def test_what_does_not_fit_is_not_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions have 32 bits: records beyond them go the other way, those before them do not."""
    monkeypatch.setattr(scanning, "MAX_TEXT_BYTES", 3 * len(FULL))
    assert check([FULL] * 4).plain.tolist() == [True, True, False, False]


def test_compiled_and_interpreted_agree() -> None:
    """The kernels find the same with and without the compiler."""
    random = Random(11)  # noqa: S311  repeatable, not secret
    records = [FULL, *(mutated(FULL, random) for _ in range(60))]
    program = (
        "import sys, json\n"
        "from sentinel.ingestion.scan import scan\n"
        "from sentinel.ingestion.scan_columns import group, gather, objects, strings\n"
        "s = scan([bytes.fromhex(line) for line in sys.stdin.read().split()])\n"
        "g = group(s.text, s.start[:4], s.end[:4], s.plain)\n"
        "b = gather(s.text, s.start, s.end, s.plain, 8)\n"
        "o = objects(s.text, s.start[:2], s.end[:2], strings([b'\"u\":', b'\"a\":', b'\"b\":']), strings([b'x'] * 99), g.codes)\n"
        "arrays = [*s[1:], *g, b.text, b.bounds, o.text, o.bounds]\n"
        "print(json.dumps([array.tobytes().hex() for array in arrays]))\n"
    )
    lines = "\n".join(record.hex() or "20" for record in records)
    outputs = [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            input=lines,
            env=os.environ | {"NUMBA_DISABLE_JIT": disabled},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for disabled in ("0", "1")
    ]
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) > 10_000


def test_a_name_that_is_too_long_for_the_table_is_refused_at_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new field of `WireEvent` that the table cannot hold is named, with the cure."""
    monkeypatch.setattr(scan_keys, "WireEvent", msgspec.defstruct("Long", [("a_name_of_twenty_five_byte", int)]))
    with pytest.raises(ValueError, match=r"a_name_of_twenty_five_byte; raise scan_keys\.LONGEST"):
        scan_keys.make_keys()


# ------------------------------------------------------------------------------------------------------------------------- columns

known_cells = [b"", b"a", b"b", b"ab", b"a\x00", b"\x00", b"12345678", b"123456789", b"x" * 40, b"x" * 39 + b"y"]
cells = st.none() | st.sampled_from(known_cells) | st.binary(max_size=20)
tables = st.integers(1, 4).flatmap(lambda k: st.lists(st.tuples(st.booleans(), *[cells] * k), max_size=30))
Table = list[tuple[bool | bytes | None, ...]]


def laid_out(table: Table) -> tuple[bytes, np.ndarray, np.ndarray, np.ndarray]:
    """Text, starts, ends and use of made-up values."""
    k = len(table[0]) - 1 if table else 1
    start, end = np.full((k, len(table)), -1, np.int32), np.full((k, len(table)), -1, np.int32)
    text = bytearray(b"?")
    for event, (_, *values) in enumerate(table):
        for index, value in enumerate(values):
            if value is not None:
                start[index, event] = len(text)
                text += value
                end[index, event] = len(text)
    return bytes(text) + bytes(40), start, end, np.array([bool(use) for use, *_ in table], np.bool_)


def assert_same_groups(one: Groups, other: Groups) -> None:
    """The same numbers in the same order."""
    assert one.codes.tolist() == other.codes.tolist()
    assert one.first.tolist() == other.first.tolist()


@settings(max_examples=500)
@given(table=tables)
def test_groups_are_those_of_a_dict(table: Table) -> None:
    """Distinct tuples get numbers in order of first appearance; absent differs from empty."""
    numbers: dict[tuple[object, ...], int] = {}
    codes = [numbers.setdefault(tuple(values), len(numbers)) if use else -1 for use, *values in table]
    grouped = group(*laid_out(table))
    assert grouped.codes.tolist() == codes
    assert grouped.first.tolist() == [codes.index(number) for number in range(len(numbers))]


def value_with_hash(wanted: int) -> bytes:
    """A value of eight bytes that `hash_tuple` makes this number of: it has no secret."""
    bits = (1 << 64) - 1
    inverse = pow(int(FACTOR), -1, 1 << 64)
    state = (int(SEED) ^ 8) * int(FACTOR) & bits
    last = (wanted ^ wanted >> 32) * inverse & bits
    return (last ^ state ^ state >> 32).to_bytes(8, "little")


def test_values_made_to_meet_in_one_slot_cost_no_square() -> None:
    """A producer who knows the hash gets the dict, and the same numbers."""
    table: Table = [(True, value_with_hash(number << 20)) for number in range(2_000)] * 2
    text, start, end, use = laid_out(table)
    n = len(table)
    codes, first, hashes = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.uint64)
    with np.errstate(over="ignore"):
        count = number_tuples(as_words(text), start, end, use, codes, first, hashes, np.full(16_384, -1, np.int32))
    assert count == -1
    assert_same_groups(group(text, start, end, use), group_by_dict(text, start, end, use))


def test_values_of_one_hash_are_told_apart() -> None:
    """Two tuples with the same 64 bits of hash are two tuples."""
    bits = (1 << 64) - 1
    firsts = (b"abcdefgh", b"ABCDEFGH")
    state = (int(SEED) ^ 16) * int(FACTOR) & bits
    states = [(state ^ state >> 32 ^ int.from_bytes(first, "little")) * int(FACTOR) & bits for first in firsts]
    mixed = [state ^ state >> 32 for state in states]
    values = [first + (mix ^ mixed[0]).to_bytes(8, "little") for first, mix in zip(firsts, mixed, strict=True)]
    table: Table = [(True, values[0]), (True, values[1]), (True, values[0])]
    assert group(*laid_out(table)).codes.tolist() == [0, 1, 0]


@settings(max_examples=500)
@given(table=tables, block=st.integers(1, 9))
def test_gathered_values(table: Table, block: int) -> None:
    """Each block holds the present values of its events, field after field, with one space between two."""
    gathered = gather(*laid_out(table), block)
    blocks = [table[at : at + block] for at in range(0, len(table), block)]
    values = [[row[field] for field in range(1, len(table[0])) for row in part if row[0] and row[field] is not None] for part in blocks]
    texts = [gathered.text[low:high].tobytes() for low, high in zip(gathered.bounds[:-1], gathered.bounds[1:], strict=True)]
    # Empty values at the start of a block leave no space before them.
    assert [text.lstrip(b" ") for text in texts] == [b" ".join(part).lstrip(b" ") for part in values]
    assert gathered.longest == max((len(value) for part in values for value in part), default=0)


def test_gathered_values_are_those_of_the_records() -> None:
    """Identifiers of plain records come out as they went in; those of others are left out."""
    scanned = scan([FULL, b"{", FULL])
    gathered = gather(*rows(scanned, "trace_id", "event_id"), scanned.plain, 64)
    assert gathered.text.tobytes() == b"a1 a1 e-1 e-1"
    assert gathered.longest == 3


names_in_json = [b'"user_id":', b'"session_id":', b'"request_id":', b'"trace_id":', b'"span_id":']
identifiers = st.none() | st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\'), max_size=30).map(str.encode)
identified = st.integers(1, 4).flatmap(lambda k: st.lists(st.tuples(st.integers(-1, 2), *[identifiers] * k), max_size=20))


@settings(max_examples=500)
@given(table=identified)
def test_objects_are_json(table: list[tuple[int, *tuple[bytes | None, ...]]]) -> None:
    """The object of an event holds its present fields in order, and an event without any has none."""
    k = len(table[0]) - 1 if table else 1
    text, start, end, _ = laid_out([(True, *values) for _, *values in table])
    people = [b"p1_a", b"p1_bcdefghijk", b"p1_c"]
    codes = np.array([code for code, *_ in table], np.int32)
    written = objects(text, start, end, strings(names_in_json[: k + 1]), strings(people), codes)
    keys = [name.decode()[1:-2] for name in names_in_json]
    for event, (code, *values) in enumerate(table):
        raw = written.text[written.bounds[event] : written.bounds[event + 1]].tobytes()
        fields = dict(zip(keys, [people[code] if code >= 0 else None, *values], strict=False))
        present = {key: value.decode() for key, value in fields.items() if value is not None}
        assert raw == (msgspec.json.encode(present) if present else b"")
