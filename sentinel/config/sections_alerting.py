"""The `alerting` section: who is told."""

from typing import Literal

from pydantic import Field

from sentinel.config.secret import Secret
from sentinel.config.section import NOT_BUILT, Count, Positive, Section, Url


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

    url: Url = "amqp://localhost:5672"
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
    url: Url | None = None
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
