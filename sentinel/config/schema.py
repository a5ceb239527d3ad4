"""The configuration as types: one model a section, one sentence a key. `docs/configuration.md` and the JSON Schema come from here.

Sections that carry `not_built` are understood and checked, but `sentinel run` refuses a configuration that sets them: nothing that is
written in a configuration is silently ignored.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from sentinel.config.secret import Secret
from sentinel.core.metrics import METRIC_NAMES

MetricName = Literal[
    "latency_ms", "ttft_ms", "time_per_output_token_ms", "prompt_tokens", "completion_tokens", "total_tokens", "cost_usd", "error"
]
DetectorChoice = Literal["zscore", "iqr", "mad", "cusum"]
Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]

NOT_BUILT: dict[str, JsonValue] = {"not_built": True}


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), ser_json_inf_nan="strings", use_attribute_docstrings=True
    )


# --------------------------------------------------------------------------------------------------------------- ingestion


class KafkaSecurity(Section):
    """How to reach the brokers safely."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Plaintext protocols are refused for brokers that are not on loopback unless `insecure` is true."""
    insecure: bool = False
    """Accept a connection without encryption to a broker that is not on loopback."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """SASL mechanism, used with the SASL protocols."""
    username: str | None = None
    """SASL user."""
    password: Secret | None = None
    """SASL password."""
    password_file: str | None = None
    """File that holds the SASL password."""
    ca_file: str | None = None
    """PEM file with the certificate authorities to trust; the system's when absent."""
    cert_file: str | None = None
    """PEM file with the client certificate."""
    key_file: str | None = None
    """PEM file with the client key."""


class Kafka(Section):
    """Consume a topic as a member of a consumer group."""

    brokers: list[str] = Field(min_length=1)
    """Bootstrap brokers as host:port."""
    topic: str = "llm.telemetry"
    """Topic to consume; HTTP input is produced to it, sanitized."""
    group_id: str = "sentinel-consumer"
    """Consumer group; its replicas share the partitions."""
    group_instance_id: str | None = None
    """Static membership id, unique per replica; a restart within the session timeout then moves no partition."""
    session_timeout_ms: int = Field(default=10_000, ge=1_000, le=1_800_000)
    """A replica silent for this long loses its partitions, in milliseconds."""
    rebalance_timeout_ms: int = Field(default=60_000, ge=1_000, le=1_800_000)
    """How long a rebalance waits for the replicas, in milliseconds."""
    enable_auto_commit: bool = False
    """Must be false: offsets are committed only behind stored or dead-lettered events."""
    auto_offset_reset: Literal["latest", "earliest"] = "latest"
    """Where a group that has never committed starts; it is not used for anything else."""
    max_poll_records: int = Field(default=5_000, ge=1, le=50_000)
    """Most records in one delivery."""
    linger_ms: float = Field(default=5.0, ge=0, le=1_000)
    """How long to wait for a delivery to fill once it holds a record, in milliseconds."""
    fetch_max_bytes: int = Field(default=1_048_576, ge=1_024)
    """Most bytes fetched of one partition at a time."""
    dead_letter_topic: str = "llm.telemetry.dlq"
    """Topic for records that cannot be events."""
    security: KafkaSecurity = KafkaSecurity()
    """Encryption and authentication."""


class HttpIngest(Section):
    """Events over HTTP on the API's port."""

    enabled: bool = True
    """Accept `POST /api/v1/events`."""
    queue_max_bytes: int = Field(default=16_777_216, ge=1_024)
    """Bytes waiting for the pipeline; beyond them the answer is 429 with Retry-After."""
    max_events_per_request: int = Field(default=10_000, ge=1)
    """Most events in one request."""


class Files(Section):
    """Files of JSON lines, read once from where the store's position says."""

    paths: list[str] = Field(default_factory=list)
    """Files to read; `-` is standard input."""
    exit_at_end: bool = False
    """Drain and exit once every file is read; else go on serving queries."""


class Parsing(Section):
    """From bytes to fields."""

    max_record_bytes: int = Field(default=1_048_576, ge=256)
    """A larger record is rejected as too_large."""
    max_text_length: int = Field(default=10_000, ge=0)
    """Longer texts are cut to this many characters and flagged."""
    enable_sanitization: bool = True
    """When false, no text is kept at all; raw text is never stored."""
    sanitize_patterns: list[str] = Field(default_factory=lambda: ["password", "api_key", "secret"])
    """Words whose values are removed from texts (`word=value`, `"word": "value"`), or RE2 expressions when they hold a special character."""


