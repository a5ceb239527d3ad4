"""Redis as something that may be there: every call bounded in time, none that raises, and no cost while it is down."""

import asyncio
import hashlib
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from sentinel.config.schema import Redis
from sentinel.core.errors import StartupError
from sentinel.core.ports import Clock
from sentinel.observability.logs import get
from sentinel.observability.metrics import Metrics

if TYPE_CHECKING:
    from redis.asyncio import Redis as Client

FAILURES_IN_A_ROW: Final = 3
"""After these Redis is left alone for a while."""
PAUSE_S: Final = 5.0
"""How long; then one call tries again."""
CONNECTIONS: Final = 16
"""Calls at the same time; further ones wait within their own time."""

T = TypeVar("T")

log = get(__name__)


class Breaker:
    """Whether to ask: not for `PAUSE_S` after `FAILURES_IN_A_ROW`, then once, and again as before when that went well.

    >>> breaker = Breaker()
    >>> [breaker.failed(now_s=0.0) for _ in range(3)]
    [False, False, True]
    >>> breaker.allows(now_s=4.0), breaker.allows(now_s=5.0), breaker.allows(now_s=5.1)
    (False, True, False)
    """

    def __init__(self) -> None:
        self._failures = 0
        self._again_s = 0.0

    def allows(self, now_s: float) -> bool:
        """Whether a call may be made at this monotonic time. The one that tries again holds the others back for another pause."""
        if self._failures < FAILURES_IN_A_ROW:
            return True
        if now_s < self._again_s:
            return False
        self._again_s = now_s + PAUSE_S
        return True

    def failed(self, now_s: float) -> bool:
        """A call failed. True when this is what opens the breaker."""
        self._failures += 1
        self._again_s = now_s + PAUSE_S
        return self._failures == FAILURES_IN_A_ROW

    def succeeded(self) -> bool:
        """A call went well. True when the breaker was open until now."""
        was_open = self._failures >= FAILURES_IN_A_ROW
        self._failures = 0
        return was_open


class RedisLink:
    """A client of one Redis server, for parts that can do without it. A constructor starts nothing, and `open` needs no server.

    With rediss:// the server's certificate and host name are always verified.

    Args:
        section: where it is and how long it may take.
        clock: times the pauses.
        metrics: failures, and whether it answers.
    """

    def __init__(self, section: Redis, clock: Clock, metrics: Metrics) -> None:
        self._section = section
        self._clock = clock
        self._metrics = metrics
        self._breaker = Breaker()
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._client: Client | None = None
        self._failures: tuple[type[Exception], ...] = ()
        self._refusal: type[Exception] = Exception

    async def open(self) -> None:
        """Make the client, without connecting. Raises StartupError when its library is missing or a file cannot be used."""
        try:
            from redis.asyncio import Redis as Client  # noqa: PLC0415  an extra: imported by those who use it
            from redis.exceptions import RedisError, ResponseError  # noqa: PLC0415
        except ModuleNotFoundError:
            raise StartupError("storage.redis is enabled and its client is missing: pip install llm-sentinel[redis]") from None
        self._client = _client(Client, self._section)
        self._failures, self._refusal = (RedisError, OSError, EOFError, ValueError), ResponseError

    async def run(self, command: Callable[["Client"], Awaitable[T]], otherwise: T) -> T:
        """What Redis answers; `otherwise` when it is down, slow, refuses, or was down a moment ago.

        Args:
            command: what to do, as a whole within `timeout_secs`; it may be begun twice, when a connection was found to be dead.
            otherwise: what stands for no answer.
        """
        if self._client is None or not self._breaker.allows(self._clock.monotonic()):
            return otherwise
        try:
            async with asyncio.timeout(self._section.timeout_secs), self._slots:
                answer = await command(self._client)
        except self._failures as error:
            self._note(error)
            return otherwise
        self._answered()
        return answer

    async def close(self) -> None:
        """Disconnect. Twice is harmless."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _note(self, error: Exception) -> None:
        """Only the kind of an error is told: what a server says may quote what it was sent, the password included."""
        if isinstance(error, self._refusal):
            self._metrics.cache_errors.labels("refused").inc()
            self._answered()
            return
        self._metrics.cache_errors.labels("failed").inc()
        if self._breaker.failed(self._clock.monotonic()):
            self._metrics.redis_up.set(0)
            log.warning("redis does not answer, going on without it", url=self._section.url, error=type(error).__name__)

    def _answered(self) -> None:
        self._metrics.redis_up.set(1)
        if self._breaker.succeeded():
            log.info("redis answers again", url=self._section.url)


def derived_key(secret: bytes, purpose: bytes) -> bytes:
    """A key of 32 bytes for one purpose, from a secret that replicas share. What it marks in Redis nobody without it can make.

    Args:
        secret: at least 16 bytes.
        purpose: at most 16 bytes.
    """
    return hashlib.blake2b(hashlib.sha256(secret).digest(), digest_size=32, person=purpose).digest()


def _client(kind: "type[Client]", section: Redis) -> "Client":
    from redis.asyncio.retry import Retry  # noqa: PLC0415  an extra
    from redis.backoff import NoBackoff  # noqa: PLC0415

    parts = urlsplit(section.url)
    tls = parts.scheme == "rediss"
    if tls and section.ca_file is not None:
        try:
            ssl.create_default_context(cafile=section.ca_file)
        except OSError as error:
            raise StartupError(f"cannot use storage.redis.ca_file {section.ca_file}: {error.strerror or type(error).__name__}") from error
    return kind(
        host=parts.hostname or "localhost",
        port=parts.port or 6379,
        db=int(parts.path[1:] or 0),
        username=section.username,
        password=section.password.reveal() if section.password else None,
        socket_timeout=section.timeout_secs,
        socket_connect_timeout=section.timeout_secs,
        # Once: a connection that died while idle is replaced, a server that is down is not asked again and again.
        retry=Retry(NoBackoff(), 1),
        max_connections=CONNECTIONS,
        protocol=2,
        ssl=tls,
        ssl_ca_certs=section.ca_file,
        ssl_cert_reqs="required",
        ssl_check_hostname=True,
        ssl_min_version=ssl.TLSVersion.TLSv1_2,
    )
