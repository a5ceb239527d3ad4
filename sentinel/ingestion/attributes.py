"""OpenTelemetry attributes to the fields of an event: one table for all conventions in use.

Sources: OpenTelemetry semantic conventions for generative AI (from 1.27 on), OpenInference, OpenLLMetry (Traceloop), OpenLIT.
"""

from collections.abc import Mapping
from itertools import chain
from typing import Any, Final, NamedTuple

Value = str | bool | int | float | list[Any] | dict[str, Any] | None

MAX_METADATA: Final = 64
"""Unknown attributes kept of one span."""

TEXTS: Final[dict[str, tuple[str, ...]]] = {
    "service_name": ("service.name",),
    "provider": ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system"),
    "model_name": ("gen_ai.response.model", "gen_ai.request.model", "llm.model_name", "llm.model", "embedding.model_name"),
    "error": ("error.type",),
    "session_id": ("gen_ai.conversation.id", "session.id", "traceloop.association.properties.session_id"),
    "user_id": ("user.id", "gen_ai.user", "gen_ai.request.user", "enduser.id", "traceloop.association.properties.user_id"),
    "request_id": ("gen_ai.response.id",),
    "environment": ("deployment.environment.name", "deployment.environment"),
    "region": ("cloud.region",),
    "finish_reason": ("gen_ai.response.finish_reasons", "llm.finish_reason"),
    "prompt_version": ("gen_ai.prompt.version", "llm.prompt_template.version"),
    "prompt_text": ("gen_ai.input.messages", "gen_ai.prompt", "llm.input_messages", "input.value", "llm.prompt"),
    "response_text": ("gen_ai.output.messages", "gen_ai.completion", "llm.output_messages", "output.value", "llm.response"),
}
"""Our field: the attributes it is read from; the first present wins."""

COUNTS: Final[dict[str, tuple[str, ...]]] = {
    "prompt_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt", "llm.prompt.tokens"),
    "completion_tokens": (
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.completion_tokens",
        "llm.token_count.completion",
        "llm.response.tokens",
    ),
    "total_tokens": ("gen_ai.usage.total_tokens", "llm.usage.total_tokens", "llm.token_count.total"),
    "cached_tokens": (
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "llm.token_count.prompt_details.cache_read",
    ),
    "cache_write_tokens": (
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "llm.token_count.prompt_details.cache_write",
    ),
    "reasoning_tokens": (
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        "llm.token_count.completion_details.reasoning",
    ),
}
"""Whole numbers."""

NUMBERS: Final[dict[str, tuple[str, ...]]] = {
    "latency_ms": ("llm.latency_ms",),
    "cost_usd": ("gen_ai.usage.cost", "llm.cost.total", "llm.cost_usd"),
}

SECONDS: Final[dict[str, tuple[str, ...]]] = {
    "ttft_ms": ("gen_ai.response.time_to_first_chunk", "gen_ai.server.time_to_first_token"),
    "time_per_output_token_ms": ("gen_ai.server.time_per_output_token",),
}
"""Attributes in seconds for fields in milliseconds."""

KINDS: Final[dict[str, tuple[str, ...]]] = {
    "operation": ("gen_ai.operation.name",),
    "kind": ("openinference.span.kind", "traceloop.span.kind"),
    "request": ("llm.request.type",),
    "streaming": ("gen_ai.request.stream", "llm.is_streaming"),
}
"""What sort of span it is."""

NUMBERED: Final = {
    "gen_ai.prompt.": "prompt_text",
    "gen_ai.completion.": "response_text",
    "llm.input_messages.": "prompt_text",
    "llm.output_messages.": "response_text",
    "llm.prompts.": "prompt_text",
    "llm.choices.": "response_text",
    "embedding.embeddings.": "prompt_text",
}
"""Texts spread over numbered attributes (`gen_ai.prompt.0.content`), by prefix."""

DROPPED: Final = ("gen_ai.system_instructions", "gen_ai.tool.definitions", "gen_ai.request.tools.", "llm.tools.", "llm.request.functions.")
"""Prompt content that is no field of ours. It must not slip into the metadata."""

EMBEDDING: Final = "prompt_embedding"
"""Our name for the vector of an embedding span's first text."""

_VECTORS: Final = ("embedding.vector", "embedding", "embeddings")
"""How attributes end whose values are vectors. Others than those of ours must not slip into the metadata either."""

_NUMBERED_RANK = 2
_LAST_RANK = 99
_PREFIXES = tuple(NUMBERED)
_PLACES = {
    name: (field, rank) for field, names in {**TEXTS, **COUNTS, **NUMBERS, **SECONDS, **KINDS}.items() for rank, name in enumerate(names)
}


class Fields(NamedTuple):
    """Attributes by our names.

    Attributes:
        known: our field names, from the first source present.
        unknown: attributes no convention of ours names, under their own names.
        trimmed: whether there were more unknown ones than are kept.
    """

    known: dict[str, Value]
    unknown: dict[str, Value]
    trimmed: bool


def fields_of(attributes: Mapping[str, Value], resource: Mapping[str, Value]) -> Fields:
    """Sort a span's attributes, and its resource's after them, into our fields. An empty string counts as absent.

    >>> fields_of({"gen_ai.request.model": "m", "gen_ai.response.model": "m-2026", "color": "red"}, {"service.name": "chat"})
    Fields(known={'model_name': 'm-2026', 'service_name': 'chat'}, unknown={'color': 'red'}, trimmed=False)
    """
    known: dict[str, Value] = {}
    ranks: dict[str, int] = {}
    unknown: dict[str, Value] = {}
    numbered: dict[str, list[str]] = {}
    for name, value in chain(attributes.items(), resource.items()):
        if value is None or value == "":
            continue
        field, rank = _PLACES.get(name, ("", 0))
        if field:
            if rank < ranks.get(field, _LAST_RANK):
                known[field], ranks[field] = value, rank
        elif name.startswith(_PREFIXES):
            _gather(name, value, numbered, known)
        elif not name.startswith(DROPPED) and not name.endswith(_VECTORS):
            unknown.setdefault(name, value)
    for field, lines in numbered.items():
        if ranks.get(field, _LAST_RANK) >= _NUMBERED_RANK:
            known[field] = "\n".join(lines)
    kept = dict(list(unknown.items())[:MAX_METADATA])
    return Fields(known, kept, len(kept) < len(unknown))


def _gather(name: str, value: Value, numbered: dict[str, list[str]], known: dict[str, Value]) -> None:
    """Take the text, the vector or the finish reason of one numbered attribute; roles and tool calls are left out."""
    if name.endswith(".finish_reason"):
        known.setdefault("finish_reason", value)
    elif name.endswith(".embedding.vector"):
        known.setdefault(EMBEDDING, value)
    elif name.endswith((".content", ".text")) and isinstance(value, str):
        field = next(field for prefix, field in NUMBERED.items() if name.startswith(prefix))
        numbered.setdefault(field, []).append(value)
