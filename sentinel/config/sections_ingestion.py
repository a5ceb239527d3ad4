"""The `ingestion` section: what comes in."""

from typing import Literal

from pydantic import Field

from sentinel.config.secret import Secret
from sentinel.config.section import Name, Positive, Section, Topic


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
    topic: Topic = "llm.telemetry"
    """Topic to consume; HTTP input is produced to it, sanitized."""
    group_id: Name = "sentinel-consumer"
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
    linger_ms: float = Field(default=2.0, ge=0, le=1_000)
    """How long to wait for a delivery to fill once it holds a record, in milliseconds."""
    fetch_max_bytes: int = Field(default=4_194_304, ge=1_024)
    """Most bytes fetched of one partition at a time."""
    dead_letter_topic: Topic = "llm.telemetry.dlq"
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
    sanitize_patterns: list[str] = Field(default=["password", "api_key", "secret"])
    """Words whose values are removed from texts (`word=value`, `"word": "value"`), or RE2 expressions if they hold a special character."""


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
