"""What simulated services and models are like: how long their texts are, how fast they answer and what they cost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import orjson

from sentinel.core.batch import Bool, Float64, SeriesKey


@dataclass(frozen=True, slots=True)
class ServiceProfile:
    """How one application uses its models.

    Attributes:
        name: service name, 1 to 128 characters.
        prompt_tokens, completion_tokens: medians.
        overhead_ms: time the application adds to every request.
        streaming: whether its requests report a time to first token.
        weight: its part of the traffic, relative to the others.
    """

    name: str
    prompt_tokens: float
    completion_tokens: float
    overhead_ms: float
    streaming: bool
    weight: float


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """How one model answers.

    Attributes:
        name: model name, 1 to 128 characters; `provider` who serves it.
        first_token_ms: median time to the first token of a short prompt.
        token_ms: median time for each further token.
        prompt_usd, completion_usd: price of a million tokens; levels for a simulation, not quotes.
        weight: its part of a service's traffic, relative to the others.
    """

    name: str
    provider: str
    first_token_ms: float
    token_ms: float
    prompt_usd: float
    completion_usd: float
    weight: float


SERVICES = (
    ServiceProfile("chat-api", 600, 220, 20, streaming=True, weight=4.0),
    ServiceProfile("search", 1_800, 60, 35, streaming=False, weight=3.0),
    ServiceProfile("summarizer", 3_500, 300, 60, streaming=False, weight=1.5),
    ServiceProfile("code-assist", 2_400, 450, 25, streaming=True, weight=2.0),
)

MODELS = (
    ModelProfile("gpt-4o", "openai", 320, 14, 2.5, 10.0, weight=3.0),
    ModelProfile("claude-sonnet-4", "anthropic", 550, 18, 3.0, 15.0, weight=2.0),
    ModelProfile("llama-3.1-70b", "self-hosted", 180, 9, 0.6, 0.8, weight=1.0),
)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Every service x model as columns of s series.

    Attributes:
        series: names; keys: the partition key of each, `service:model` in UTF-8.
        heads: the part of a record that is the same for all events of a series, as JSON members.
        cumulative: float64[s], rising to 1.0: the traffic's distribution over the series.
        prompt_tokens, completion_tokens, overhead_ms, first_token_ms, token_ms: float64[s], medians.
        prompt_usd, completion_usd: float64[s], price of one token.
        streaming: bool[s].
    """

    series: tuple[SeriesKey, ...]
    keys: tuple[bytes, ...]
    heads: tuple[str, ...]
    cumulative: Float64
    prompt_tokens: Float64
    completion_tokens: Float64
    overhead_ms: Float64
    first_token_ms: Float64
    token_ms: Float64
    prompt_usd: Float64
    completion_usd: Float64
    streaming: Bool


def make_fleet(services: Sequence[ServiceProfile] = SERVICES, models: Sequence[ModelProfile] = MODELS) -> Fleet:
    """Every service with every model. Raises ValueError when there is none, or when a name is empty, too long or repeated.

    >>> fleet = make_fleet()
    >>> len(fleet.series), fleet.keys[0]
    (12, b'chat-api:gpt-4o')
    """
    for names in ([service.name for service in services], [model.name for model in models]):
        _check_names(names)
    pairs = [(service, model) for service in services for model in models]
    weights = np.array([service.weight * model.weight for service, model in pairs])
    cumulative = np.cumsum(weights) / weights.sum()
    cumulative[-1] = 1.0  # the sum may end a rounding error below
    return Fleet(
        series=tuple(SeriesKey("default", service.name, model.name) for service, model in pairs),
        keys=tuple(f"{service.name}:{model.name}".encode() for service, model in pairs),
        heads=tuple(_head(service, model) for service, model in pairs),
        cumulative=cumulative,
        prompt_tokens=np.array([service.prompt_tokens for service, _ in pairs]),
        completion_tokens=np.array([service.completion_tokens for service, _ in pairs]),
        overhead_ms=np.array([service.overhead_ms for service, _ in pairs]),
        first_token_ms=np.array([model.first_token_ms for _, model in pairs]),
        token_ms=np.array([model.token_ms for _, model in pairs]),
        prompt_usd=np.array([model.prompt_usd for _, model in pairs]) / 1e6,
        completion_usd=np.array([model.completion_usd for _, model in pairs]) / 1e6,
        streaming=np.array([service.streaming for service, _ in pairs]),
    )


def service_profiles(names: Sequence[str]) -> tuple[ServiceProfile, ...]:
    """A profile for each name: the shipped one where there is one, else a shipped one slowed and lengthened a little each round."""
    known = {service.name: service for service in SERVICES}
    return tuple(known.get(name) or _like_service(name, index) for index, name in enumerate(names))


def model_profiles(names: Sequence[str]) -> tuple[ModelProfile, ...]:
    """A profile for each name: the shipped one where there is one, else a shipped one made slower and dearer each round."""
    known = {model.name: model for model in MODELS}
    return tuple(known.get(name) or _like_model(name, index) for index, name in enumerate(names))


def _like_service(name: str, index: int) -> ServiceProfile:
    base, growth = SERVICES[index % len(SERVICES)], 1 + 0.1 * (index // len(SERVICES) % 10)
    return replace(
        base,
        name=name,
        prompt_tokens=base.prompt_tokens * growth,
        completion_tokens=base.completion_tokens * growth,
        overhead_ms=base.overhead_ms * growth,
    )


def _like_model(name: str, index: int) -> ModelProfile:
    base, growth = MODELS[index % len(MODELS)], 1 + 0.1 * (index // len(MODELS) % 10)
    return replace(
        base,
        name=name,
        first_token_ms=base.first_token_ms * growth,
        token_ms=base.token_ms * growth,
        prompt_usd=base.prompt_usd * growth,
        completion_usd=base.completion_usd * growth,
    )


def _head(service: ServiceProfile, model: ModelProfile) -> str:
    members = {
        "service_name": service.name,
        "model_name": model.name,
        "provider": model.provider,
        "operation": "chat",
        "environment": "production",
    }
    return orjson.dumps(members).decode()[1:-1]


def _check_names(names: Sequence[str]) -> None:
    if not names:
        raise ValueError("a fleet needs at least one service and one model")
    if len(set(names)) != len(names):
        raise ValueError("a name occurs twice among the services or the models")
    if any(not 1 <= len(name) <= 128 or not name.isprintable() for name in names):
        raise ValueError("a service or model name must have 1 to 128 printable characters")
