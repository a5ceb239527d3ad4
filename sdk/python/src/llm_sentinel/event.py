"""One telemetry event: what a producer tells about one LLM request, and how it is written on the wire."""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Required, TypedDict, Unpack, cast

from llm_sentinel.validation import InvalidEventError, checked

MAX_RECORD_BYTES: Final = 950_000
"""A record that a Kafka broker and the daemon take with their default limits."""

TEXTS: Final = ("prompt_text", "response_text")
CUTS_CHARS: Final = (100_000, 10_000)
"""Texts are cut to so many characters, the first that makes the record fit: long texts are no reason to lose the numbers."""

Identifier = str | int | uuid.UUID


class TelemetryFields(TypedDict, total=False):
    """The fields that may be left out. None says the same as leaving it out. Missing is not zero."""

    event_id: Identifier | None
    """Recognises a repeat: of two events with one id the daemon counts one. Up to 128 characters; a new random one when left out."""
    timestamp: datetime | str | float | None
    """When the request ended: a datetime with a time zone, RFC 3339, or s, ms, us or ns since the epoch. Now when left out."""
    tenant: str | None
    """Whose traffic it is, up to 64 characters; `default` when left out."""
    prompt_tokens: int | None
    """Tokens sent, all of them: cached ones too."""
    completion_tokens: int | None
    """Tokens received, all of them: reasoning ones too."""
    total_tokens: int | None
    """Only where the parts are not known: the daemon adds them up."""
    cached_tokens: int | None
    """Of the prompt: read from the provider's cache."""
    cache_write_tokens: int | None
    """Of the prompt: written to the provider's cache."""
    reasoning_tokens: int | None
    """Of the completion: not shown to the user."""
    cost_usd: float | None
    """Price of the request in US dollars."""
    ttft_ms: float | None
    """Time to the first token of a streamed answer, in milliseconds."""
    time_per_output_token_ms: float | None
    """Mean time for each further token of a streamed answer, in milliseconds."""
    streaming: bool | None
    """Whether the answer was streamed."""
    error: bool | str | BaseException | None
    """Why the request failed, as a type such as `timeout`; of an exception the name of its class is sent, not its message."""
    errors: Sequence[str | BaseException] | None
    """Several reasons."""
    status: str | int | None
    """`ok`, `error`, or an HTTP status; 400 and more mean that it failed."""
    success: bool | None
    """False when the request failed."""
    user_id: Identifier | None
    """Who asked. The daemon stores a pseudonym."""
    session_id: Identifier | None
    """The conversation."""
    request_id: Identifier | None
    """The request, as the provider or the application calls it."""
    trace_id: Identifier | None
    """Of the distributed trace."""
    span_id: Identifier | None
    """Of the distributed trace."""
    parent_span_id: Identifier | None
    """Of the distributed trace."""
    provider: str | None
    """Who serves the model: `openai`, `anthropic`, ..."""
    operation: str | None
    """`chat`, `text_completion`, `embeddings`, ..."""
    environment: str | None
    """`production`, `staging`, ..."""
    region: str | None
    """Where it ran."""
    finish_reason: str | None
    """`stop`, `length`, `tool_calls`, ..."""
    prompt_version: Identifier | None
    """Which version of the prompt template."""
    prompt_text: str | None
    """The prompt. The daemon redacts it and, unless told otherwise, keeps only its length and a keyed hash."""
    response_text: str | None
    """The answer; likewise."""
    prompt_length: int | None
    """Length of a prompt that is not sent, in characters."""
    prompt_hash: str | None
    """Hash of a prompt that is not sent."""
    response_length: int | None
    """Length of an answer that is not sent, in characters."""
    response_hash: str | None
    """Hash of an answer that is not sent."""
    memory_used_bytes: float | None
    """Memory the request took."""
    image_count: float | None
    """Images in the request."""
    audio_count: float | None
    """Audio clips in the request."""
    video_count: float | None
    """Videos in the request."""
    audio_seconds: float | None
    """Length of the audio, in seconds."""
    video_seconds: float | None
    """Length of the videos, in seconds."""
    metadata: Mapping[str, str | float | bool | None] | None
    """Whatever else is worth keeping: up to 64 scalars."""
    schema_version: int | None
    """1."""


class TelemetryEvent(TelemetryFields, total=False):
    """One LLM request: a plain dict in the daemon's flat dialect."""

    service_name: Required[str]
    """The application that asked, 1 to 128 characters."""
    model_name: Required[str]
    """The model that answered, 1 to 128 characters."""
    latency_ms: Required[float]
    """Time from the request to the whole answer, in milliseconds."""


class Record(NamedTuple):
    """An event as it is sent.

    Attributes:
        event_id: its id.
        key: decides the partition; the same for all events of a service and model.
        value: JSON in UTF-8.
    """

    event_id: str
    key: bytes
    value: bytes


def create_telemetry_event(service_name: str, model_name: str, latency_ms: float, **fields: Unpack[TelemetryFields]) -> TelemetryEvent:
    """An event that the daemon will take, with an id and a time of its own where none is given.

    >>> event = create_telemetry_event("my-chatbot", "gpt-4o", latency_ms=812.5, prompt_tokens=240, event_id="e1", timestamp=1_768_473_030)
    >>> event["event_id"], event["timestamp"], event["latency_ms"]
    ('e1', 1768473030, 812.5)

    Args:
        service_name: the application that asked, 1 to 128 characters.
        model_name: the model that answered, 1 to 128 characters.
        latency_ms: time from the request to the whole answer, in milliseconds.
        fields: see `TelemetryFields`.

    Returns:
        A dict that may be changed before it is sent.

    Raises:
        InvalidEventError: a field cannot be what it is meant to be. The message begins with the field's name.
    """
    return cast(
        "TelemetryEvent", checked(completed({"service_name": service_name, "model_name": model_name, "latency_ms": latency_ms, **fields}))
    )


def completed(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event with an id and a time, unchecked."""
    head = {"event_id": event.get("event_id"), "timestamp": event.get("timestamp")}
    if head["event_id"] is None:
        head["event_id"] = uuid.uuid4().hex
    if head["timestamp"] is None:
        head["timestamp"] = datetime.now(UTC)
    return {**head, **{field: value for field, value in event.items() if field not in head}}


def record(event: Mapping[str, Any]) -> Record:
    """Check an event and write it. Raises InvalidEventError."""
    clean = checked(completed(event))
    value = _written(clean)
    for chars in CUTS_CHARS:
        if len(value) <= MAX_RECORD_BYTES:
            break
        value = _written(clean | {text: clean[text][:chars] for text in TEXTS if text in clean})
    if len(value) > MAX_RECORD_BYTES:
        raise InvalidEventError("metadata", f"the event takes {len(value)} bytes, more than {MAX_RECORD_BYTES}: send less of it")
    key = f"{clean['service_name']}:{clean['model_name']}".encode("utf-8", "replace")
    return Record(str(clean["event_id"]), key, value)


def _written(event: Mapping[str, Any]) -> bytes:
    """JSON. Half of a surrogate pair, which is no text, becomes a question mark."""
    return _encode(event).encode("utf-8", "replace")


_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")).encode
