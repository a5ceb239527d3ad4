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


async def ask(section: Redis) -> tuple[float, float] | str:
    """What the server's clock says and how long the answer took, both in seconds; else the kind of what went wrong.

    Raises StartupError when the client is missing.
    """
    clock = SystemClock()
    link = RedisLink(section, clock, Metrics())
    await link.open()
    reasons: list[str] = []

    async def time_there(client: "Client") -> tuple[int, int]:
        try:
            return await client.time()
        except Exception as error:
            reasons.append(type(error).__name__)
            raise

    began = clock.monotonic()
    try:
        told = await link.run(time_there, None)
    finally:
        await link.close()
    if told is None:
        return reasons[-1] if reasons else f"no answer within {section.timeout_secs:g} s"
    seconds, micros = told
    return seconds + micros / 1e6, clock.monotonic() - began


async def _run(config: Config) -> Sequence[Finding]:
    section = config.storage.redis
    if section is None:
        return []
    answer = await ask(section)
    if isinstance(answer, str):
        cure = "See that it runs, and that storage.redis.url, username and password are right; until then the daemon does without it."
        return [warning("redis", f"{section.url}: {answer}", cure)]
    _, took_s = answer
    return [ok("redis", f"{section.url} answers in {took_s * 1e3:.1f} ms")]


REDIS: Final = Check("redis", _run, lambda config: config.storage.redis is not None and config.storage.redis.enabled)
