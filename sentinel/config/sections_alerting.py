"""The `alerting` section: who is told."""

from ipaddress import ip_network
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from sentinel.config.secret import Secret
from sentinel.config.section import Count, Name, Positive, Section, Url


def _network(text: str) -> str:
    """The text, when it is a network in CIDR notation."""
    try:
        ip_network(text)
    except ValueError:
        raise PydanticCustomError("bad_network", "is not a network like 10.1.2.0/24, with no bits set behind its prefix") from None
    return text


def _amqp(url: str) -> str:
    """The URL, when it names a server and nothing else: every setting has a key of its own."""
    parts = urlsplit(url)
    if parts.scheme not in {"amqp", "amqps"} or parts.query or parts.fragment:
        raise PydanticCustomError("bad_url", "is not of the form amqps://HOST:PORT/VHOST")
    return url


def _http(url: str) -> str:
    """The URL, when a request can be sent there."""
    if urlsplit(url).scheme not in {"http", "https"}:
        raise PydanticCustomError("bad_url", "does not begin with https:// or http://")
    return url


Level = Literal["info", "warning", "critical"]
Network = Annotated[str, AfterValidator(_network)]
AmqpUrl = Annotated[Url, AfterValidator(_amqp)]
HttpUrl = Annotated[Url, AfterValidator(_http)]


class RetryConfig(Section):
    """Retries with exponential back-off."""

    max_attempts: Count = 3
    """Attempts in one burst."""
    initial_delay_ms: Positive = 1_000.0
    """First delay, in milliseconds."""
    backoff_multiplier: float = Field(default=2.0, ge=1)
    """Factor from one delay to the next."""
    max_delay_ms: Positive = 30_000.0
    """Largest delay within a burst, in milliseconds. After a burst there is a pause of half a minute, growing to five minutes."""


class RabbitMQ(Section):
    """Alerts to a RabbitMQ exchange."""

    url: AmqpUrl = "amqp://localhost:5672"
    """Server URL; its path is the virtual host. With amqps:// the certificate is always verified."""
    username: str | None = None
    """User."""
    password: Secret | None = None
    """Password."""
    password_file: str | None = None
    """File that holds the password."""
    ca_file: str | None = None
    """PEM file with the certificate authorities to trust; the system's when absent."""
    insecure: bool = False
    """Accept a connection without encryption to a server that is not on loopback."""
    exchange: Name = "sentinel.alerts"
    """Exchange; it is declared durable."""
    exchange_type: Literal["topic", "direct", "fanout", "headers"] = "topic"
    """Kind of exchange."""
    routing_key_prefix: str = Field(default="alert", pattern=r"^[A-Za-z0-9_.-]{1,200}$")
    """Routing keys are `<prefix>.<severity>`."""
    queue: Name | None = "sentinel.alerts.all"
    """Durable queue that is declared and bound so that it gets every alert; null declares none, and alerts nobody asks for then wait."""
    queue_max_length: Count | None = None
    """Alerts that queue holds; when it is full, alerts wait here. Absent = no limit of ours: give it a reader, or a policy in RabbitMQ."""
    min_severity: Level = "info"
    """The least severe alerts that are sent here."""
    persistent: bool = True
    """Messages survive a restart of the server."""
    timeout_secs: Positive = 10.0
    """Time limit of one publish, connecting and confirmation included, in seconds."""
    max_in_flight: int = Field(default=100, ge=1, le=10_000)
    """Most messages sent and not yet confirmed."""
    retry_config: RetryConfig = RetryConfig()
    """Retries."""


