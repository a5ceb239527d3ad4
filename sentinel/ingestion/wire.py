"""The shape of one record on the wire: the flat and the nested dialect in one struct, so that one decode per record is enough.

Field names are the JSON names. Aliases are fields of their own; `decode` takes the first that is present. Fields that are not listed here
are skipped by the decoder.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import repeat
from typing import Annotated, Any, overload

import msgspec
import numpy as np

from sentinel.core.batch import Bool

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
    embedding: msgspec.Raw = msgspec.Raw()


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
    prompt_sketch: str | None = None
    response_sketch: str | None = None
    resource_spans: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="resourceSpans")


class Extra(msgspec.Struct, gc=False, omit_defaults=True):
    """Everything the store keeps of an event besides its columns and dimensions: links, further numbers, texts, lengths and hashes.

    It is written as one JSON object (`CleanBatch.extra`); the names are those of the flat dialect.
    """

    user_id: str | None = None
    session_id: str | None = None
    request_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
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


read_event = msgspec.json.Decoder(WireEvent).decode
"""One record. Raises what `unusable.UNREADABLE` lists."""


class Undecoded(Sequence[WireEvent]):
    """Records that are decoded when somebody asks for one: for the few events that are rejected or need a second look."""

    def __init__(self, records: Sequence[bytes]) -> None:
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, at: int) -> WireEvent: ...
    @overload
    def __getitem__(self, at: slice) -> "Undecoded": ...
    def __getitem__(self, at: int | slice) -> "WireEvent | Undecoded":
        """The event or events at a position."""
        return Undecoded(self.records[at]) if isinstance(at, slice) else read_event(self.records[at])

    def take(self, keep: Bool) -> "Undecoded":
        """The records where `keep` is true."""
        return Undecoded([self.records[at] for at in np.flatnonzero(keep).tolist()])


def transposed(wires: Sequence[WireEvent]) -> dict[str, tuple[Any, ...]]:
    """The fields of events as columns by name: one pass over all of them costs less than reading a few attributes of each."""
    columns = zip(*map(msgspec.structs.astuple, wires), strict=True) if wires else repeat(())
    return dict(zip(WireEvent.__struct_fields__, columns, strict=False))


def absent(column: Sequence[object]) -> bool:
    """Whether no event has the field."""
    return column.count(None) == len(column)


_encode = msgspec.json.Encoder().encode


def as_record(wire: WireEvent) -> bytes:
    """The event as a JSON record of the flat dialect, still raw: for one event of a record that holds others."""
    try:
        return _encode(wire)
    except RecursionError:
        # What could just be read may be nested too deep to be written; only these fields hold objects.
        return _encode(msgspec.structs.replace(wire, error=None, errors=None, status=None, metadata=None))
