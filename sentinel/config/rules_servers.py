"""Rules about the servers that the daemon connects to, but for Kafka, and about the stores that are left unused."""

from collections.abc import Iterator
from typing import Final

from sentinel.config.addresses import host_of_url, is_loopback
from sentinel.config.loader import Loaded
from sentinel.config.problems import KeyPath
from sentinel.config.rule import Finding
from sentinel.config.schema import Config, InfluxDB, RabbitMQ, Redis, Storage

_ENCRYPTED_SCHEME: Final = {"http": "https", "redis": "rediss", "amqp": "amqps"}


def is_elsewhere(url: str) -> bool:
    """Whether a URL may lead to another machine."""
    return not is_loopback(host_of_url(url))


def plaintext(loaded: Loaded) -> Iterator[Finding]:
    """Connections that could be read on the way."""
    for path, server in _servers(loaded.config):
        scheme = server.url.partition(":")[0].lower()
        if scheme in _ENCRYPTED_SCHEME and is_elsewhere(server.url) and not server.insecure:
            what = f"begins with {scheme}://: everything sent there can be read on the way"
            cure = f"Use {_ENCRYPTED_SCHEME[scheme]}://, or set `insecure: true` if the network is trusted."
            yield Finding((*path, "url"), "plaintext", what, cure, blocks_run=True)
    state = loaded.config.state
    if state.url is not None and state.tls == "off" and is_elsewhere(state.url) and not state.insecure:
        what = "is off, and the database is on another machine: everything sent there can be read on the way"
        yield Finding(
            ("state", "tls"), "plaintext", what, "Set it to verify, or `insecure: true` if the network is trusted.", blocks_run=True
        )
    saved = loaded.config.state.checkpoints
    if (
        saved.endpoint is not None
        and not saved.endpoint.lower().startswith("https:")
        and is_elsewhere(saved.endpoint)
        and not saved.insecure
    ):
        what = "does not begin with https://: the detectors' state, with its names, can be read on the way"
        cure = "Use https://, or set `insecure: true` if the network is trusted."
        yield Finding(("state", "checkpoints", "endpoint"), "plaintext", what, cure, blocks_run=True)


def checkpoint_credentials(loaded: Loaded) -> Iterator[Finding]:
    """Half of a pair of credentials, and a bucket's settings without a bucket."""
    saved, place = loaded.config.state.checkpoints, ("state", "checkpoints")
    if (saved.access_key_id is None) != (saved.secret_access_key is None and saved.secret_access_key_file is None):
        what = "has only one of access_key_id and secret_access_key"
        cure = "Set both, or neither for what the environment or the machine's role gives."
        yield Finding(place, "half_credentials", what, cure, severity="error")
    if saved.url is None and place in loaded.positions:
        yield Finding((*place, "url"), "unused_checkpoints", "is not set, so this section has no effect", "Set it to s3://BUCKET/PREFIX.")
    if saved.url is not None and loaded.config.detection.baseline.persistence_path is not None:
        what = "is set, so detection.baseline.persistence_path is not used"
        yield Finding((*place, "url"), "unused_directory", what, "Remove one of the two.")


def _servers(config: Config) -> Iterator[tuple[KeyPath, InfluxDB | Redis | RabbitMQ]]:
    """The servers that are connected to by URL; the webhook has rules of its own."""
    storage, alerting = config.storage, config.alerting
    if storage.influxdb is not None:
        yield ("storage", "influxdb"), storage.influxdb
    if storage.redis is not None and storage.redis.enabled:
        yield ("storage", "redis"), storage.redis
    if alerting.rabbitmq is not None and alerting.enabled is not False:
        yield ("alerting", "rabbitmq"), alerting.rabbitmq


def redis_shares(storage: Storage) -> bool:
    """Whether replicas share anything in Redis: event ids, or answers of a store that all of them ask."""
    if storage.redis is None or not storage.redis.enabled:
        return False
    return storage.redis.dedupe or (storage.influxdb is not None and storage.cache is not None)


def unused_stores(loaded: Loaded) -> Iterator[Finding]:
    """Sections that have no effect beside, or without, another one."""
    storage = loaded.config.storage
    if storage.influxdb is not None and ("storage", "embedded") in loaded.positions:
        what = "is not used: `influxdb` is set, and events and anomalies go there"
        yield Finding(("storage", "embedded"), "unused_store", what, "Remove one of the two sections.")
    if storage.redis is not None and storage.redis.enabled and not redis_shares(storage):
        missing = "`influxdb`: the embedded store is no other replica's" if storage.influxdb is None else "`cache`"
        what = f"has no effect: `dedupe` is false, and answers are not shared without {missing}"
        yield Finding(("storage", "redis"), "unused_redis", what, "Set `dedupe` to true, or `enabled` to false.")
