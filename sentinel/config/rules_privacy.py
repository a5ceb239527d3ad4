"""Rules about the key that makes pseudonyms."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from sentinel.config.loader import Loaded
from sentinel.config.rule import Finding
from sentinel.config.rules_kafka import KAFKA, remote_brokers
from sentinel.config.rules_servers import is_elsewhere, redis_shares

SHORTEST_KEY_CHARS: Final = 16
_KEY_CURE = (
    "Make one with `openssl rand -hex 32 > FILE`, give every replica the same file, and name it in `privacy.pseudonym_key_file`; "
    "replicas with different keys would give one person several pseudonyms."
)


class _Sharing(NamedTuple):
    """What replicas do together."""

    what: str
    elsewhere: bool


def pseudonym_key(loaded: Loaded) -> Iterator[Finding]:
    """Replicas that work together must share one key; only on one machine may it be made up."""
    privacy, path = loaded.config.privacy, ("privacy", "pseudonym_key_file")
    if privacy.pseudonym_key is not None or privacy.pseudonym_key_file is not None or ("privacy", "pseudonym_key") in loaded.unset:
        return
    shared = list(_shared(loaded))
    if elsewhere := [sharing.what for sharing in shared if sharing.elsewhere]:
        what = f"is not set, and replicas that share {' and '.join(elsewhere)} must share one key"
        yield Finding(path, "no_pseudonym_key", what, _KEY_CURE, blocks_run=True)
    elif shared:
        what = "is not set: a key is generated in the state directory, which is right for one replica only"
        yield Finding(path, "generated_pseudonym_key", what, _KEY_CURE)


def _shared(loaded: Loaded) -> Iterator[_Sharing]:
    """What is configured that several replicas use with one key."""
    kafka, redis = loaded.config.ingestion.kafka, loaded.config.storage.redis
    if kafka is not None:
        unknown = any(unset[:3] == (*KAFKA, "brokers") for unset in loaded.unset)
        yield _Sharing("a Kafka group", unknown or remote_brokers(loaded, kafka) > 0)
    if redis is not None and redis_shares(loaded.config.storage):
        yield _Sharing("a Redis", is_elsewhere(redis.url) or ("storage", "redis", "url") in loaded.unset)


def short_key(loaded: Loaded) -> Iterator[Finding]:
    """A key that can be guessed makes pseudonyms reversible."""
    key = loaded.config.privacy.pseudonym_key
    if key is not None and len(key.reveal()) < SHORTEST_KEY_CHARS:
        what = f"holds fewer than {SHORTEST_KEY_CHARS} characters, so pseudonyms could be reversed by trying keys"
        name = "pseudonym_key" if ("privacy", "pseudonym_key") in loaded.positions else "pseudonym_key_file"
        yield Finding(("privacy", name), "short_key", what, "Make one with `openssl rand -hex 32`.", blocks_run=True)