class Validation(Section):
    """What is plausible. Values outside are flagged and kept out of the windows, or rejected."""

    min_latency_ms: float = Field(default=0.1, ge=0)
    """Smallest plausible latency, in milliseconds."""
    max_latency_ms: Positive = 300_000.0
    """Largest plausible latency, in milliseconds."""
    max_tokens: int = Field(default=100_000, ge=1)
    """Largest plausible number of tokens of each kind."""
    max_cost_usd: Positive = 100.0
    """Largest plausible cost of one request, in US dollars."""
    on_out_of_range: Literal["flag", "reject"] = "flag"
    """`flag` stores the event, keeps the value out of the windows and reports it as implausible_value; `reject` dead-letters it."""
    enable_pii_detection: bool = True
    """Look for personal data and secrets in texts, and count what is found, even when no text is kept."""
    max_future_secs: float = Field(default=60.0, ge=0)
    """A timestamp further ahead of its record's own time is clamped to that time and flagged, in seconds."""
    max_age_secs: Positive = 86_400.0
    """An event older than this against its record's own time is stored but not learned, in seconds."""


class Dedupe(Section):
    """Recognise events sent twice, by their event_id."""

    window_events: int = Field(default=50_000, ge=0)
    """How many event ids are remembered per partition; 0 turns it off."""


class DeadLetters(Section):
    """Where records go that cannot be events, when there is no Kafka."""

    path: str | None = None
    """File of JSON lines; `dead-letters.jsonl` in the state directory when absent."""
    max_bytes: int = Field(default=67_108_864, ge=65_536)
    """The file is rotated to one predecessor at this size."""
    max_record_chars: int = Field(default=2_048, ge=0)
    """Characters kept of a redacted record."""


class Ingestion(Section):
    """What comes in."""

    kafka: Kafka | None = None
    """Consume from Kafka; absent = embedded mode."""
    http: HttpIngest = HttpIngest()
    """Events over HTTP."""
    files: Files = Files()
    """Events from files or standard input."""
    parsing: Parsing = Parsing()
    """Decoding and sanitizing."""
    validation: Validation = Validation()
    """Limits."""
    dedupe: Dedupe = Dedupe()
    """Repeats."""
    dead_letters: DeadLetters = DeadLetters()
    """The unusable."""


# ----------------------------------------------------------------------------------------------------------------- privacy


class Privacy(Section):
    """What is kept of people."""

    capture: Literal["none", "redacted"] = "none"
    """`none` keeps only length and keyed hash of prompt and response; `redacted` keeps the sanitized texts as well."""
    pseudonym_key: Secret | None = None
    """Key of the HMAC that replaces user ids."""
    pseudonym_key_file: str | None = None
    """File that holds that key; generated as `pseudonym.key` in the state directory when neither is set and there is no Kafka."""


# --------------------------------------------------------------------------------------------------------------- detection


class Baseline(Section):
    """What is normal, per service x model x metric."""

    window_size: int = Field(default=1_000, ge=4, le=100_000)
    """Samples in a window."""
    min_samples: int = Field(default=10, ge=2)
    """Samples before a window is judged against."""
    update_interval_secs: Positive = 60.0
    """How often the state is saved, in seconds."""
    enable_persistence: bool = True
    """Save and restore the state."""
    persistence_path: str | None = None
    """Directory of the saved state; `checkpoints` in the state directory when absent."""
    metrics: list[MetricName] = Field(
        default_factory=lambda: ["latency_ms", "ttft_ms", "prompt_tokens", "completion_tokens", "total_tokens", "cost_usd"]
    )
    """Metrics that get a baseline, besides those the detectors name."""
    max_series: int = Field(default=20_000, ge=1, le=1_000_000)
    """Series per partition; further ones share one overflow series named `__other__`."""


class Zscore(Section):
    """Distance from the mean in standard deviations."""

    threshold: Positive = 3.0
    """Standard deviations from the mean at medium sensitivity."""
    sensitivity: Literal["low", "medium", "high"] = "medium"
    """Scales the threshold: low x 1.33, medium x 1, high x 0.83."""
    metrics: list[MetricName] = Field(default_factory=lambda: ["latency_ms", "total_tokens", "cost_usd"])
    """Metrics it watches."""


class Iqr(Section):
    """Distance beyond the quartiles in interquartile ranges."""

    multiplier: Positive = 1.5
    """Interquartile ranges beyond the quartiles."""
    metrics: list[MetricName] = Field(default_factory=lambda: ["latency_ms", "total_tokens"])
    """Metrics it watches."""


