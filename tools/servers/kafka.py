"""A real Apache Kafka: one KRaft broker, small, quick to start, with its data in a temporary directory.

Settings follow https://kafka.apache.org/documentation/#configuration; each that differs from the default has its reason beside it.
"""

import base64
import re
import socket
import struct
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tools.servers.install import run_to_end
from tools.servers.java import find_jars, find_java, install_jars
from tools.servers.process import NotInstalledError, ServerError, ServerProcess, free_port

NAME = "Apache Kafka"
_POM = Path(__file__).with_name("kafka.pom.xml")
_SMALL_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_API_VERSIONS_REQUEST = struct.pack(">ihhih", 10, 18, 0, 1, -1)  # size, key 18, version 0, correlation id 1, no client id
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxied_port},CONTROLLER://127.0.0.1:{controller_port}
# Brokers tell clients where to connect: those that come through a proxy are told its address.
advertised.listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxy_port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={directory}/log
num.partitions={partitions}
# One broker holds one replica of everything, and few partitions of its own topics start faster.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
# Groups form at once, and a test may choose a short session timeout.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
# After a crash, a broker waits until its former self counts as gone.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
# Records keep whatever time their producer gave them, so age must not delete them.
log.retention.ms=-1
# A small heap has no room for the default of 128 MB.
log.cleaner.dedupe.buffer.size=4194304
"""


def version() -> str:
    """The version of Kafka that is installed and run here."""
    found = re.search(r"<kafka\.version>(.+)</kafka\.version>", _POM.read_text(encoding="utf-8"))
    if found is None:
        raise ServerError(f"{_POM} names no kafka.version")
    return found[1]


def install() -> None:
    """Install the broker and, where we may, its Java; quick when they are there. Raises ServerError."""
    install_jars(_POM)


@contextmanager
def kafka(partitions: int = 4) -> Iterator["Broker"]:
    """A running broker, stopped at the end and its data removed.

    Args:
        partitions: of a topic that does not say how many it wants.

    Raises:
        NotInstalledError: it, or its Java, is not on this machine.
        ServerError: it did not start.
    """
    with tempfile.TemporaryDirectory(prefix="sentinel-kafka-", ignore_cleanup_errors=True) as directory:
        broker = Broker(Path(directory), partitions)
        try:
            broker.start()
            yield broker
        finally:
            broker.kill()


class Broker:
    """One Apache Kafka broker with its data in one directory, on one port as long as this object lives.

    Calls that are not coroutines block until done; from an event loop use `asyncio.to_thread`. Topics that a client asks for are created
    with the broker's number of partitions, as by default everywhere.

    Attributes:
        proxy_port: where a proxy may stand that passes everything on to `proxied_port`; clients that come there stay behind it.
    """

    def __init__(self, directory: Path, partitions: int = 4) -> None:
        """Nothing starts yet.

        Args:
            directory: an empty directory for its data, log and settings.
            partitions: of a topic that does not say how many it wants.

        Raises:
            NotInstalledError: it, or its Java, is not on this machine.
        """
        self.partitions = partitions
        self._port = free_port()
        self.proxied_port, self.proxy_port = free_port(), free_port()
        self._properties = directory / "server.properties"
        try:
            self._java, jars = find_java(), find_jars(_POM)
        except NotInstalledError as reason:
            raise NotInstalledError(f"Apache Kafka is not installed: {reason}. Run: python -m tools.servers install") from reason
        self._classpath = {"CLASSPATH": f"{jars}/*"}
        self._process = ServerProcess(
            NAME,
            [
                *(self._java, "-Xmx256m", "-Xms64m", *_SMALL_JVM),
                *("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "kafka.Kafka", str(self._properties)),
            ],
            log=directory / "server.log",
            environment=self._classpath,
        )

    @property
    def bootstrap(self) -> str:
        """Its address as host:port."""
        return f"127.0.0.1:{self._port}"

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process.running

    def start(self) -> None:
        """Start it, or start it again with the same data and port; returns when it answers. Raises ServerError."""
        if not self._properties.exists():
            self._format()
        self._process.start(self._answers)

    def stop(self) -> None:
        """Shut it down in order. Twice is harmless."""
        self._process.stop()

    def kill(self) -> None:
        """End it as a crash would (SIGKILL). Twice is harmless."""
        self._process.kill()

    async def create_topic(self, name: str, partitions: int | None = None) -> None:
        """Create a topic and return when every partition of it answers.

        Args:
            name: a topic that does not exist.
            partitions: how many; the broker's default when None.

        Raises:
            ServerError: the broker refused.
        """
        count = partitions or self.partitions
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            reply = await admin.create_topics([NewTopic(name, count, 1)])
        finally:
            await admin.close()
        for _, code, message in reply.topic_errors:
            if code:
                raise ServerError(f"Apache Kafka refused to create the topic {name!r}: {message or f'error code {code}'}")
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap)
        await consumer.start()
        try:
            await consumer.end_offsets([TopicPartition(name, partition) for partition in range(count)])
        finally:
            await consumer.stop()

    def _format(self) -> None:
        """Write the settings and an empty metadata log."""
        settings = _PROPERTIES.format(
            port=self._port,
            proxied_port=self.proxied_port,
            proxy_port=self.proxy_port,
            controller_port=free_port(),
            directory=self._properties.parent,
            partitions=self.partitions,
        )
        draft = self._properties.with_suffix(".draft")
        draft.write_text(settings, encoding="utf-8")
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # One in 64 ids begins with a hyphen, which would be taken for an option.
        storage_tool = [
            self._java,
            "-Xmx128m",
            *_SMALL_JVM,
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={cluster}",
            "-c",
            str(draft),
        ]
        run_to_end(storage_tool, self._classpath)
        draft.rename(self._properties)

    def _answers(self) -> bool:
        """Whether it speaks the protocol: an open port alone is not enough."""
        try:
            with closing(socket.create_connection(("127.0.0.1", self._port), timeout=5)) as connection:
                connection.sendall(_API_VERSIONS_REQUEST)
                return len(connection.recv(8)) > 0
        except OSError:
            return False
