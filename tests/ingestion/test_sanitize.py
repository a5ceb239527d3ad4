"""The step: nothing raw passes, whatever field it is planted in and whatever the configuration says."""

import json
import unicodedata
from itertools import product
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.config.schema import DeadLetters, Parsing, Privacy, Validation
from sentinel.core.batch import CleanBatch, EventBatch, PartitionId, SeriesKey
from sentinel.core.errors import RejectCode
from sentinel.core.flags import Flag
from sentinel.core.metrics import ERROR, METRICS
from sentinel.core.reject import Reject
from sentinel.ingestion.identifiers import UNNAMED, is_pseudonym, pseudonym
from sentinel.ingestion.sanitize import Sanitizer
from sentinel.ingestion.wire import WireEvent, transposed

KEY = b"a key of thirty-two bytes, about"
SOURCE = PartitionId("c", "llm.telemetry", 3)


def sanitizer(*, capture: str = "none", sanitize: bool = True, detect: bool = True, limit: int = 10_000, chars: int = 2_048) -> Sanitizer:
    """A sanitizer of this configuration."""
    parsing = Parsing(enable_sanitization=sanitize, max_text_length=limit)
    privacy = Privacy.model_validate({"capture": capture})
    return Sanitizer(parsing, Validation(enable_pii_detection=detect), privacy, DeadLetters(max_record_chars=chars), KEY)


def batch_of(
    *wire: WireEvent, names: tuple[SeriesKey, ...] = (SeriesKey("default", "chat", "m"),), series: list[int] | None = None
) -> EventBatch:
    """These events as a batch; they all belong to the first series unless told."""
    n = len(wire)
    return EventBatch(
        source=SOURCE,
        received_ns=1,
        index=np.arange(n, dtype=np.int32),
        offsets=np.arange(n, dtype=np.int64),
        subs=np.zeros(n, np.int32),
        ts_ns=np.zeros(n, np.int64),
        log_ns=np.zeros(n, np.int64),
        names=names,
        series=np.array(series or [0] * n, dtype=np.int32),
        metrics=np.zeros((n, len(METRICS))),
        flags=np.zeros(n, np.int32),
        dialects=np.zeros(n, np.int8),
        wire=wire,
        fields=transposed(wire),
    )


def kept(clean: CleanBatch, i: int = 0) -> dict[str, Any]:
    """The dimensions and the extra of one event."""
    raw = clean.extra[i]
    given = {name: value for name, value in clean.dimension_sets[clean.dimensions[i]]._asdict().items() if value is not None}
    return given | ({} if raw is None else json.loads(raw))


def everything(clean: CleanBatch) -> str:
    """All that a clean batch tells, as one text."""
    texts = [
        *clean.names,
        *clean.dimension_sets,
        *clean.event_ids,
        *clean.trace_ids,
        *(extra.decode() for extra in clean.extra if extra),
        clean.findings,
    ]
    return json.dumps(texts, ensure_ascii=False)


# Put together here, so that no scanner takes this file for a leak.
SECRETS = {
    "EMAIL": "jane.doe@example.org",
    "PHONE": "+44 20 7946 0958",
    "CREDIT_CARD": "4111 1111 1111 1111",
    "IBAN": "GB82WEST12345698765432",
    "US_SSN": "536-22-1234",
    "IP_ADDRESS": "203.0.113.77",
    "API_KEY": "ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8",
    "JWT": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxIn0.c2lnbmF0dXJlLXRoYXQtaXMtbG9uZw",
    "PRIVATE_KEY": "-----BEGIN " + "PRIVATE KEY-----\nMIIEvQIBADANBgkq\n-----END PRIVATE KEY-----",
    "PASSWORD": "password=hunter22",
    "URL_CREDENTIALS": "postgres://app:hunter22@db",
    "AUTH_HEADER": "Authorization: Bearer a1B2c3D4e5f6",
    "SECRET": "api_key: zq9-22",
}
NEEDLES = {
    "PRIVATE_KEY": "MIIEvQIBADANBgkq",
    "PASSWORD": "hunter22",
    "URL_CREDENTIALS": "hunter22",
    "AUTH_HEADER": "a1B2c3D4e5f6",
    "SECRET": "zq9-22",
}
NUMBERS = {"PHONE", "CREDIT_CARD", "US_SSN", "IP_ADDRESS"}
IDENTIFIERS = (
    "event_id", "session_id", "request_id", "trace_id", "span_id", "parent_span_id", "provider", "operation", "environment", "region",
    "finish_reason", "prompt_version", "prompt_hash", "response_hash",
)  # fmt: skip
CONFIGURATIONS = [
    {"capture": capture, "sanitize": sanitize, "detect": detect}
    for capture, sanitize, detect in product(("none", "redacted"), (True, False), (True, False))
]


