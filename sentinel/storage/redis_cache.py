"""Redis as the cache that replicas share in front of one store."""

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from sentinel.config.schema import Redis
from sentinel.observability.metrics import Metrics
from sentinel.storage.cache import SharedAnswer
from sentinel.storage.redis_link import RedisLink, derived_key

if TYPE_CHECKING:
    from redis.asyncio import Redis as Client

MAX_ANSWER_BYTES: Final = 1_048_576
"""Larger answers are not shared: the store is as quick."""

_FORMAT: Final = "v1"
_MARK_BYTES: Final = 32


class RedisCache:
    """`SharedAnswers` in Redis.

    A value is a keyed hash over store, question and answer, then the answer. What does not carry the right one - damaged, meant for another
    question, or written by somebody without the key - is no answer, and counted. Keys hold a hash, so nothing of a question can be read in
    Redis; answers can: whoever reads there reads what the API tells.

    Args:
        link: the server.
        section: prefix and age limit.
        store: names the store whose answers these are, the same in all replicas of it and in no replica of another. The embedded store of
            each replica is one of its own: sharing its answers makes no sense.
        secret: known to all replicas and nobody else; with different ones they do not see each other's answers.
        metrics: counts what was not usable.
    """

    def __init__(self, link: RedisLink, section: Redis, store: str, secret: bytes, metrics: Metrics) -> None:
        self._link = link
        self._section = section
        self._store = hashlib.sha256(store.encode()).digest()
        self._key = derived_key(secret, b"sentinel.answers")
        self._metrics = metrics

    async def get(self, question: bytes) -> SharedAnswer | None:
        """The answer to a question; None when there is no good one, or no Redis."""
        name = self._name(question)

        async def look(client: "Client") -> list[object]:
            async with client.pipeline(transaction=False) as pipeline:
                # Not GET: what stands there may be of any size.
                pipeline.getrange(name, 0, _MARK_BYTES + MAX_ANSWER_BYTES)
                pipeline.pttl(name)
                return list(await pipeline.execute())

        nothing: list[object] = []
        match await self._link.run(look, nothing):
            case [bytes() as value, int() as left_ms] if value:
                return self._checked(question, value, left_ms)
            case _:
                return None

    async def put(self, question: bytes, encoded: bytes, ttl_s: float) -> None:
        """Keep an answer for some seconds, at most `ttl_secs`."""
        ttl_ms = int(min(ttl_s, self._section.ttl_secs) * 1_000)
        if ttl_ms < 1 or len(encoded) > MAX_ANSWER_BYTES:
            return
        value = self._mark(question, encoded) + encoded
        name = self._name(question)

        async def keep(client: "Client") -> None:
            await client.set(name, value, px=ttl_ms)

        await self._link.run(keep, None)

    def _name(self, question: bytes) -> str:
        return f"{self._section.key_prefix}{_FORMAT}:answer:{hashlib.sha256(self._store + question).hexdigest()}"

    def _mark(self, question: bytes, encoded: bytes) -> bytes:
        hashed = hashlib.blake2b(self._store, key=self._key, digest_size=_MARK_BYTES)
        hashed.update(len(question).to_bytes(8, "big") + question)
        hashed.update(encoded)
        return hashed.digest()

    def _checked(self, question: bytes, value: bytes, left_ms: int) -> SharedAnswer | None:
        """What was read, if we wrote it. A key that never expires is none of ours; one that is gone by now is no fault."""
        mark, encoded = value[:_MARK_BYTES], value[_MARK_BYTES:]
        if left_ms == -1 or not hmac.compare_digest(mark, self._mark(question, encoded)):
            self._metrics.cache_errors.labels("bad_value").inc()
            return None
        return SharedAnswer(encoded, left_ms / 1_000) if left_ms > 0 else None
