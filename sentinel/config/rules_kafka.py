"""Rules about the `ingestion.kafka` section."""

from collections.abc import Iterator
from typing import Final

from sentinel.config.addresses import Address, is_loopback, parse_address
from sentinel.config.loader import Loaded
from sentinel.config.problems import KeyPath
from sentinel.config.rule import Finding
from sentinel.config.schema import Kafka, KafkaSecurity

KAFKA: Final[KeyPath] = ("ingestion", "kafka")


def _broker(text: str) -> Address | None:
    """Where a broker is; None when the text does not say."""
    try:
        address = parse_address(text)
    except ValueError:
        return None
    return address if address.host and address.port else None


def _known_brokers(loaded: Loaded, kafka: Kafka) -> Iterator[tuple[KeyPath, Address | None]]:
    """The brokers whose text holds no unset variable."""
    for index, text in enumerate(kafka.brokers):
        path = (*KAFKA, "brokers", index)
        if path not in loaded.unset:
            yield path, _broker(text)


def remote_brokers(loaded: Loaded, kafka: Kafka) -> int:
    """How many brokers are known not to be on this machine. One whose variable is unset is not known."""
    return sum(address is not None and not is_loopback(address.host) for _, address in _known_brokers(loaded, kafka))


def connection(loaded: Loaded) -> Iterator[Finding]:
    """Brokers that are none, commits that lose events, connections without encryption, credentials that are incomplete."""
    kafka = loaded.config.ingestion.kafka
    if kafka is None:
        return
    for path, address in _known_brokers(loaded, kafka):
        if address is None:
            yield Finding(path, "bad_address", "is not host:port", "Write it like kafka-0.example.com:9092.", "error")
    yield from _commits(kafka)
    yield from _encryption(loaded, kafka)
    yield from _credentials(kafka.security)


def _commits(kafka: Kafka) -> Iterator[Finding]:
    if kafka.enable_auto_commit:
        what = "must be false: an automatic commit confirms events before they are stored, and a crash then loses them"
        yield Finding((*KAFKA, "enable_auto_commit"), "auto_commit", what, "Set it to false, or remove it.", "error")
    if kafka.dead_letter_topic == kafka.topic:
        what = "is the topic that is consumed: every dead letter would be read and rejected again, without end"
        yield Finding((*KAFKA, "dead_letter_topic"), "same_topic", what, "Name another topic.", "error")
    if kafka.session_timeout_ms >= kafka.rebalance_timeout_ms and kafka.group_instance_id is None:
        what = "is not below rebalance_timeout_ms: a rebalance would wait longer for a dead replica than for a living one"
        yield Finding((*KAFKA, "session_timeout_ms"), "timeouts", what, "Lower it, or raise rebalance_timeout_ms.")


def _encryption(loaded: Loaded, kafka: Kafka) -> Iterator[Finding]:
    security = kafka.security
    if security.protocol in {"SSL", "SASL_SSL"} or security.insecure:
        return
    remote = remote_brokers(loaded, kafka)
    if remote:
        what = f"has {remote} that are reached without encryption and are not on this machine"
        cure = "Set `security.protocol` to SSL or SASL_SSL, or `security.insecure: true` if the network is trusted."
        yield Finding((*KAFKA, "brokers"), "plaintext_kafka", what, cure, blocks_run=True)


def _credentials(security: KafkaSecurity) -> Iterator[Finding]:
    path = (*KAFKA, "security")
    has_password = security.password is not None or security.password_file is not None
    if security.protocol.startswith("SASL_") and not (security.username and has_password):
        cure = "Give `username`, and `password_file` or `password`."
        yield Finding((*path, "protocol"), "sasl_incomplete", "uses SASL without a user and a password", cure, blocks_run=True)
    if not security.protocol.startswith("SASL_") and (security.username or has_password):
        what = f"is {security.protocol}, which does not use the user and password that are set"
        yield Finding((*path, "protocol"), "sasl_unused", what, "Set it to SASL_SSL, or remove the user and the password.")
    if (security.cert_file is None) != (security.key_file is None):
        there, missing = ("key_file", "cert_file") if security.cert_file is None else ("cert_file", "key_file")
        yield Finding((*path, there), "half_certificate", f"is set without {missing}", "Set both, or neither.", "error")
