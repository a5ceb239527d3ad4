"""The flat and nested dialects to one form: names, numbers and texts in the fields of the canonical flat dialect."""

from collections.abc import Mapping, Sequence
from operator import attrgetter

from sentinel.core.batch import Dialect, Int8
from sentinel.core.errors import RejectCode
from sentinel.ingestion.sketch import sketch_of_json
from sentinel.ingestion.unusable import Reason
from sentinel.ingestion.wire import Part, WireEvent, absent

_telling = attrgetter(
    *("service_name", "service", "application", "model_name", "model", "latency_ms", "duration_ms", "inference_time"),
    *("prompt_tokens", "completion_tokens", "total_tokens", "cost_usd", "prompt_text", "response_text", "prompt", "response"),
)
"""Fields that only records about LLM requests have; a time, a status and metadata are everywhere."""


def is_canonical(fields: Mapping[str, tuple[object, ...]]) -> bool:
    """Whether `canonicalize` would change nothing and refuse nothing: every event of these columns is flat and complete."""
    return (
        absent(fields["prompt"])
        and absent(fields["response"])
        and None not in fields["service_name"]
        and None not in fields["model_name"]
        and None not in fields["latency_ms"]
    )


def canonicalize(wires: Sequence[WireEvent], dialects: Int8) -> dict[int, Reason]:
    """Spell every record out in the flat dialect's own fields, in place.

    Args:
        wires: decoded records.
        dialects: int8[n]; set to NESTED, in place, for the records that are.

    Returns:
        By position, why a record is no event.
    """
    refused = {}
    for position, wire in enumerate(wires):
        nested = wire.prompt is not None or wire.response is not None
        if nested or wire.service_name is None or wire.model_name is None or wire.latency_ms is None:
            reason = _missing_after_aliases(wire)
            if nested:
                if isinstance(wire.prompt, Part) or isinstance(wire.response, Part):
                    dialects[position] = Dialect.NESTED
                _unfold(wire)
            if reason is not None:
                refused[position] = reason
    return refused


def _missing_after_aliases(wire: WireEvent) -> Reason | None:
    """Take the first alias that is present. What is still missing is the reason why this is no event."""
    known = any(value is not None for value in _telling(wire))
    if wire.service_name is None:
        wire.service_name = wire.application if wire.service is None else wire.service
    if wire.model_name is None:
        wire.model_name = wire.model
    if wire.latency_ms is None:
        wire.latency_ms = wire.duration_ms
    if wire.latency_ms is None and wire.inference_time is not None:
        wire.latency_ms = wire.inference_time * 1e3
    if not known:
        return Reason(RejectCode.UNKNOWN_DIALECT, "an object with none of the fields of an LLM request")
    for name, value in (("service_name", wire.service_name), ("model_name", wire.model_name), ("latency_ms", wire.latency_ms)):
        if value is None:
            return Reason(RejectCode.MISSING_FIELD, f"{name}: missing")
    return None


def _unfold(wire: WireEvent) -> None:
    """Move texts, tokens, embeddings and the finish reason out of `prompt` and `response`; what stands in the flat fields wins."""
    prompt = Part(wire.prompt) if isinstance(wire.prompt, str) else wire.prompt or Part()
    response = Part(wire.response) if isinstance(wire.response, str) else wire.response or Part()
    wire.prompt = wire.response = None
    wire.prompt_text = prompt.text if wire.prompt_text is None else wire.prompt_text
    wire.prompt_tokens = prompt.tokens if wire.prompt_tokens is None else wire.prompt_tokens
    wire.response_text = response.text if wire.response_text is None else wire.response_text
    wire.completion_tokens = response.tokens if wire.completion_tokens is None else wire.completion_tokens
    wire.finish_reason = response.finish_reason if wire.finish_reason is None else wire.finish_reason
    wire.prompt_sketch = sketch_of_json(bytes(prompt.embedding)) if wire.prompt_sketch is None else wire.prompt_sketch
    wire.response_sketch = sketch_of_json(bytes(response.embedding)) if wire.response_sketch is None else wire.response_sketch
