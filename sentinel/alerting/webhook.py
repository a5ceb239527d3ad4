"""Alerts to one HTTP endpoint: signed, never redirected, and only to addresses that may be connected to."""

import asyncio
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from sentinel import __version__
from sentinel.alerting import render, sign
from sentinel.alerting.addresses import networks
from sentinel.alerting.answers import accepted, judge
from sentinel.alerting.errors import RefusedError
from sentinel.alerting.guard import AddressGuard
from sentinel.alerting.retry_after import asked_s
from sentinel.alerting.tls import client_context
from sentinel.config.secret import Secret
from sentinel.config.sections_alerting import Webhook as WebhookConfig
from sentinel.core.alert import Notification
from sentinel.core.errors import RetryableError, StartupError
from sentinel.core.ports import Clock
from sentinel.observability.logs import get
from sentinel.observability.metrics import Metrics

MOST_READ_BYTES: Final = 65_536
"""Of an answer's body. It is thrown away: only then can the connection be used again."""
READ_LIMIT_S: Final = 1.0
"""For that body; a slow one costs the connection, not the delivery."""
KEEP_S: Final = 4.0
"""How long an unused connection is kept: less than receivers usually do, or a message would meet one that was just closed."""
LONGEST_REASON: Final = 300
"""Characters kept of what the system says."""
SHORTEST_KEY_BYTES: Final = 24
"""What Standard Webhooks asks for."""