class Mad(Section):
    """Distance from the median in median absolute deviations (modified z-score)."""

    threshold: Positive = 3.5
    """Modified z-score."""
    metrics: list[MetricName] = Field(default_factory=lambda: ["latency_ms"])
    """Metrics it watches."""


class Cusum(Section):
    """Sum of small deviations, for drifts."""

    threshold: Positive = 5.0
    """Cumulative sum that fires, in standard deviations."""
    drift: float = Field(default=0.5, ge=0)
    """Slack per sample, in standard deviations."""
    metrics: list[MetricName] = Field(default_factory=lambda: ["latency_ms"])
    """Metrics it watches."""


class Detection(Section):
    """What is an anomaly."""

    enabled_detectors: list[DetectorChoice] = Field(default_factory=lambda: ["zscore", "iqr", "mad", "cusum"])
    """Detectors that run."""
    baseline: Baseline = Baseline()
    """Windows."""
    zscore: Zscore = Zscore()
    """Z-score."""
    iqr: Iqr = Iqr()
    """Interquartile range."""
    mad: Mad = Mad()
    """Median absolute deviation."""
    cusum: Cusum = Cusum()
    """Cumulative sum."""


# ----------------------------------------------------------------------------------------------------------------- storage


class Embedded(Section):
    """The store that needs nothing: one SQLite file."""

    path: str | None = None
    """Database file; `sentinel.db` in the state directory when absent."""
    telemetry_retention_hours: Positive = 168.0
    """Events are deleted after this, in hours."""
    anomaly_retention_hours: Positive = 2_160.0
    """Anomalies are deleted after this, in hours."""
    rollup_retention_hours: Positive = 8_760.0
    """One-minute rollups are deleted after this, in hours."""
    rollup_interval_secs: Positive = 2.0
    """How often finished rows are folded into the rollups, in seconds."""
    synchronous: Literal["normal", "full"] = "normal"
    """`normal` survives a crash of the process, `full` also a loss of power, at the cost of one disk sync per commit."""


class InfluxDB(Section):
    """InfluxDB 3 as the store."""

    url: str = "http://localhost:8086"
    """Base URL."""
    org: str = "sentinel"
    """Organisation (v2 API)."""
    token: Secret | None = None
    """API token."""
    token_file: str | None = None
    """File that holds the token."""
    telemetry_bucket: str = "telemetry"
    """Bucket or database of events."""
    anomaly_bucket: str = "anomalies"
    """Bucket or database of anomalies."""
    batch_size: Count = 100
    """Points per write."""
    timeout_secs: Positive = 10.0
    """Time limit of one request, in seconds."""


class Cache(Section):
    """Query cache in the process."""

    max_capacity: Count = 10_000
    """Entries."""
    ttl_secs: Positive = 300.0
    """Age limit, in seconds."""
    tti_secs: Positive = 60.0
    """Idle limit, in seconds."""
    enable_metrics: bool = True
    """Count hits and misses."""


class Redis(Section):
    """Shared cache."""

    enabled: bool = False
    """Use it."""
    url: str = "redis://localhost:6379"
    """Server URL."""
    password: Secret | None = None
    """Password."""
    password_file: str | None = None
    """File that holds the password."""
    key_prefix: str = "sentinel:"
    """Prefix of all keys."""
    ttl_secs: Positive = 300.0
    """Age limit, in seconds."""


class Storage(Section):
    """Where things are kept."""

    embedded: Embedded = Embedded()
    """SQLite."""
    influxdb: InfluxDB | None = Field(default=None, json_schema_extra=NOT_BUILT)
    """InfluxDB 3."""
    cache: Cache | None = Field(default=None, json_schema_extra=NOT_BUILT)
    """Query cache."""
    redis: Redis | None = Field(default=None, json_schema_extra=NOT_BUILT)
    """Redis."""


# ---------------------------------------------------------------------------------------------------------------- alerting


class RetryConfig(Section):
    """Retries with exponential back-off."""

    max_attempts: Count = 3
    """Attempts in one burst."""
    initial_delay_ms: Positive = 1_000.0
    """First delay, in milliseconds."""
    backoff_multiplier: float = Field(default=2.0, ge=1)
    """Factor from one delay to the next."""
    max_delay_ms: Positive = 30_000.0
    """Largest delay, in milliseconds."""


