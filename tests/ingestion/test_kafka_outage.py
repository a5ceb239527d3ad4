"""A broker that dies and comes back, and brokers that cannot be used at all."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from socket import create_server

import pytest
from kafka_bench import DONE, Reader, produce, section, until, until_committed

from sentinel.config.schema import Kafka, KafkaSecurity
from sentinel.core.errors import StartupError
from sentinel.ingestion import kafka_client
from sentinel.ingestion.dead_letter import KafkaDeadLetters
from tools.servers.kafka import Broker
from tools.servers.process import free_port

Topic = Callable[..., Awaitable[str]]


def numbered(first: int, end: int) -> list[bytes]:
    """Values that say which they are."""
    return [f"v{i}".encode() for i in range(first, end)]


async def test_a_broker_that_dies_and_comes_back(own_kafka: Broker) -> None:
    """Killed under a reader: told within seconds, commits are kept, and everything goes on once without our doing."""
    await own_kafka.create_topic("t", 2)
    config = section(own_kafka, "t", linger_ms=0)
    await produce(own_kafka, "t", numbered(0, 50), partition=1)
    async with Reader(config) as reader:
        await reader.until_read(50)
        await until_committed(own_kafka, config, {0: 0, 1: 50})
        reader.keeping = True
        await produce(own_kafka, "t", numbered(50, 60), partition=1)
        await reader.until_read(60)
        await asyncio.to_thread(own_kafka.kill)
        await until(lambda: "brokers" in reader.source.faults, limit_s=5)
        for delivery in reader.kept:
            await reader.source.ack(delivery, DONE)
        reader.keeping = False
        await asyncio.to_thread(own_kafka.start)
        await until(lambda: not reader.source.faults)
        await until_committed(own_kafka, config, {0: 0, 1: 60})
        await produce(own_kafka, "t", numbered(60, 100), partition=1)
        await reader.until_read(100)
        await until_committed(own_kafka, config, {0: 0, 1: 100})
        assert reader.offsets[1] == list(range(100))
        await asyncio.to_thread(own_kafka.kill)
        async with asyncio.timeout(12):  # a source stops although no broker answers
            await reader.source.close()


# ------------------------------------------------------------------------------------------------------------- start-up


async def refusal(config: Kafka) -> str:
    """Why the source does not start."""
    with pytest.raises(StartupError) as refused:
        async with Reader(config):
            pass
    return str(refused.value)


async def test_no_broker_is_told_at_once() -> None:
    """Nothing listens: the message names the address, the reason and the setting."""
    port = free_port()
    message = await refusal(Kafka(brokers=[f"127.0.0.1:{port}"]))
    assert f"127.0.0.1:{port}: Connection refused" in message
    assert "ingestion.kafka.brokers" in message


async def test_a_silent_port_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something accepts connections and says nothing: start-up ends within its limit."""
    monkeypatch.setattr(kafka_client, "REQUEST_LIMIT_MS", 300)
    with closing(create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        message = await refusal(Kafka(brokers=[f"127.0.0.1:{port}"]))
    assert f"127.0.0.1:{port}" in message
    assert "ingestion.kafka.security" in message


async def test_start_up_has_an_end() -> None:
    """Whatever hangs while starting is given up at the limit, with the brokers' names."""
    with pytest.raises(StartupError, match=r"127\.0\.0\.1:9092 did not let us in within 0\.05 s"):
        async with kafka_client.starting(Kafka(brokers=["127.0.0.1:9092"]), 0.05):
            await asyncio.Event().wait()


async def test_a_missing_topic_is_told_with_its_cure(kafka: Broker) -> None:
    """The message holds the command that creates the topic, and asking did not create it."""
    config = section(kafka, "not.there")
    for _ in range(2):
        message = await refusal(config)
        assert f"kafka-topics.sh --bootstrap-server {kafka.bootstrap} --create --topic not.there" in message


async def test_tls_to_a_plaintext_listener_is_told(kafka: Broker, topic: Topic) -> None:
    """The wrong protocol: a TLS handshake with a broker that speaks plaintext."""
    message = await refusal(section(kafka, await topic(), security=KafkaSecurity(protocol="SSL")))
    assert "no Kafka broker answers over SSL" in message
    assert "listener is of this protocol" in message


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"ca_file": "missing.pem"}, "ca_file missing.pem: No such file"),
        ({"ca_file": __file__}, f"ca_file {__file__}: "),
        ({"cert_file": "missing.pem", "key_file": "key.pem"}, "cert_file missing.pem with key_file key.pem: No such file"),
    ],
)
async def test_a_certificate_file_that_cannot_be_used_is_named(files: dict[str, str], named: str) -> None:
    """The message holds the setting and the file, not only the library's words."""
    with pytest.raises(StartupError) as refused:
        kafka_client.client_options(Kafka(brokers=["127.0.0.1:9092"], security=KafkaSecurity(protocol="SSL", **files)))
    assert named in str(refused.value)


