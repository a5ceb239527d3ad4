"""Events: what the daemon would refuse never leaves, and the field at fault is named; everything else is sent as it was meant."""

import json
import uuid
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_sentinel import InvalidEventError, TelemetryEvent, TelemetryFields, create_telemetry_event
from llm_sentinel.event import MAX_RECORD_BYTES, Record, record
from llm_sentinel.validation import _CHECKS

NAMES = {"service_name": "my-chatbot", "model_name": "gpt-4o", "latency_ms": 812.5}
AT = datetime(2026, 1, 15, 10, 30, 1, 250_000, tzinfo=UTC)


def test_an_event_gets_an_id_and_a_time() -> None:
    """Two events have two ids; the time is now, in UTC."""
    before = datetime.now(UTC)
    first, second = (create_telemetry_event("my-chatbot", "gpt-4o", 812.5) for _ in range(2))
    assert first["event_id"] != second["event_id"]
    assert isinstance(first["timestamp"], str)
    assert first["timestamp"].endswith("Z")
    assert before <= datetime.fromisoformat(first["timestamp"]) <= datetime.now(UTC)


def test_what_an_application_has_at_hand_becomes_json() -> None:
    """Datetimes, UUIDs, decimals, exceptions and HTTP statuses are written as the daemon reads them; None is left out."""
    user = uuid.uuid4()
    event = create_telemetry_event(
        " my-chatbot ",
        "gpt-4o",
        Decimal("812.5"),  # type: ignore[arg-type]  an application without types
        timestamp=AT.astimezone(timezone(timedelta(hours=5, minutes=30))),
        user_id=user,
        session_id=17,
        cost_usd=None,
        prompt_tokens=120.0,  # type: ignore[arg-type]  likewise
        error=TimeoutError("what was said stays here"),
        errors=["overloaded", ValueError("likewise")],
        status=HTTPStatus.GATEWAY_TIMEOUT,
        metadata={"plan": "pro", "retries": 2, "share": Decimal("0.5"), "flag": True, "none": None},  # type: ignore[dict-item]  likewise
    )
    value = json.loads(record(event).value)
    del value["event_id"]
    assert value == {
        "timestamp": "2026-01-15T10:30:01.250000Z",
        "service_name": "my-chatbot",
        "model_name": "gpt-4o",
        "latency_ms": 812.5,
        "user_id": str(user),
        "session_id": 17,
        "prompt_tokens": 120,
        "error": "TimeoutError",
        "errors": ["overloaded", "ValueError"],
        "status": 504,
        "metadata": {"plan": "pro", "retries": 2, "share": 0.5, "flag": True, "none": None},
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("service_name", ""),
        ("service_name", "   "),
        ("service_name", "x" * 129),
        ("service_name", b"bytes"),
        ("model_name", "a\nb"),
        ("model_name", None),
        ("tenant", "x" * 65),
        ("event_id", "x" * 129),
        ("event_id", ""),
        ("latency_ms", -1),
        ("latency_ms", float("nan")),
        ("latency_ms", float("inf")),
        ("latency_ms", 10**400),
        ("latency_ms", "12"),
        ("latency_ms", True),
        ("latency_ms", None),
        ("cost_usd", Decimal("NaN")),
        ("cost_usd", Decimal("sNaN")),
        ("prompt_tokens", 1.5),
        ("prompt_tokens", -1),
        ("timestamp", datetime(2026, 1, 15)),  # noqa: DTZ001  the point
        ("timestamp", datetime(1999, 12, 31, tzinfo=UTC)),
        ("timestamp", datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))),
        ("timestamp", "yesterday"),
        ("timestamp", 12),
        ("timestamp", float("nan")),
        ("timestamp", True),
        ("user_id", 1.5),
        ("user_id", True),
        ("success", "yes"),
        ("streaming", 1),
        ("error", 5),
        ("errors", "timeout"),
        ("errors", 5),
        ("errors", [5]),
        ("status", 1.5),
        ("prompt_text", b"bytes"),
        ("metadata", [1]),
        ("metadata", {"nested": {}}),
        ("metadata", {"list": []}),
        ("metadata", {"nan": float("nan")}),
        ("metadata", {1: "x"}),
        ("metadata", {f"k{i}": i for i in range(65)}),
        ("promt_tokens", 5),
        ("service", "chat"),
    ],
)
def test_a_wrong_field_is_named_and_its_value_is_not(field: str, value: object) -> None:
    """The error carries the field's name, and never the value, which may be somebody's."""
    with pytest.raises(InvalidEventError) as error:
        create_telemetry_event(**{**NAMES, field: value})  # type: ignore[arg-type]  wrong on purpose
    assert error.value.field == field
    assert str(error.value).startswith(f"{field}: ")
    if isinstance(value, str) and len(value) > 7:
        assert value not in str(error.value)


