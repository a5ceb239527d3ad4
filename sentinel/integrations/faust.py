"""Events and alerts as records of Faust, for applications that read them beside the daemon: `pip install 'llm-sentinel[faust]'`.

    app = faust.App("costs", broker="kafka://127.0.0.1:9092")

    @app.agent(events_topic(app))
    async def spent(events):
        async for event in events:
            if event is not None:  # the record was no event
                print(event.service_name, event.cost_usd)

Records are checked when they are read: a field has its type, or the record is refused with ValueError. Fields that are not listed are left
out, whatever they are called. What the daemon does beyond that (limits, times, redaction) is not done: a topic holds what producers wrote.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Self, cast, get_type_hints

import faust
import msgspec
from faust.exceptions import ValueDecodeError
from faust.types import AppT, CodecArg, Message, ModelT, TopicT

_ALIASES: Final = (
    *(("service_name", "service"), ("service_name", "application"), ("model_name", "model")),
    *(("latency_ms", "duration_ms"),),
)
"""Our name and another one; the first that is present is taken."""
_UNFOLDED: Final = (
    *(("prompt_text", "prompt", "text"), ("prompt_tokens", "prompt", "tokens")),
    *(("response_text", "response", "text"), ("completion_tokens", "response", "tokens"), ("finish_reason", "response", "finish_reason")),
)
"""Our name, and where the nested dialect has it."""
_COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
"""Whole numbers, which some producers write as 120.0."""


def _shape(record: type[faust.Record]) -> type[msgspec.Struct]:
    """What a record's JSON looks like, for the check: its fields; those with a default may be missing."""
    defaults = record._options.defaults  # noqa: SLF001  Faust has no other name for them
    fields: list[Any] = []
    for name, hint in get_type_hints(record).items():
        if name not in record._options.fields:  # noqa: SLF001  likewise
            continue
        json = list[dict[str, Any]] if _is_nested(hint) else hint
        if name not in defaults:
            fields.append((name, json))
        elif isinstance(defaults[name], list | dict):
            fields.append((name, json, msgspec.field(default_factory=type(defaults[name]))))
        else:
            fields.append((name, json | None, None))
    return msgspec.defstruct(record.__name__, fields, kw_only=True)


def _is_nested(hint: object) -> bool:
    """Whether a field is a list of records; each of them is checked by its own shape."""
    inner = getattr(hint, "__args__", (None,))[0]
    return isinstance(inner, type) and issubclass(inner, faust.Record)


class Checked(faust.Record, abstract=True, serializer="json", include_metadata=False):
    """A record that holds the fields it declares, each of its type, and nothing else that a producer wrote."""

    _shape: ClassVar[type[msgspec.Struct]]

    def __init_subclass__(cls, **options: Any) -> None:  # noqa: ANN401  Faust's own
        super().__init_subclass__(**options)
        cls._shape = _shape(cls)

    @classmethod
    def from_data(cls, data: Mapping[str, Any], *, preferred_type: type[ModelT] | None = None) -> Self:
        """The record of a JSON object. Raises ValueError when a field is missing or of another type; the message quotes no value."""
        checked = msgspec.to_builtins(msgspec.convert(data, cls._shape))
        return cast("Self", super().from_data(checked, preferred_type=preferred_type))