class RabbitMQ(Section):
    """Alerts to a RabbitMQ exchange."""

    url: str = "amqp://localhost:5672"
    """Server URL."""
    username: str | None = None
    """User."""
    password: Secret | None = None
    """Password."""
    password_file: str | None = None
    """File that holds the password."""
    exchange: str = "sentinel.alerts"
    """Exchange."""
    exchange_type: Literal["topic", "direct", "fanout", "headers"] = "topic"
    """Kind of exchange."""
    routing_key_prefix: str = "alert"
    """Routing keys are `<prefix>.<severity>`."""
    persistent: bool = True
    """Messages survive a restart of the server."""
    timeout_secs: Positive = 10.0
    """Time limit of one publish, in seconds."""
    retry_config: RetryConfig = RetryConfig()
    """Retries."""


class Webhook(Section):
    """Alerts to one HTTP endpoint."""

    enabled: bool = False
    """Use it."""
    url: str | None = None
    """Target."""
    method: Literal["POST", "PUT"] = "POST"
    """HTTP method."""
    secret: Secret | None = None
    """Signing secret."""
    secret_file: str | None = None
    """File that holds the signing secret."""
    timeout_secs: Positive = 10.0
    """Time limit of one request, in seconds."""
    max_retries: int = Field(default=3, ge=0)
    """Retries in one burst."""
    retry_delay_ms: Positive = 1_000.0
    """First delay, in milliseconds."""
    backoff_multiplier: float = Field(default=2.0, ge=1)
    """Factor from one delay to the next."""


class Deduplication(Section):
    """One alert for repeats within a window."""

    enabled: bool = True
    """Use it."""
    window_secs: Positive = 300.0
    """Window, in seconds."""
    cleanup_interval_secs: Positive = 60.0
    """How often old entries are removed, in seconds."""


class Alerting(Section):
    """Who is told."""

    rabbitmq: RabbitMQ | None = Field(default=None, json_schema_extra=NOT_BUILT)
    """RabbitMQ."""
    webhook: Webhook | None = Field(default=None, json_schema_extra=NOT_BUILT)
    """Webhook."""
    deduplication: Deduplication | None = Field(default=None, json_schema_extra=NOT_BUILT)
    """Repeats."""


# --------------------------------------------------------------------------------------------------------- api, observability


class Api(Section):
    """The HTTP side."""

    bind_addr: str = "127.0.0.1:8080"
    """Address and port to listen on. Anything but loopback is refused until API keys are built."""
    enable_cors: bool = False
    """Answer cross-origin requests of `cors_origins`."""
    cors_origins: list[str] = Field(default_factory=list)
    """Origins that may read answers in a browser; `*` means any, without credentials."""
    timeout_secs: Positive = 30.0
    """Time limit of one request, in seconds."""
    max_body_size: int = Field(default=10_485_760, ge=1_024)
    """Largest request body after decompression, in bytes."""
    enable_logging: bool = False
    """Log every request."""
    metrics_path: str = Field(default="/metrics", pattern=r"^/[A-Za-z0-9/_-]*$")
    """Where Prometheus scrapes."""


class Pipeline(Section):
    """The loop between source and store."""

    queue_max_bytes: int = Field(default=67_108_864, ge=65_536)
    """Bytes read but not yet stored; beyond them the sources are paused."""
    drain_timeout_secs: Positive = 10.0
    """Time to finish what was read when told to stop, in seconds."""
    stall_secs: Positive = 30.0
    """Work that makes no progress for this long makes the daemon not ready, in seconds."""


class Observability(Section):
    """What the daemon tells about itself."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is logged; SENTINEL_LOG_LEVEL overrides it."""
    log_json: bool = True
    """JSON lines; false gives readable text. SENTINEL_LOG_JSON overrides it."""


class Config(Section):
    """The whole configuration."""

    state_dir: str = "sentinel-state"
    """Directory of everything the daemon keeps; the environment's STATE_DIRECTORY when this key is absent and that is set."""
    ingestion: Ingestion = Ingestion()
    """What comes in."""
    privacy: Privacy = Privacy()
    """What is kept of people."""
    detection: Detection = Detection()
    """What is an anomaly."""
    storage: Storage = Storage()
    """Where things are kept."""
    alerting: Alerting = Alerting()
    """Who is told."""
    api: Api = Api()
    """The HTTP side."""
    pipeline: Pipeline = Pipeline()
    """The loop in between."""
    observability: Observability = Observability()
    """What the daemon tells about itself."""


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the configuration."""
    return Config.model_json_schema()


assert MetricName.__args__ == METRIC_NAMES  # type: ignore[attr-defined]  # noqa: S101  one list of metrics, written twice for the type checker