log = get(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, the seconds it took, and how long it asks us to wait, if it does."""

    status: int
    seconds: float
    asked_s: float | None


class Webhook:
    """A `Receiver`. The `webhook-id` is the notification's id, and the body has the same bytes on every repeat; only the time of sending,
    and with it the signature, is new.

    It may be called from `max_in_flight` tasks at once.

    Args:
        config: the `alerting.webhook` section.
        clock: dates the messages.
        metrics: where requests are counted.
        resolver: of host names; the system's by default. Whatever it says, the address itself is checked.
    """

    def __init__(self, config: WebhookConfig, clock: Clock, metrics: Metrics, resolver: aiohttp.abc.AbstractResolver | None = None) -> None:
        self._config = config
        self._clock = clock
        self._metrics = metrics
        self._resolver = resolver
        self._keys: list[bytes] = []
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Read secrets and what TLS needs; the other side need not be up. Raises StartupError."""
        if self._config.url is None:
            raise StartupError("alerting.webhook.url is not set. Set it, or alerting.webhook.enabled to false")
        self._keys = signing_keys(self._config)
        tls: ssl.SSLContext | bool = True
        if self._config.url.startswith("https:"):
            tls = client_context(self._config.ca_file, "alerting.webhook.ca_file")
        guard = AddressGuard(networks(self._config.allowed_networks), encrypted=self._config.url.startswith("https:"))
        connector = aiohttp.TCPConnector(
            socket_factory=guard,
            ssl=tls,
            resolver=self._resolver,
            limit=self._config.max_in_flight,
            use_dns_cache=False,
            keepalive_timeout=KEEP_S,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._config.timeout_secs),
            trust_env=False,
            auto_decompress=False,
        )

    async def send(self, notification: Notification) -> None:
        """Deliver one alert: done when the answer is 2xx, within `timeout_secs`.

        Raises RetryableError (RefusedError when somebody has to mend something), or GoneError on 410.
        """
        self._judged(await self.post(notification.id, render.webhook_body(notification)))

    async def send_together(self, notifications: Sequence[Notification]) -> None:
        """Deliver several alerts in one request. Otherwise as `send`."""
        self._judged(await self.post(render.batch_id(notifications), render.webhook_batch_body(notifications)))

    async def post(self, message_id: str, body: bytes) -> Answer:
        """Sign a body, send it, and say what came back. Raises RetryableError when nothing did."""
        if self._session is None or self._config.url is None:
            raise RetryableError("the webhook is not open")
        now_s = self._clock.now_ns() / 1e9
        headers = sign.headers(self._keys, message_id, int(now_s), body) | {
            "Content-Type": "application/json",
            "User-Agent": f"llm-sentinel/{__version__}",
            "Accept-Encoding": "identity",
        }
        started_s = time.perf_counter()
        try:
            async with self._session.request(
                self._config.method, self._config.url, data=body, headers=headers, allow_redirects=False
            ) as response:
                seconds = time.perf_counter() - started_s
                await _throw_away(response)
                wait_s = asked_s(response.headers.get("Retry-After"), now_s)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            self._metrics.webhook_failures.inc()
            raise in_words(error, self._config) from error
        (self._metrics.webhook_deliveries if accepted(response.status) else self._metrics.webhook_failures).inc()
        return Answer(response.status, seconds, wait_s)

    async def close(self) -> None:
        """Disconnect. Twice is harmless."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    def _judged(self, answer: Answer) -> None:
        error = judge(answer.status, answer.asked_s, host_of(self._config))
        if error is not None:
            raise error


def host_of(config: WebhookConfig) -> str:
    """What is said of the target: the rest of a URL may hold a secret."""
    return urlsplit(config.url or "").hostname or "the webhook"


def signing_keys(config: WebhookConfig) -> list[bytes]:
    """The keys in use, the first one first. Raises StartupError for a secret that is none."""
    keys = [_key(secret, name) for name, secret in (("secret", config.secret), ("secret_next", config.secret_next)) if secret is not None]
    if not keys:
        log.warning("alerting.webhook.secret is not set: receivers cannot tell who sent an alert")
    return keys


def _key(secret: Secret, name: str) -> bytes:
    try:
        key = sign.key_of(secret.reveal())
    except ValueError as reason:
        raise StartupError(f"alerting.webhook.{name} cannot be used: {reason}. {KEY_CURE}") from None
    if len(key) < SHORTEST_KEY_BYTES:
        log.warning("a webhook secret is short enough to be guessed", key=f"alerting.webhook.{name}", cure=KEY_CURE)
    return key


KEY_CURE: Final = 'Make one with `echo "whsec_$(openssl rand -base64 32)"`'


async def _throw_away(response: aiohttp.ClientResponse) -> None:
    """Read what little body an answer should have. More, slower or broken: the connection is closed, and that is all."""
    try:
        async with asyncio.timeout(READ_LIMIT_S):
            left = MOST_READ_BYTES
            while left > 0 and not response.content.at_eof():
                left -= len(await response.content.read(left))
    except (aiohttp.ClientError, OSError, TimeoutError):
        left = 0
    if left <= 0:
        response.close()


def in_words(error: BaseException, config: WebhookConfig) -> RetryableError:
    """What it means that no answer came: a RefusedError when somebody has to mend something."""
    host = host_of(config)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return RefusedError(f"the certificate of {host} cannot be trusted. Check alerting.webhook.url and ca_file")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return RetryableError(f"{host} cannot be resolved. Check the host name in alerting.webhook.url, and DNS")
    if isinstance(error, aiohttp.ClientConnectorError):
        return _not_connected(error.os_error, host)
    if isinstance(error, TimeoutError):
        return RetryableError(f"{host} did not answer within {config.timeout_secs:g} s")
    if isinstance(error, aiohttp.InvalidURL):
        return RefusedError("alerting.webhook.url is no URL that can be asked. Correct it")
    return RetryableError(f"{host} hung up, or did not speak HTTP ({type(error).__name__})")


def _not_connected(error: OSError, host: str) -> RetryableError:
    reason = (error.strerror or str(error) or type(error).__name__)[:LONGEST_REASON]
    if isinstance(error, PermissionError):
        return RefusedError(f"{host} must not be sent to: {reason}")
    if isinstance(error, ssl.SSLError):
        return RefusedError(f"{host} does not speak TLS as we do ({error.reason or type(error).__name__}). Check alerting.webhook.url")
    return RetryableError(f"{host} cannot be connected to: {reason}")