@pytest.mark.parametrize("field", ["service_name", "model_name", "latency_ms"])
def test_a_missing_field_is_named(field: str) -> None:
    """A dict made by hand is held to the same."""
    with pytest.raises(InvalidEventError, match=f"{field}: is missing"):
        record({name: value for name, value in NAMES.items() if name != field})


@pytest.mark.parametrize(
    ("given_time", "sent"),
    [
        ("2026-01-15T10:30:01.250Z", "2026-01-15T10:30:01.250000Z"),
        ("2026-01-15T12:30:01+02:00", "2026-01-15T10:30:01Z"),
        ("2026-01-15T10:30:01", "2026-01-15T10:30:01Z"),
        (1_768_473_001, 1_768_473_001),
        (1_768_473_001.25, 1_768_473_001.25),
        (1_768_473_001_250, 1_768_473_001_250),
        (1_768_473_001_250_000_001, 1_768_473_001_250_000_001),
    ],
)
def test_times_are_utc(given_time: str | float, sent: str | float) -> None:
    """RFC 3339 is turned to UTC, without a zone it is UTC; numbers go as they are."""
    assert create_telemetry_event("s", "m", 1.0, timestamp=given_time)["timestamp"] == sent


def test_all_fields_are_declared_once() -> None:
    """What the types name is what the checks know."""
    assert set(_CHECKS) == set(TelemetryEvent.__annotations__)
    assert set(TelemetryFields.__annotations__) == set(_CHECKS) - set(NAMES)


def test_an_event_is_still_checked_when_it_is_sent() -> None:
    """It is a dict, and may have been changed since."""
    event = create_telemetry_event("s", "m", 1.0)
    event["latency_ms"] = -1.0
    with pytest.raises(InvalidEventError, match="latency_ms"):
        record(event)


def test_long_texts_cost_the_text_and_not_the_event() -> None:
    """A record that would be too large keeps its numbers and the beginning of its texts."""
    event = create_telemetry_event("s", "m", 1.0, prompt_tokens=7, prompt_text="é" * 2_000_000, response_text="short")
    value = record(event).value
    assert len(value) <= MAX_RECORD_BYTES
    sent = json.loads(value)
    assert (sent["prompt_tokens"], sent["response_text"]) == (7, "short")
    assert sent["prompt_text"] == "é" * 100_000
    worst = record(create_telemetry_event("s", "m", 1.0, prompt_text="\x00" * 500_000, response_text="\x00" * 500_000))
    assert len(json.loads(worst.value)["prompt_text"]) == 10_000


def test_too_much_metadata_is_refused() -> None:
    """What cannot be cut without harm is not cut."""
    with pytest.raises(InvalidEventError, match="metadata"):
        record({**NAMES, "metadata": {f"k{i}": "x" * 20_000 for i in range(60)}})


def test_a_key_is_service_and_model() -> None:
    """The same for all events of a series, as the daemon has it, without the spaces that do not count."""
    assert record({**NAMES, "service_name": " chät "}).key == "chät:gpt-4o".encode()
    assert record({**NAMES, "tenant": "acme"}).key == b"my-chatbot:gpt-4o"


def test_half_a_surrogate_pair_costs_a_character() -> None:
    """It is no text, and no reason to lose the event."""
    sent = record({**NAMES, "service_name": "a\ud800b", "metadata": {"\udc00": "x\ud800"}})
    assert sent.key == b"a?b:gpt-4o"
    assert json.loads(sent.value)["metadata"] == {"?": "x?"}


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.binary(max_size=5) | st.datetimes() | st.uuids()
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), SCALARS, max_size=3) | st.decimals()


@given(st.dictionaries(st.sampled_from(sorted(_CHECKS)) | st.text(max_size=8), VALUES, max_size=8))
def test_whatever_is_given_is_refused_by_name_or_sent_as_json(fields: dict[str, Any]) -> None:
    """There is no third thing: no other exception, no record that is no JSON object of the known fields."""
    try:
        sent = record({**NAMES, **fields})
    except InvalidEventError as error:
        at_fault = error.field
    else:
        at_fault = None
        assert_whole(sent)
    assert at_fault is None or at_fault in {*fields, "metadata"}


def assert_whole(sent: Record) -> None:
    """It is one line of JSON with what an event must have."""
    value = json.loads(sent.value, parse_constant=pytest.fail)
    assert set(value) <= set(_CHECKS)
    assert {"event_id", "timestamp", *NAMES} <= set(value)
    assert b"\n" not in sent.value