class Webhook(Section):
    """Alerts to one HTTP endpoint."""

    enabled: bool = False
    """Use it."""
    url: HttpUrl | None = None
    """Target: https://, or http:// when it lies in `allowed_networks`."""
    method: Literal["POST", "PUT"] = "POST"
    """HTTP method."""
    secret: Secret | None = None
    """Signing secret: `whsec_` and base64, or any text; 24 bytes or more. Without one, receivers cannot tell who sent an alert."""
    secret_file: str | None = None
    """File that holds the signing secret."""
    secret_next: Secret | None = None
    """A second secret that signs too, while receivers change from one to the other."""
    secret_next_file: str | None = None
    """File that holds the second secret."""
    min_severity: Level = "info"
    """The least severe alerts that are sent here."""
    allowed_networks: list[Network] = Field(default_factory=list)
    """Networks like 10.1.2.0/24 or ::1/128 that may be sent to although they are not public; all others of that kind are refused."""
    ca_file: str | None = None
    """PEM file with the certificate authorities to trust; the system's when absent."""
    timeout_secs: Positive = 10.0
    """Time limit of one request, in seconds."""
    max_in_flight: int = Field(default=4, ge=1, le=100)
    """Most requests at the same time."""
    max_retries: int = Field(default=2, ge=0)
    """Retries in one burst, after its first attempt."""
    retry_delay_ms: Positive = 1_000.0
    """First delay, in milliseconds. After a burst there is a pause of half a minute, growing to five minutes."""
    backoff_multiplier: float = Field(default=2.0, ge=1)
    """Factor from one delay to the next, which are at most 30 s."""


class Batching(Section):
    """Several alerts in one message."""

    enabled: bool = False
    """Use it."""
    max_alerts: int = Field(default=50, ge=2, le=1_000)
    """Most alerts in one message."""
    max_wait_ms: float = Field(default=1_000.0, ge=0, le=60_000)
    """How long an alert waits for others to share a message, in milliseconds; a critical one does not wait."""


class Deduplication(Section):
    """One alert for repeats within a window."""

    enabled: bool = True
    """Use it."""
    window_secs: Positive = 300.0
    """Window, in seconds of event time: repeats within it are only counted, and an alert ends when it was quiet for longer."""
    cleanup_interval_secs: Positive = 60.0
    """How often what has ended is closed and what is old is removed, in seconds."""


class Outbox(Section):
    """Notifications that wait for their receivers, in the state database."""

    max_bytes: int = Field(default=67_108_864, ge=65_536)
    """Size of all that wait, in bytes; beyond it the least severe and oldest are dropped and counted, critical ones never."""
    max_age_hours: Positive = 72.0
    """What is not critical and could not be delivered for this long is dropped and counted, in hours."""
    lease_secs: Positive = 120.0
    """How long a replica keeps what it is delivering to itself, in seconds; another one takes over afterwards."""


class Alerting(Section):
    """Who is told."""

    enabled: bool | None = None
    """Make alerts of anomalies; when absent, only if there is somebody to tell."""
    min_severity: Level = "warning"
    """Anomalies below it never become alerts."""
    event_anomalies: bool = False
    """Make alerts of anomalies of single events too: the textbook detectors find some hundreds a day in healthy traffic."""
    costly_event_usd: Positive | None = 1.0
    """A single event that cost at least this, and far more than usual, becomes an alert in any case; none does when null."""
    external_url: Url | None = None
    """Address under which people reach this daemon, for links in alerts; no links when absent."""
    max_open_alerts: Count = 10_000
    """Alerts open at the same time; beyond it new ones of a tenant are gathered in one."""
    history_days: Positive = 90.0
    """Ended alerts and the log of their delivery are deleted after this, in days."""
    history_rows: int = Field(default=100_000, ge=1_000)
    """Most ended alerts, and most entries of the log of their delivery; the oldest beyond it are deleted."""
    outbox: Outbox = Outbox()
    """What waits to be delivered."""
    batching: Batching = Batching()
    """Several alerts in one message."""
    rabbitmq: RabbitMQ | None = None
    """RabbitMQ."""
    webhook: Webhook | None = None
    """Webhook."""
    deduplication: Deduplication | None = None
    """Repeats."""