def planted(secret: str) -> list[WireEvent]:
    """Events with a secret in each place that takes any text."""
    return [
        WireEvent(user_id=secret),
        WireEvent(prompt_text=f"say {secret} and go"),
        WireEvent(response_text=secret),
        WireEvent(error=f"failed for {secret}"),
        WireEvent(error={"type": "x", "message": secret}),
        WireEvent(error={"type": secret, "code": secret}),
        WireEvent(error=[secret]),
        WireEvent(errors=["a", secret, {"message": secret}]),
        WireEvent(status=secret),
        WireEvent(metadata={"note": secret, secret: 1, "user_email": secret, "password": secret, "prompt": secret, "deep": {"a": secret}}),
    ]


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
def test_a_planted_secret_never_passes(kind: str, configuration: dict[str, Any]) -> None:
    """No byte of a clean batch holds a secret, in whatever field it was planted."""
    secret, needle = SECRETS[kind], NEEDLES.get(kind, SECRETS[kind])
    events = planted(secret)
    if kind not in NUMBERS:
        events += [WireEvent(**{name: f"{secret}"}) for name in IDENTIFIERS]
    names = (SeriesKey("default", "chat", "m"),) if kind in NUMBERS else (SeriesKey(secret, secret, secret),)
    batch = batch_of(*events, names=names)
    batch.metrics[:, ERROR] = 1.0
    told = everything(sanitizer(**configuration).batch(batch))
    assert needle not in told
    assert needle not in json.loads(json.dumps(told))


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("shape", range(9))
def test_a_planted_secret_never_reaches_a_dead_letter(kind: str, shape: int) -> None:
    """Valid, malformed, escaped, cut off or binary: a dead letter holds no secret."""
    secret, needle = SECRETS[kind], NEEDLES.get(kind, SECRETS[kind])
    quoted = json.dumps(secret)
    record = [
        f'{{"note": {quoted}}}',
        f'{{"note": {quoted}, "latency_ms": "x"',
        f'{{"prompt_text": {quoted}',
        f"{{'user_id': {quoted}, broken",
        json.dumps({"inner": json.dumps({"note": json.dumps(secret)})}),
        '{"note": "' + "".join(f"\\u{ord(char):04x}" for char in secret) + '"}',
        f'["line\\n{quoted[1:-1]}"',
        f"\x01\x02{secret}",
        '{"a": "' + "x " * 990 + quoted[1:],
    ][shape].encode()
    letter = sanitizer().reject(SOURCE, 5, Reject(0, 7, 1, 9, RejectCode.MALFORMED_JSON, "not JSON", record))
    assert needle not in letter.record
    assert len(letter.record) <= 2_048
    assert letter.record.isprintable()
    assert (letter.offset, letter.sub, letter.index, letter.record_bytes) == (7, 1, 0, len(record))


SENSITIVE = [
    '{"user_id": "alice", "latency_ms": }',
    '{"user": "al\\"ice", "x": 1',
    "{'session_id': 'alice', ",
    '{"messages": [{"role": "user", "parts": ["alice ] says", {"a": "alice"}]}], "x": 1}',
    '{"gen_ai.prompt": "alice", ',
    '{"key": "user.id", "value": {"stringValue": "alice"}}',
    '{"enduser.id": "alice"',
    '{"prompt": {"text": "alice"',
    '{"body": "{\\"user_id\\": \\"alice\\"}"',
    '{"input":["alice","alice',
    '{"text": "alice',
    "user_id=alice&x=1",
    '{"response_text" : "alice"}',
]