def test_passwords_reach_only_the_client() -> None:
    """SASL settings are handed over; without SASL none is."""
    security = KafkaSecurity.model_validate({"protocol": "SASL_PLAINTEXT", "username": "u", "password": "hunter22"})
    options = kafka_client.client_options(Kafka(brokers=["127.0.0.1:9092"], security=security))
    assert (options["sasl_mechanism"], options["sasl_plain_username"], options["sasl_plain_password"]) == ("SCRAM-SHA-512", "u", "hunter22")
    plain = security.model_copy(update={"protocol": "PLAINTEXT"})
    assert "sasl_plain_password" not in kafka_client.client_options(Kafka(brokers=["127.0.0.1:9092"], security=plain))


# ------------------------------------------------------------------------------------------------------------------ TLS


class TlsBroker(Broker):
    """A broker with a TLS listener beside the plaintext one, and two certificate authorities of which one signed its certificate."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "data")
        (directory / "data").mkdir()
        self._directory = directory
        self._tls_port = free_port()

    @property
    def tls(self) -> str:
        """The TLS listener as host:port; its certificate is for this host name only."""
        return f"localhost:{self._tls_port}"

    def authority(self, name: str) -> str:
        """The PEM file of a certificate authority; `right` or `wrong`."""
        return str(self._directory / f"{name}.pem")

    def _format(self) -> None:
        super()._format()
        self._certificates()
        keystore = self._directory / "keystore.pem"
        keystore.write_text((self._directory / "broker.key").read_text() + (self._directory / "broker.pem").read_text())
        settings = self._properties.read_text()
        address = f",SSL://localhost:{self._tls_port}"
        settings = settings.replace(f"listeners=PLAINTEXT://{self.bootstrap}", f"listeners=PLAINTEXT://{self.bootstrap}{address}")
        settings = settings.replace("protocol.map=", "protocol.map=SSL:SSL,")
        self._properties.write_text(settings + f"ssl.keystore.type=PEM\nssl.keystore.location={keystore}\n")

    def _certificates(self) -> None:
        for name in ("right", "wrong"):
            self._openssl(f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem")
        self._openssl("req -newkey rsa:2048 -nodes -subj /CN=broker -keyout broker.key -out broker.csr")
        (self._directory / "names").write_text("subjectAltName=DNS:localhost")
        self._openssl("x509 -req -in broker.csr -CA right.pem -CAkey right.key -CAcreateserial -days 2 -extfile names -out broker.pem")

    def _openssl(self, arguments: str) -> None:
        subprocess.run(["openssl", *arguments.split()], cwd=self._directory, check=True, capture_output=True)  # noqa: S607  our own words


@pytest.fixture
def tls_kafka(kafka: Broker, tmp_path: Path) -> Iterator[TlsBroker]:
    """A broker with a TLS listener."""
    del kafka  # where that one cannot run, this one cannot either
    broker = TlsBroker(tmp_path)
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()


async def test_tls_is_verified(tls_kafka: TlsBroker) -> None:
    """The right authority and name: records come. Another authority, the system's, another name, no TLS: refused, with the reason."""
    await tls_kafka.create_topic("t", 1)
    await produce(tls_kafka, "t", numbered(0, 5))
    right = KafkaSecurity(protocol="SSL", ca_file=tls_kafka.authority("right"))
    config = section(tls_kafka, "t", brokers=[tls_kafka.tls], security=right)
    async with Reader(config) as reader:
        await reader.until_read(5)
    letters = KafkaDeadLetters(config)
    await letters.open()
    await letters.close()
    for authority in (tls_kafka.authority("wrong"), None):
        other = KafkaSecurity(protocol="SSL", ca_file=authority)
        assert "certificate not trusted" in await refusal(config.model_copy(update={"security": other}))
    by_number = tls_kafka.tls.replace("localhost", "127.0.0.1")
    assert "IP address mismatch" in await refusal(config.model_copy(update={"brokers": [by_number]}))
    message = await refusal(config.model_copy(update={"security": KafkaSecurity()}))
    assert "no Kafka broker answers us over PLAINTEXT" in message
