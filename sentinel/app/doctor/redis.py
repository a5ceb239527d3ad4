"""Redis: whether it answers in time. The daemon does without it, so nothing here is a failure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from sentinel.app.clock import SystemClock
from sentinel.app.doctor.check import Check, Finding, ok, warning
from sentinel.config.schema import Config, Redis
from sentinel.observability.metrics import Metrics
from sentinel.storage.redis_link import RedisLink

if TYPE_CHECKING:
    from redis.asyncio import Redis as Client


PATIENCE_S: Final = 5.0
"""How long one answer is waited for: a slow server is told from one that is not there."""
ASKED: Final = 3
"""Times; the quickest counts, since the first has to connect and this machine may be busy."""


async def ask(section: Redis) -> tuple[float, float] | str:
    """What the server's clock says and how long the quickest answer took, both in seconds; else what went wrong.

    Raises StartupError when the client is missing.
    """
    clock = SystemClock()
    link = RedisLink(section.model_copy(update={"timeout_secs": PATIENCE_S}), clock, Metrics())
    await link.open()
    reasons: list[str] = []

    async def time_there(client: "Client") -> tuple[float, float]:
        began = clock.monotonic()
        try:
            seconds, micros = await client.time()
        except Exception as error:
            reasons.append(type(error).__name__)
            raise
        return seconds + micros / 1e6, clock.monotonic() - began

    try:
        answers = [await link.run(time_there, None) for _ in range(ASKED)]
    finally:
        await link.close()
    came = [answer for answer in answers if answer is not None]
    if not came:
        return reasons[-1] if reasons else f"no answer within {PATIENCE_S:g} s"
    return min(came, key=lambda answer: answer[1])


async def _run(config: Config) -> Sequence[Finding]:
    section = config.storage.redis
    if section is None:
        return []
    answer = await ask(section)
    if isinstance(answer, str):
        cure = "See that it runs, and that storage.redis.url, username and password are right; until then the daemon does without it."
        return [warning("redis", f"{section.url}: {answer}", cure)]
    _, took_s = answer
    told = f"{section.url} answers in {took_s * 1e3:.1f} ms"
    if took_s > section.timeout_secs:
        cure = "Until it is quicker, or storage.redis.timeout_secs is larger, the daemon does without it."
        return [warning("redis", f"{told}, more than storage.redis.timeout_secs allows ({section.timeout_secs:g} s)", cure)]
    return [ok("redis", told)]


REDIS: Final = Check("redis", _run, lambda config: config.storage.redis is not None and config.storage.redis.enabled)