@pytest.mark.parametrize("record", SENSITIVE)
def test_texts_and_people_leave_malformed_records(record: str) -> None:
    """The value of a key that holds a text or a person is gone, however broken the record is."""
    letter = sanitizer().reject(SOURCE, 0, Reject(0, 0, 0, 0, RejectCode.MALFORMED_JSON, "", record.encode()))
    assert "alice" not in letter.record
    assert "[REDACTED]" in letter.record


@settings(max_examples=300)
@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_become_one_printable_line(raw: bytes) -> None:
    """A dead letter is one printable line within its limit, for every record."""
    letter = HOSTILE.reject(SOURCE, 0, Reject(0, 0, 0, 0, RejectCode.BAD_UTF8, "", raw))
    assert letter.record == "" or letter.record.isprintable()
    assert len(letter.record) <= 100


HOSTILE = sanitizer(capture="redacted", chars=100)


def test_a_tombstone_and_a_limit_of_zero_keep_nothing() -> None:
    """There is no record to show without bytes or without room."""
    assert sanitizer().reject(SOURCE, 0, Reject(0, 0, 0, 0, RejectCode.TOMBSTONE, "", None)).record == ""
    assert sanitizer(chars=0).reject(SOURCE, 0, Reject(0, 0, 0, 0, RejectCode.TOMBSTONE, "", b"abc")).record == ""


def test_a_plain_event_passes_as_it_is() -> None:
    """Identifiers without findings are kept as they are, and nothing makes no object."""
    ids = {"session_id": "s-4155552671", "request_id": "4111111111111111", "span_id": "be68539007547034", "provider": "openai"}
    clean = sanitizer().batch(batch_of(WireEvent(event_id="e1", trace_id="t1", **ids), WireEvent(event_id="e2"), WireEvent(session_id=7)))
    assert kept(clean) == ids | {"trace_id": "t1"}
    assert clean.extra[1] is None
    assert kept(clean, 2) == {"session_id": "7"}
    assert list(clean.event_ids) == ["e1", "e2", None]
    assert list(clean.trace_ids) == ["t1", None, None]
    assert clean.findings == {}
    assert clean.flags.tolist() == [0, 0, 0]


def test_changed_identifiers_stay_apart_and_short() -> None:
    """Two ids that redaction or the cut would make equal stay two, within 128 characters, and are flagged."""
    events = [WireEvent(event_id=value) for value in ("a@b.org", "c@d.org", "x" * 200, "x" * 201, "y\x00", "y")]
    clean = sanitizer().batch(batch_of(*events))
    assert len(set(clean.event_ids)) == 6
    assert all(len(event_id or "") <= 128 for event_id in clean.event_ids)
    assert clean.event_ids[0].startswith("[EMAIL]~")
    assert clean.flags.tolist() == [int(Flag.CLEANED)] * 5 + [0]
    assert clean.findings == {"EMAIL": 2}


def test_clean_identifiers_pass_a_second_time() -> None:
    """What HTTP input puts on the topic is the same after it was read from there."""
    once = sanitizer(capture="redacted")
    event = WireEvent(
        event_id="a@b.org",
        user_id="alice",
        session_id="z" * 300,
        prompt_text="mail a@b.org",
        error={"type": "x", "message": "a@b.org"},
        metadata={"user": "bob", "password": "x", "k": "a@b.org", "n": 4111111111111111},
    )
    first = once.batch(batch_of(event))
    again = msgspec.convert({"event_id": first.event_ids[0]} | kept(first), WireEvent)
    second = once.batch(batch_of(again))
    assert list(second.event_ids) == list(first.event_ids)
    assert kept(second) == kept(first)
    assert second.findings == {}


