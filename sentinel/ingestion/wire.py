"""The shape of one record on the wire: the flat and the nested dialect in one struct, so that one decode per record is enough.

Field names are the JSON names. Aliases are fields of their own; `decode` takes the first that is present. Fields that are not listed here
are skipped by the decoder.
"""

from datetime import datetime
from typing import Annotated, Any

import msgspec

Name = str | None
Number = Annotated[float, msgspec.Meta(ge=0)] | None
Count = Annotated[float, msgspec.Meta(ge=0, multiple_of=1)] | None
"""A whole number. A float, because producers write 120.0 too and because the columns are floats."""
Identifier = str | int | None

EARLIEST_NS = 946_684_800_000_000_000
LATEST_NS = 7_258_118_400_000_000_000
"""Event times lie from the year 2000 on and before 2200; anything else is no time of an LLM request."""


class Part(msgspec.Struct, gc=False):
    """The prompt or response object of the nested dialect."""

    text: str | None = None
    tokens: Count = None
    finish_reason: str | None = None


class WireEvent(msgspec.Struct, gc=False, omit_defaults=True):
    """One telemetry record as its producer wrote it, checked for types and signs and for nothing else.

    After `decode` it is canonical: names, numbers and texts stand in the fields of the flat dialect, whatever dialect they came in.
    The order is that of a typical record, rare fields last: the decoder looks for a name from the field after the last one it found.
    """

    event_id: Identifier = None
    timestamp: datetime | int | float | None = None
    service_name: Name = None
    model_name: Name = None
    model: Name = None
    latency_ms: Number = None
    prompt_tokens: Count = None
    completion_tokens: Count = None
    total_tokens: Count = None
    cost_usd: Number = None
    error: Any = None
    errors: list[Any] | None = None
    user_id: Identifier = None
    session_id: Identifier = None
    request_id: Identifier = None
    trace_id: Identifier = None
    span_id: Identifier = None
    parent_span_id: Identifier = None
    provider: str | None = None
    operation: str | None = None
    environment: str | None = None
    region: str | None = None
    finish_reason: str | None = None
    prompt_version: Identifier = None
    ttft_ms: Number = None
    time_per_output_token_ms: Number = None
    status: Any = None
    success: bool | None = None
    streaming: bool | None = None
    prompt_text: str | None = None
    response_text: str | None = None
    metadata: dict[str, Any] | None = None
    tenant: Name = None
    cached_tokens: Count = None
    cache_write_tokens: Count = None
    reasoning_tokens: Count = None
    prompt_length: int | None = None
    prompt_hash: str | None = None
    response_length: int | None = None
    response_hash: str | None = None
    prompt: Part | str | None = None
    response: Part | str | None = None
    service: Name = None
    application: Name = None
    duration_ms: Number = None
    inference_time: Number = None
    memory_used_bytes: Number = None
    image_count: Number = None
    audio_count: Number = None
    video_count: Number = None
    audio_seconds: Number = None
    video_seconds: Number = None
    schema_version: int | None = None
    resource_spans: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="resourceSpans")


class Extra(msgspec.Struct, gc=False, omit_defaults=True):
    """Everything the store keeps of an event besides its columns: sanitized strings, further numbers, lengths and hashes.

    It is written as one JSON object (`CleanBatch.extra`); the names are those of the flat dialect.
    """

    user_id: str | None = None
    session_id: str | None = None
    request_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    provider: str | None = None
    operation: str | None = None
    environment: str | None = None
    region: str | None = None
    finish_reason: str | None = None
    prompt_version: str | None = None
    error: str | None = None
    errors: list[str] | None = None
    cached_tokens: Number = None
    cache_write_tokens: Number = None
    reasoning_tokens: Number = None
    memory_used_bytes: Number = None
    image_count: Number = None
    audio_count: Number = None
    video_count: Number = None
    audio_seconds: Number = None
    video_seconds: Number = None
    prompt_text: str | None = None
    response_text: str | None = None
    prompt_length: int | None = None
    prompt_hash: str | None = None
    response_length: int | None = None
    response_hash: str | None = None
    metadata: dict[str, str | float | bool | None] | None = None


_encode = msgspec.json.Encoder().encode


def as_record(wire: WireEvent) -> bytes:
    """The event as a JSON record of the flat dialect, still raw: for one event of a record that holds others."""
    try:
        return _encode(wire)
    except RecursionError:
        # What could just be read may be nested too deep to be written; only these fields hold objects.
        return _encode(msgspec.structs.replace(wire, error=None, errors=None, status=None, metadata=None))
