"""The `storage` section: where things are kept."""

import re
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from sentinel.config.secret import Secret
from sentinel.config.section import Count, Positive, Section, Url


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
    """Base URL, http:// or https:// (TLS, always verified)."""
    org: str = "sentinel"
    """Organisation (v2 API)."""
    token: Secret | None = None
    """API token."""
    token_file: str | None = None
    """File that holds the token."""
    ca_file: str | None = None
    """PEM file with the certificate authorities to trust instead of the system's."""
    insecure: bool = False
    """Accept a connection without encryption to a server that is not on loopback."""
    api: Literal["v3", "v2"] = "v3"
    """Write endpoint: `v3` is /api/v3/write_lp, `v2` is /api/v2/write; queries always use SQL over Flight."""
    telemetry_bucket: str = Field(default="telemetry", min_length=1)
    """Bucket or database of events."""
    anomaly_bucket: str = Field(default="anomalies", min_length=1)
    """Bucket or database of anomalies."""
    batch_size: Count = 5_000
    """Points per write."""
    parallel_writes: int = Field(default=4, ge=1, le=64)
    """Writes under way at once; a server confirms a write only when its log is on disk, about once a second by default."""
    gzip: bool = False
    """Compress writes: less network for more processor time."""
    timeout_secs: Positive = 10.0
    """Time limit of one write, in seconds."""
    query_timeout_secs: Positive = 5.0
    """Time limit of one query, in seconds."""
    lookback_hours: Positive = 48.0
    """How far one query without a time range of its own looks back, in hours; InfluxDB 3 Core answers up to about 72."""

    @field_validator("url")
    @classmethod
    def _influx_url(cls, url: str) -> str:
        """The URL, when it says nothing that would be ignored."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"}:
            raise PydanticCustomError("bad_url", "does not begin with http:// or https://")
        if parts.path not in {"", "/"} or parts.query or parts.fragment:
            raise PydanticCustomError("bad_url", "has more than a host and a port")
        return url


class Cache(Section):
    """Query cache in the process."""

    max_capacity: Count = 10_000
    """Entries."""
    max_bytes: int = Field(default=33_554_432, ge=65_536)
    """Bytes of all entries together; an answer larger than a sixteenth of this is not kept."""
    ttl_secs: Positive = 300.0
    """Age limit, in seconds."""
    tti_secs: Positive = 60.0
    """Idle limit, in seconds."""
    live_ttl_secs: float = Field(default=1.0, ge=0, le=60)
    """Age limit of answers about the present, in seconds; 0 keeps none of them."""
    settled_after_secs: float = Field(default=600.0, ge=0)
    """A time range that ended this long ago is taken as finished, so that its answer may live for ttl_secs, in seconds."""
    enable_metrics: bool = True
    """Count hits and misses."""


class Redis(Section):
    """Shared cache."""

    enabled: bool = False
    """Use it."""
    url: Url = "redis://localhost:6379"
    """Server URL, redis:// or rediss:// (TLS, always verified), with the number of a database as its path if it is not 0."""
    username: str | None = None
    """User; the server's default user when absent."""
    password: Secret | None = None
    """Password."""
    password_file: str | None = None
    """File that holds the password."""
    ca_file: str | None = None
    """PEM file with certificate authorities to trust besides the system's."""
    insecure: bool = False
    """Accept a connection without encryption to a server that is not on loopback."""
    key_prefix: str = "sentinel:"
    """Prefix of all keys."""
    ttl_secs: Positive = 300.0
    """Age limit, in seconds."""
    timeout_secs: float = Field(default=0.25, gt=0, le=10)
    """Time limit of one call, connecting included, in seconds; what takes longer is done without Redis."""
    dedupe: bool = False
    """Also leave out events that another partition or replica has stored, by their event_id; best effort."""
    dedupe_secs: Positive = 300.0
    """How long the event ids of stored events are remembered, in seconds."""

    @field_validator("url")
    @classmethod
    def _redis_url(cls, url: str) -> str:
        """The URL, when it says nothing that would be ignored."""
        parts = urlsplit(url)
        if parts.scheme not in {"redis", "rediss"}:
            raise PydanticCustomError("bad_url", "does not begin with redis:// or rediss://")
        if parts.query or parts.fragment or not re.fullmatch(r"(?:/[0-9]{0,5})?", parts.path):
            raise PydanticCustomError("bad_url", "has more than a host, a port and the number of a database")
        return url


class Storage(Section):
    """Where things are kept."""

    embedded: Embedded = Embedded()
    """SQLite."""
    influxdb: InfluxDB | None = None
    """InfluxDB 3."""
    cache: Cache | None = None
    """Query cache."""
    redis: Redis | None = None
    """Redis."""