def test_users_become_pseudonyms_of_the_key() -> None:
    """The same user and key give the same name; another key another; a pseudonym passes."""
    name = pseudonym(KEY, "alice")
    assert is_pseudonym(name)
    assert pseudonym(KEY, "alice") == name != pseudonym(b"other", "alice")
    assert pseudonym(KEY, name) == name
    assert pseudonym(KEY, name.upper()) != name
    clean = sanitizer().batch(batch_of(WireEvent(user_id="alice"), WireEvent(user_id=42), WireEvent(user_id="")))
    assert [kept(clean, i) for i in range(3)] == [{"user_id": name}, {"user_id": pseudonym(KEY, "42")}, {}]


def test_without_capture_only_length_and_keyed_hash_of_a_text_remain() -> None:
    """The text is not kept; length and hash of the raw text are, and findings are counted."""
    raw = "wörld a@b.org"
    clean = sanitizer().batch(batch_of(WireEvent(prompt_text=raw, response_text="")))
    extra = kept(clean)
    assert extra["prompt_length"] == 13
    assert len(extra["prompt_hash"]) == 32
    assert extra["response_length"] == 0
    assert "prompt_text" not in extra
    assert clean.findings == {"EMAIL": 1}
    other = Sanitizer(Parsing(), Validation(), Privacy(), DeadLetters(), b"another key").batch(batch_of(WireEvent(prompt_text=raw)))
    assert kept(other)["prompt_hash"] != extra["prompt_hash"]


def test_findings_are_not_counted_when_detection_is_off() -> None:
    """Texts that are not kept are not searched either."""
    assert sanitizer(detect=False).batch(batch_of(WireEvent(prompt_text="a@b.org"))).findings == {}


def test_length_and_hash_given_by_the_producer_are_kept() -> None:
    """A producer that sends no text may tell its length and hash; absurd lengths are dropped."""
    clean = sanitizer().batch(batch_of(WireEvent(prompt_length=12, prompt_hash="ab" * 16, response_length=-4)))
    assert kept(clean) == {"prompt_length": 12, "prompt_hash": "ab" * 16}


def test_captured_texts_are_redacted() -> None:
    """With capture the redacted text is kept beside length and hash."""
    clean = sanitizer(capture="redacted").batch(batch_of(WireEvent(prompt_text="mail a@b.org\n\x07now")))
    assert kept(clean)["prompt_text"] == "mail [EMAIL]\nnow"
    assert clean.flags.tolist() == [int(Flag.CLEANED)]


