"""The store a configuration asks for, and the caches around it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sentinel.config.schema import Config
from sentinel.core.ports import Clock, Query
from sentinel.observability.metrics import Metrics
from sentinel.storage.cache import CachedQuery
from sentinel.storage.embedded import EmbeddedStore
from sentinel.storage.influx import InfluxStore
from sentinel.storage.redis_cache import RedisCache
from sentinel.storage.redis_link import RedisLink
from sentinel.storage.shared_ids import SharedRecentIds


@dataclass(frozen=True, slots=True)
class Stores:
    """The parts, in the order they are opened.

    Attributes:
        redis: the link to Redis, None without one.
        store: where events go.
        cache: the query cache, None without one.
        query: who answers questions: the cache or the store.
        shared_ids: ids of events stored by any replica; None when they are not shared.
    """

    redis: RedisLink | None
    store: EmbeddedStore | InfluxStore
    cache: CachedQuery | None
    query: Query
    shared_ids: SharedRecentIds | None


def stores_of(config: Config, database: Path, thread: ThreadPoolExecutor, key: bytes, clock: Clock, metrics: Metrics) -> Stores:
    """Make them; nothing is opened.

    Args:
        config: checked by the caller.
        database: file of the embedded store.
        thread: the worker's, which also encodes what is written.
        key: secret of the installation, the same in all replicas that share a Redis.
        clock: ages answers.
        metrics: told by all parts.
    """
    section = config.storage
    store: EmbeddedStore | InfluxStore = (
        EmbeddedStore(section.embedded, database, thread=thread)
        if section.influxdb is None
        else InfluxStore(section.influxdb, clock, metrics, thread=thread)
    )
    redis = RedisLink(section.redis, clock, metrics) if section.redis is not None and section.redis.enabled else None
    shared = None
    if redis is not None and section.redis is not None and section.influxdb is not None:
        # Not over the embedded store: each replica has a file of its own.
        influx = section.influxdb
        place = f"influxdb:{influx.url}/{influx.org}/{influx.telemetry_bucket}/{influx.anomaly_bucket}"
        shared = RedisCache(redis, section.redis, place, key, metrics)
    cache = CachedQuery(store, section.cache, clock, metrics, shared) if section.cache is not None else None
    ids = None
    if redis is not None and section.redis is not None and section.redis.dedupe:
        ids = SharedRecentIds(redis, section.redis, key, metrics)
    return Stores(redis, store, cache, cache or store, ids)