class TelemetryEvent(Checked):
    """One LLM request, in the fields of the flat dialect; aliases and the nested dialect are brought to these when a record is read.

    Attributes:
        timestamp: as it was written: RFC 3339, or a number of seconds, milliseconds, microseconds or nanoseconds.
        error, status: anything; see `docs/events.md` for what counts as a failure.
        metadata: as it was written, not redacted; so are texts and `user_id`.
    """

    service_name: str
    model_name: str
    latency_ms: float
    tenant: str = "default"
    event_id: str | int | None = None
    timestamp: str | int | float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cost_usd: float | None = None
    error: Any = None
    errors: list[Any] | None = None
    status: Any = None
    success: bool | None = None
    streaming: bool | None = None
    user_id: str | int | None = None
    session_id: str | int | None = None
    request_id: str | int | None = None
    trace_id: str | int | None = None
    span_id: str | int | None = None
    parent_span_id: str | int | None = None
    provider: str | None = None
    operation: str | None = None
    environment: str | None = None
    region: str | None = None
    finish_reason: str | None = None
    prompt_version: str | int | None = None
    ttft_ms: float | None = None
    time_per_output_token_ms: float | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    memory_used_bytes: float | None = None
    image_count: float | None = None
    audio_count: float | None = None
    video_count: float | None = None
    audio_seconds: float | None = None
    video_seconds: float | None = None
    prompt_text: str | None = None
    prompt_length: int | None = None
    prompt_hash: str | None = None
    response_text: str | None = None
    response_length: int | None = None
    response_hash: str | None = None
    metadata: dict[str, Any] | None = None
    schema_version: int | None = None

    @classmethod
    def from_data(cls, data: Mapping[str, Any], *, preferred_type: type[ModelT] | None = None) -> Self:
        """The event of a JSON object in the flat or the nested dialect. Raises ValueError when it is none; OTLP is none."""
        return super().from_data(_canonical(data), preferred_type=preferred_type)

    def _prepare_dict(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Faust's hook for what is written: what is not known is left out, as producers do."""
        return {name: value for name, value in payload.items() if value is not None}


class ContributorDocument(Checked):
    """One value of a dimension that had a larger part in an anomaly than it usually has: `sentinel.core.anomaly.Contributor`."""

    dimension: str
    value: str
    share: float
    usual: float | None = None


class AnomalyDocument(Checked):
    """One anomaly of an alert: `sentinel.core.anomaly.Anomaly`, which says what the fields mean."""

    id: str
    timestamp: str
    service: str
    model: str
    metric: str
    detector: str
    type: str
    severity: str
    value: float
    score: float
    samples: int
    window: int
    direction: str
    confidence: float
    explanation: str
    partition: str
    offset: int
    expected: float | None = None
    lower: float | None = None
    upper: float | None = None
    baseline_mean: float | None = None
    baseline_stddev: float | None = None
    z_score: float | None = None
    event_id: str | None = None
    trace_id: str | None = None
    tenant: str = "default"
    since: str | None = None
    contributors: list[ContributorDocument] = []  # noqa: RUF012  what is read has lists of its own
    exemplars: list[str] = []  # noqa: RUF012  as above
    markers: list[str] = []  # noqa: RUF012  as above


class AlertDocument(Checked):
    """One alert as receivers get it: `sentinel.core.alert.Alert`. It can come twice, and then has the same `notification_id`."""

    notification_id: str
    alert_id: str
    fingerprint: str
    status: str
    severity: str
    title: str
    description: str
    service: str
    model: str
    type: str
    metric: str
    started_at: str
    ended_at: str | None = None
    resolve_reason: str | None = None
    anomalies: list[AnomalyDocument] = []  # noqa: RUF012  as above
    count: int = 1
    labels: dict[str, str] = {}  # noqa: RUF012  as above
    links: dict[str, str] = {}  # noqa: RUF012  as above
    tenant: str = "default"


class Lenient(faust.Schema[Any, Any]):
    """Values that cannot be read come as None: else Faust throws them into the agent, and one bad record ends its work."""

    def loads_value(
        self, app: AppT, message: Message, *, loads: Callable[..., Any] | None = None, serializer: CodecArg | None = None
    ) -> Checked | None:
        """The record, or None; None also for a tombstone."""
        try:
            return cast("Checked", super().loads_value(app, message, loads=loads, serializer=serializer))
        except ValueDecodeError:
            return None


def events_topic(app: AppT, name: str = "llm.telemetry") -> TopicT:
    """The topic that producers write events to. Its values are TelemetryEvent, or None for a record that is no event."""
    return app.topic(name, schema=Lenient(key_type=bytes, value_type=TelemetryEvent, value_serializer="json"))


def alerts_topic(app: AppT, name: str) -> TopicT:
    """A topic of alerts, one a record. Its values are AlertDocument, or None for a record that is no alert."""
    return app.topic(name, schema=Lenient(key_type=bytes, value_type=AlertDocument, value_serializer="json"))


def _canonical(data: object) -> dict[str, Any]:
    """The fields of the flat dialect; what stands in them wins. Raises TypeError when it is no JSON object."""
    if not isinstance(data, dict):
        raise TypeError("the record is no JSON object")
    flat = dict(data)
    for name, alias in _ALIASES:
        if flat.get(name) is None:
            flat[name] = data.get(alias)
    seconds = data.get("inference_time")
    if flat["latency_ms"] is None and isinstance(seconds, int | float):
        flat["latency_ms"] = seconds * 1e3
    for name, part, inside in _UNFOLDED:
        if flat.get(name) is None and part in data:
            flat[name] = _inside(data[part], inside)
    for name in _COUNTS:
        count = flat.get(name)
        if isinstance(count, float) and count.is_integer():
            flat[name] = int(count)
    return flat


def _inside(part: object, name: str) -> object:
    """A field of a prompt or response, which may also be its text alone."""
    if isinstance(part, str):
        return part if name == "text" else None
    return part.get(name) if isinstance(part, dict) else None