@pytest.mark.parametrize("secret", [secret for secret in SECRETS.values() if " " not in secret or "+" in secret])
@pytest.mark.parametrize("at", range(60, 101, 3))
def test_a_cut_never_shows_half_a_secret(secret: str, at: int) -> None:
    """A secret across the cut is gone as a whole, in texts and in dead letters."""
    text = "a b " * (at // 4) + " " + secret + " and more"
    clean = sanitizer(capture="redacted", limit=100).batch(batch_of(WireEvent(prompt_text=text + " x" * 600)))
    assert clean.flags[0] & Flag.TEXT_TRUNCATED
    shown = kept(clean)["prompt_text"]
    left = shown.replace("a b ", "").strip()
    assert not any(left.endswith(secret[:k]) for k in range(9, len(secret) + 1) if "=" not in secret[:k] and "://" not in secret[:k])


def test_a_token_longer_than_the_look_ahead_goes_whole() -> None:
    """A key of thousands of characters that begins before the cut leaves nothing."""
    text = "words " * 10 + "eyJhbGciOiJIUzI1NiJ9." + "QUJD" * 2_000
    shown = kept(sanitizer(capture="redacted", limit=100).batch(batch_of(WireEvent(prompt_text=text))))["prompt_text"]
    assert shown.strip() == ("words " * 10).strip()


def test_without_sanitizing_errors_keep_only_a_short_type() -> None:
    """No text is kept at all; a short type is none."""
    plain = sanitizer(sanitize=False)
    events = [WireEvent(error=e) for e in ("timeout", "it failed badly", {"type": "rate_limit", "message": "no"}, 429, "k" * 65, True)]
    clean = plain.batch(batch_of(*events))
    assert [kept(clean, i).get("error") for i in range(6)] == ["timeout", None, "rate_limit", "429", None, None]


def test_errors_are_any_json_value() -> None:
    """Text, object, number, list: short, redacted text; true and false say nothing more than the metric."""
    errors = ["bad a@b.org", {"code": 7, "msg": "no"}, 503, True, ["first", "second"], {"x": {}}, "", "e " * 2_000]
    clean = sanitizer().batch(batch_of(*(WireEvent(error=error) for error in errors), WireEvent(errors=["a", None, {"type": "t"}])))
    told = [kept(clean, i).get("error") for i in range(8)]
    assert told[:7] == ["bad [EMAIL]", "7: no", "503", None, "first", None, None]
    assert len(told[7]) <= 1_000
    assert kept(clean, 8) == {"errors": ["a", "t"]}


def test_the_status_of_a_failed_event_is_its_error() -> None:
    """A status is kept as the error's type when the event failed and says nothing else."""
    batch = batch_of(WireEvent(status="timeout"), WireEvent(status="ok"))
    batch.metrics[0, ERROR] = 1.0
    clean = sanitizer().batch(batch)
    assert (kept(clean, 0), kept(clean, 1)) == ({"error": "timeout"}, {})


def test_metadata_is_scalars_within_limits() -> None:
    """Objects, lists, non-finite and huge numbers, long keys and values and the 65th key are left out or cut, and flagged."""
    many: dict[str, Any] = {str(i): i for i in range(70)}
    wild = {"a": 1, "b": None, "c": True, "d": 1.5, "list": [1], "object": {}, "nan": float("nan"), "big": 1 << 70, "v": "w " * 900}
    clean = sanitizer().batch(batch_of(WireEvent(metadata=wild), WireEvent(metadata=many), WireEvent(metadata={"k": "v"})))
    first = kept(clean)["metadata"]
    assert {key: first[key] for key in "abcd"} == {"a": 1, "b": None, "c": True, "d": 1.5}
    assert set(first) == set("abcdv")
    assert len(first["v"]) <= 1_000
    assert len(kept(clean, 1)["metadata"]) == 64
    assert [bool(flags & Flag.METADATA_TRIMMED) for flags in clean.flags.tolist()] == [True, True, False]


def test_metadata_keys_tell_what_their_values_are() -> None:
    """People become pseudonyms, secrets and prompts go as a whole, counts and ids stay."""
    metadata = {
        "userId": "alice", "user.email": "x", "enduser.id": 7, "api-key": "plain", "access_token": "abc", "prompt": "raw words",
        "prompt_tokens": 5, "max_tokens": "100", "order": "550e8400-e29b-41d4-a716-446655440000", "card": 4111111111111111,
        "finish": "[REDACTED]",
    }  # fmt: skip
    told = kept(sanitizer().batch(batch_of(WireEvent(metadata=metadata))))["metadata"]
    assert all(is_pseudonym(told[key]) for key in ("userId", "user.email", "enduser.id"))
    assert told["api-key"] == told["access_token"] == told["prompt"] == "[REDACTED]"
    assert (told["prompt_tokens"], told["max_tokens"], told["order"], told["card"]) == (5, "100", metadata["order"], "[CREDIT_CARD]")
    capturing = kept(sanitizer(capture="redacted").batch(batch_of(WireEvent(metadata={"prompt": "to a@b.org"}))))
    assert capturing["metadata"] == {"prompt": "to [EMAIL]"}


def test_names_that_become_equal_are_one_series() -> None:
    """Series are remapped, in order of first appearance; every event of a changed name counts and is flagged."""
    names = (SeriesKey("t", "a@b.org", "m"), SeriesKey("t", "chat", "m"), SeriesKey("t", "c@d.org", "m"), SeriesKey("t", "\x00", "n" * 300))
    clean = sanitizer().batch(batch_of(*[WireEvent()] * 5, names=names, series=[0, 1, 2, 3, 2]))
    assert clean.names == (SeriesKey("t", "[EMAIL]", "m"), SeriesKey("t", "chat", "m"), SeriesKey("t", UNNAMED, "n" * 128))
    assert clean.series.tolist() == [0, 1, 0, 2, 0]
    assert clean.findings == {"EMAIL": 3}
    assert [bool(flags & Flag.CLEANED) for flags in clean.flags.tolist()] == [True, False, True, True, True]


def test_further_numbers_are_kept() -> None:
    """Counts and sizes that are no columns stay."""
    event = WireEvent(cached_tokens=3, memory_used_bytes=9.5, video_seconds=1.5)
    assert kept(sanitizer().batch(batch_of(event))) == {"cached_tokens": 3, "memory_used_bytes": 9.5, "video_seconds": 1.5}


def test_the_input_is_left_as_it_was() -> None:
    """Flags of the raw batch do not change."""
    batch = batch_of(WireEvent(event_id="a@b.org"))
    sanitizer().batch(batch)
    assert batch.flags.tolist() == [0]


@settings(max_examples=150)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.text(max_size=150) | st.integers() for name in ("user_id", "session_id", "trace_id", "event_id", "prompt_version")
        }
        | {
            "error": st.recursive(
                st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=2), max_leaves=4
            )
        }
        | {
            "metadata": st.dictionaries(
                st.text(max_size=140), st.none() | st.booleans() | st.integers() | st.floats() | st.text(), max_size=5
            )
        }
        | {"prompt_text": st.text(max_size=300)},
    )
)
def test_any_event_gives_valid_json(fields: dict[str, Any]) -> None:
    """Whatever a decoder lets through comes out as JSON without control characters in its identifiers."""
    clean = CAPTURING.batch(batch_of(WireEvent(**fields)))
    extra = kept(clean)
    texts = [str(extra.get(name, "")) for name in ("user_id", "session_id", "trace_id", "prompt_version")]
    assert not any(unicodedata.category(char) in {"Cc", "Zl", "Zp"} for text in [*texts, clean.event_ids[0] or ""] for char in text)


