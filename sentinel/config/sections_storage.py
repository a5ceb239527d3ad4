"""The `storage` section: where things are kept."""

from typing import Literal

from pydantic import Field

from sentinel.config.secret import Secret
from sentinel.config.section import NOT_BUILT, Count, Positive, Section, Url


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
    synchronous: Literal["normal", "full"] = "full"
    """`full` survives a loss of power with one disk sync per commit, `normal` a crash of the process only."""


class InfluxDB(Section):
    """InfluxDB 3 as the store."""

    url: Url = "http://localhost:8086"
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
    url: Url = "redis://localhost:6379"
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
