"""Several workers of one host: what a configuration must have for that, and what each of them makes of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sentinel.config.addresses import parse_address
from sentinel.config.loader import Loaded
from sentinel.config.rule import Finding
from sentinel.config.schema import Config

MOST_WORKERS: Final = 256
_LAST_PORT: Final = 65_535


def several(loaded: Loaded, count: int) -> Iterator[Finding]:
    """Why so many workers cannot work by this configuration: everything they share must be made for several processes."""
    config = loaded.config
    if config.ingestion.kafka is None:
        what = "is not set: workers share a Kafka topic as members of one consumer group, and nothing else can be divided among them"
        yield _refused(("ingestion", "kafka"), what, "Set it, or run one worker.")
    if config.ingestion.files.paths:
        what = "names files, which every worker would read"
        yield _refused(("ingestion", "files", "paths"), what, "Read them with `sentinel run --input FILE` and one worker.")
    if config.storage.influxdb is None:
        what = "is not set: a SQLite file belongs to one process, so each worker would know a part of the events and none all of them"
        yield _refused(("storage", "influxdb"), what, "Set it, or run one worker.")
    if config.state.url is None:
        what = "is not set: workers share alerts, silences, the outbox and API keys, and a SQLite file belongs to one process"
        yield _refused(("state", "url"), what, "Set it to postgresql://HOST:PORT/DATABASE, or run one worker.")
    privacy = config.privacy
    if privacy.pseudonym_key is None and privacy.pseudonym_key_file is None and ("privacy", "pseudonym_key") not in loaded.unset:
        what = "is not set: each worker would make a key of its own, and one person would get several pseudonyms"
        yield _refused(("privacy", "pseudonym_key_file"), what, "Make one with `openssl rand -hex 32 > FILE`, and name it.")
    if config.api.advertise_url is not None and urlsplit(config.api.advertise_url).port is None:
        what = "names no port: each worker has its own, and adds to this one"
        yield _refused(("api", "advertise_url"), what, "Write it like http://10.0.0.7:8080, or remove it.")
    port = _port(config)
    if port and port + count - 1 > _LAST_PORT:
        what = f"leaves no ports for {count} workers: each takes the next one"
        yield _refused(("api", "bind_addr"), what, f"Set its port to {_LAST_PORT - count + 1} or less.")


def of_worker(config: Config, number: int) -> Config:
    """The configuration of one worker.

    It has a state directory of its own, `worker-NUMBER` in the configured one; the id of its membership, where one is configured, ends in
    `-NUMBER`; the first listens on the configured port and the others on the next ones, or all on any free port where that is 0. So does an
    advertised port.

    Args:
        config: of all workers.
        number: from 1.
    """
    kafka, api = config.ingestion.kafka, config.api
    if kafka is not None and kafka.group_instance_id is not None:
        kafka = kafka.model_copy(update={"group_instance_id": f"{kafka.group_instance_id}-{number}"})
    if port := _port(config):
        host = api.bind_addr.rpartition(":")[0]
        api = api.model_copy(update={"bind_addr": f"{host}:{port + number - 1}"})
    if api.advertise_url is not None and (advertised := urlsplit(api.advertise_url)).port is not None:
        place = f"{advertised.netloc.rpartition(':')[0]}:{advertised.port + number - 1}"
        api = api.model_copy(update={"advertise_url": advertised._replace(netloc=place).geturl()})
    changed = {
        "state_dir": str(Path(config.state_dir) / f"worker-{number}"),
        "ingestion": config.ingestion.model_copy(update={"kafka": kafka}),
        "api": api,
    }
    return config.model_copy(update=changed)


def _refused(path: tuple[str, ...], what: str, cure: str) -> Finding:
    return Finding(path, "not_for_workers", what, cure, "error")


def _port(config: Config) -> int:
    """The port of the API; 0 = any free one, as a bad address is, which another rule tells of."""
    try:
        return parse_address(config.api.bind_addr).port or 0
    except ValueError:
        return 0