CAPTURING = sanitizer(capture="redacted", limit=100)


def test_an_empty_batch_and_an_empty_key() -> None:
    """No events are no trouble; no key is a configuration error that names the cure."""
    assert len(sanitizer().batch(batch_of())) == 0
    with pytest.raises(ValueError, match="pseudonym_key"):
        Sanitizer(Parsing(), Validation(), Privacy(), DeadLetters(), b"")


@pytest.mark.parametrize("pattern", ["^cust-[0-9]+", "cust-[0-9]+$", r"\Acust", r"cust-[0-9]+\z", "a|^cust"])
def test_anchored_patterns_are_refused(pattern: str) -> None:
    """Identifiers are searched many at a time, where an anchor would find only the first: it is refused, with the cure."""
    with pytest.raises(ValueError, match=r"\\b where a word"):
        Sanitizer(Parsing(sanitize_patterns=[pattern]), Validation(), Privacy(), DeadLetters(), KEY)


@pytest.mark.parametrize("pattern", [r"\bcust-[0-9]+\b", r"cust\$[0-9]+", "[^a-z]cust", r"cust[\]^]"])
def test_what_only_looks_like_an_anchor_is_taken(pattern: str) -> None:
    """Escaped, or in a set of characters, it is one character among others."""
    Sanitizer(Parsing(sanitize_patterns=[pattern]), Validation(), Privacy(), DeadLetters(), KEY)


def test_long_identifiers_are_not_remembered() -> None:
    """Names as long as a record would fill the memory: they are cleaned each time."""
    made = sanitizer()
    clean = made.batch(batch_of(*(WireEvent(user_id=f"{i}" * 10_000, region=f"{i}" * 10_000) for i in range(5)), WireEvent(user_id="u")))
    assert len({kept(clean, i)["user_id"] for i in range(6)}) == 6
    assert set(made._identifiers.pseudonyms) == {"u"}
    assert all(len(str(value)) <= 128 for values in made._identifiers._sets for value in values)
