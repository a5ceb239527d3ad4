"""Event ids of stored events, remembered in Redis for all partitions and replicas: best-effort help against repeats."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import numpy as np

from sentinel.config.schema import Redis
from sentinel.core.batch import Bool, CleanBatch
from sentinel.observability.metrics import Metrics
from sentinel.storage.redis_link import RedisLink, derived_key

if TYPE_CHECKING:
    from redis.asyncio import Redis as Client

IDS_AT_ONCE: Final = 1_000
"""Ids in one command: Redis does one command at a time, for everybody."""

_FORMAT: Final = b"v1"
_NAME_BYTES, _OWNER_BYTES, _MARK_BYTES = 16, 16, 8
# A pipeline of as many SETs costs the client ten times as much.
_REMEMBER: Final = "for i = 1, #KEYS do redis.call('SET', KEYS[i], ARGV[i + 1], 'PX', ARGV[1], 'NX') end"


class _Identified(NamedTuple):
    """An event with an id: its place in the batch, its key in Redis, and who it is there."""

    place: int
    key: bytes
    owner: bytes


class SharedRecentIds:
    """Which events were already stored from another place in the logs.

    An id is remembered after its event was stored, never before, together with the record it came in (its log and offset). So:

    - An event is called a repeat only when another record with its id is known to be stored. A crash between looking and storing loses
      nothing: no claim stays behind, and a caller who got no answer may send the event again through any replica.
    - The same record read again is no repeat of itself. It is judged and learned as before; the store knows by its position what it has.
    - Two repeats on their way at the same time are both stored. So are repeats later than `dedupe_secs`, without Redis, or after it lost
      its data. Repeats within a partition are found without Redis.

    What is read from Redis must carry a keyed hash that only replicas can make: nobody can have an event left out by writing there.

    Costs about 3 us of CPU per event with an id for looking and as much for remembering, a round trip each, and 200 bytes of Redis' memory
    per id for `dedupe_secs`.

    Args:
        link: the server.
        section: prefix and how long ids are remembered.
        secret: known to all replicas and nobody else.
        metrics: counts what was not usable.
    """

    def __init__(self, link: RedisLink, section: Redis, secret: bytes, metrics: Metrics) -> None:
        self._link = link
        self._prefix = section.key_prefix.encode() + _FORMAT + b":id:"
        self._ttl_ms = max(1, int(section.dedupe_secs * 1_000))
        self._key = derived_key(secret, b"sentinel.ids")
        self._metrics = metrics

    async def unseen(self, batch: CleanBatch) -> Bool:
        """bool[n]: false for events that are known to be stored from another record. All true without Redis. Changes nothing.

        Called before the batch is scored, off the worker thread.
        """
        fresh = np.ones(len(batch), np.bool_)
        for part in _parts(self._identified(batch)):
            found = await self._link.run(_look([event.key for event in part]), None)
            if found is None:
                break
            for event, value in zip(part, found, strict=True):
                if value is not None:
                    fresh[event.place] = self._is_own(event, value)
        return fresh

    async def remember(self, batch: CleanBatch) -> None:
        """The events of a batch are stored. Called after the store confirmed it; without Redis nothing happens."""
        for part in _parts(self._identified(batch)):
            values = [event.owner + self._mark(event) for event in part]
            if not await self._link.run(_keep([event.key for event in part], values, self._ttl_ms), otherwise=False):
                break

    def _identified(self, batch: CleanBatch) -> list[_Identified]:
        """The events that have an id."""
        log = hashlib.blake2b(repr(tuple(batch.source)).encode(), digest_size=_OWNER_BYTES - 8).digest()
        tenants = [name.tenant.encode() + b"\0" for name in batch.names]
        rows = zip(batch.event_ids, batch.series.tolist(), batch.offsets.tolist(), strict=True)
        return [
            _Identified(
                place, self._prefix + self._hashed(tenants[series] + event_id.encode(), _NAME_BYTES), log + offset.to_bytes(8, "big")
            )
            for place, (event_id, series, offset) in enumerate(rows)
            if event_id is not None
        ]

    def _is_own(self, event: _Identified, value: bytes) -> bool:
        """Whether the record remembered for an id is the event's own. A value that is not ours says nothing about anybody."""
        owner, mark = value[:_OWNER_BYTES], value[_OWNER_BYTES:]
        if owner == event.owner:
            return True
        if hmac.compare_digest(mark, self._mark(event._replace(owner=owner))):
            return False
        self._metrics.cache_errors.labels("bad_value").inc()
        return True

    def _mark(self, event: _Identified) -> bytes:
        return self._hashed(event.key + event.owner, _MARK_BYTES)

    def _hashed(self, content: bytes, size_bytes: int) -> bytes:
        return hashlib.blake2b(content, key=self._key, digest_size=size_bytes).digest()


def _parts(events: Sequence[_Identified]) -> Iterator[Sequence[_Identified]]:
    return (events[start : start + IDS_AT_ONCE] for start in range(0, len(events), IDS_AT_ONCE))


def _look(keys: list[bytes]) -> "Callable[[Client], Awaitable[list[bytes | None] | None]]":
    async def look(client: "Client") -> list[bytes | None] | None:
        # A key of another type is answered like one that is not there.
        return cast("list[bytes | None]", await client.mget(keys))

    return look


def _keep(keys: list[bytes], values: list[bytes], ttl_ms: int) -> "Callable[[Client], Awaitable[bool]]":
    async def keep(client: "Client") -> bool:
        await client.register_script(_REMEMBER)(keys, [ttl_ms, *values])
        return True

    return keep
