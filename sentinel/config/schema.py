"""The configuration as types: one model a section, one sentence a key. `docs/configuration.md` and the JSON Schema come from here."""

from typing import Any, Literal

from pydantic import Field

from sentinel.config.secret import Secret
from sentinel.config.section import Count, MetricName, Name, Positive, Section
from sentinel.config.sections_alarms import Alarms, Canary
from sentinel.config.sections_alerting import Alerting, Deduplication, HttpUrl, RabbitMQ, RetryConfig, Webhook
from sentinel.config.sections_detection import Baseline, Cusum, Detection, DetectorChoice, Iqr, Mad, Zscore
from sentinel.config.sections_ingestion import DeadLetters, Dedupe, Files, HttpIngest, Ingestion, Kafka, KafkaSecurity, Parsing, Validation
from sentinel.config.sections_state import StateDatabase
from sentinel.config.sections_storage import Cache, Embedded, InfluxDB, Redis, Storage

__all__ = [
    "Alarms",
    "Alerting",
    "Api",
    "Baseline",
    "Cache",
    "Canary",
    "Config",
    "Count",
    "Cusum",
    "DeadLetters",
    "Dedupe",
    "Deduplication",
    "Detection",
    "DetectorChoice",
    "Embedded",
    "Files",
    "HttpIngest",
    "InfluxDB",
    "Ingestion",
    "Iqr",
    "Kafka",
    "KafkaSecurity",
    "Mad",
    "MetricName",
    "Observability",
    "Parsing",
    "Pipeline",
    "Positive",
    "Privacy",
    "RabbitMQ",
    "Redis",
    "RetryConfig",
    "Section",
    "StateDatabase",
    "Storage",
    "Validation",
    "Webhook",
    "Zscore",
    "json_schema",
]


class Privacy(Section):
    """What is kept of people."""

    capture: Literal["none", "redacted"] = "none"
    """`none` keeps only length and keyed hash of prompt and response; `redacted` keeps the sanitized texts as well."""
    pseudonym_key: Secret | None = None
    """Key of the HMAC that replaces user ids."""
    pseudonym_key_file: str | None = None
    """File that holds that key; generated as `pseudonym.key` in the state directory when neither is set and there is no Kafka."""


class Api(Section):
    """The HTTP side."""

    bind_addr: Name = "127.0.0.1:8080"
    """Address and port to listen on."""
    advertise_url: HttpUrl | None = None
    """Address under which the other replicas reach this one; absent = `bind_addr`, if that names a machine."""
    require_keys: bool | None = None
    """Turn callers without an API key away; absent = when `bind_addr` is not loopback. Make keys with `sentinel keys create`."""
    metrics_public: bool = False
    """Tell metrics to callers without an API key even when `bind_addr` is not loopback."""
    rate_limit_per_s: float = Field(default=0.0, ge=0)
    """Requests a second of one API key, and of one address without a key; 0 = no limit. Probes have none."""
    rate_limit_burst: Count = 100
    """Requests at once, after a pause, before that limit counts."""
    tls_cert_file: str | None = None
    """Certificate and its chain, PEM; with it the API speaks HTTPS only, TLS 1.2 or newer. Without it TLS may end in a proxy in front."""
    tls_key_file: str | None = None
    """Private key of that certificate, PEM, without a passphrase."""
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

    state_dir: Name = "sentinel-state"
    """Directory of everything the daemon keeps; the environment's STATE_DIRECTORY when this key is absent and that is set."""
    ingestion: Ingestion = Ingestion()
    """What comes in."""
    privacy: Privacy = Privacy()
    """What is kept of people."""
    detection: Detection = Detection()
    """What is an anomaly."""
    storage: Storage = Storage()
    """Where things are kept."""
    state: StateDatabase = StateDatabase()
    """Where alerts, keys and the audit log are kept."""
    alerting: Alerting = Alerting()
    """Who is told."""
    api: Api = Api()
    """The HTTP side."""
    pipeline: Pipeline = Pipeline()
    """The loop in between."""
    observability: Observability = Observability()
    """What the daemon tells about itself."""
    alarms: Alarms = Alarms()
    """What the daemon tells people of itself."""
    canary: Canary = Canary()
    """Synthetic events that show that the whole path works."""


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the configuration file, draft 2020-12."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Config.model_json_schema()
