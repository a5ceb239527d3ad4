"""What consumer, producer and admin client share: how to reach the brokers, and errors a person can act on."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from errno import errorcode
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError, for_code

from sentinel.config.addresses import parse_address
from sentinel.config.schema import Kafka, KafkaSecurity
from sentinel.core.errors import StartupError
from sentinel.observability.logs import get

START_LIMIT_S: Final = 30.0
"""Brokers that take longer to let us in are told about; what was asked of them is given up."""

CONNECT_LIMIT_S: Final = 5.0
REQUEST_LIMIT_MS: Final = 10_000
RETRY_EVERY_S: Final = 0.1
RETRY_BACKOFF_MS: Final = 500
"""While brokers are away the library logs several lines at each try."""

log = get(__name__)


def client_options(config: Kafka) -> dict[str, Any]:
    """Keyword arguments for any aiokafka client. Certificates and host names are always verified.

    Raises StartupError for a file that cannot be used.
    """
    security = config.security
    options: dict[str, Any] = {
        "bootstrap_servers": config.brokers,
        "security_protocol": security.protocol,
        "client_id": "llm-sentinel",
        "retry_backoff_ms": RETRY_BACKOFF_MS,
    }
    if security.protocol.endswith("SSL"):
        options["ssl_context"] = _tls(security)
    if security.protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": security.sasl_mechanism,
            "sasl_plain_username": security.username,
            "sasl_plain_password": security.password.reveal() if security.password else None,
        }
    return options


def _tls(security: KafkaSecurity) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=security.ca_file)
    except OSError as error:
        raise StartupError(f"cannot use ingestion.kafka.security.ca_file {security.ca_file}: {_reason(error)}") from error
    if security.cert_file:
        try:
            context.load_cert_chain(security.cert_file, security.key_file)
        except OSError as error:
            files = f"cert_file {security.cert_file} with key_file {security.key_file}"
            raise StartupError(f"cannot use ingestion.kafka.security.{files}: {_reason(error)}") from error
    return context


@asynccontextmanager
async def starting(config: Kafka, limit_s: float = START_LIMIT_S) -> AsyncIterator[None]:
    """Turn what goes wrong while connecting into a StartupError that names the brokers and the cure, after `limit_s` at the latest."""
    brokers = ", ".join(config.brokers)
    try:
        async with asyncio.timeout(limit_s):
            yield
    except TimeoutError as error:
        raise StartupError(
            f"Kafka at {brokers} did not let us in within {limit_s:g} s. "
            "Check that every broker is up and that their advertised listeners can be reached from here."
        ) from error
    except KafkaConnectionError as error:
        raise StartupError(
            f"something at {brokers} accepts connections, but no Kafka broker answers us over {config.security.protocol}. "
            "Check ingestion.kafka.security (protocol, username, password) and that this is the brokers' port for it."
        ) from error
    except KafkaError as error:
        raise StartupError(
            f"Kafka at {brokers} refused us: {error!r}. Check ingestion.kafka.security and the group's and topic's ACLs."
        ) from error
    except OSError as error:
        raise StartupError(f"cannot set up the connection to Kafka at {brokers}: {_reason(error)}. Check ingestion.kafka.") from error


@dataclass(frozen=True, slots=True)
class Survey:
    """What the brokers say before we join.

    Attributes:
        cluster: the cluster's id.
        partitions: how many the topic has.
        begun: whether the group has committed a position in the topic before.
    """

    cluster: str
    partitions: int
    begun: bool


async def survey(config: Kafka) -> Survey:
    """What there is. Raises StartupError with the command that creates the topic when it does not exist.

    It also waits until the group has a coordinator, which a new broker must make first.
    """
    async with _admin(config) as admin:
        # All topics: asking for one by name would make the broker create it.
        topics = {str(topic["topic"]): topic for topic in await admin.describe_topics()}
        if config.topic not in topics:
            raise StartupError(
                f"topic {config.topic} does not exist at {', '.join(config.brokers)}, or we may not see it. Create it, for example: "
                f"kafka-topics.sh --bootstrap-server {config.brokers[0]} --create --topic {config.topic} --partitions 12"
            )
        cluster = await admin.describe_cluster()
        return Survey(
            cluster=str(cluster.get("cluster_id") or "kafka"),
            partitions=len(topics[config.topic]["partitions"]),
            begun=await _begun(admin, config),
        )


async def _begun(admin: AIOKafkaAdminClient, config: Kafka) -> bool:
    while True:
        try:
            committed = await admin.list_consumer_group_offsets(config.group_id)
        except KafkaError as error:
            if not error.retriable:
                raise
            await asyncio.sleep(RETRY_EVERY_S)
        else:
            return any(tp.topic == config.topic and position.offset >= 0 for tp, position in committed.items())


async def ensure_topic(config: Kafka, topic: str) -> None:
    """Create a topic with one partition and the brokers' own replication unless it is there. Raises StartupError when they refuse."""
    async with _admin(config) as admin:
        if topic in await admin.list_topics():
            return
        # The client takes -1 (the brokers' default) only beside an assignment that is not None.
        reply = await admin.create_topics([NewTopic(topic, 1, -1, replica_assignments={})])
        for _, code, reason in reply.topic_errors:
            if code and code != TopicAlreadyExistsError.errno:
                raise StartupError(
                    f"cannot create the topic {topic}: {for_code(code).__name__}: {reason}. Let us create it, or create it, for example: "
                    f"kafka-topics.sh --bootstrap-server {config.brokers[0]} --create --topic {topic} --partitions 1"
                )
        log.info("topic created", topic=topic)


@asynccontextmanager
async def _admin(config: Kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    options = client_options(config)
    await _require_listener(config, options.get("ssl_context"))
    admin = AIOKafkaAdminClient(request_timeout_ms=REQUEST_LIMIT_MS, **options)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _require_listener(config: Kafka, context: ssl.SSLContext | None) -> None:
    """Connect once by hand: the client keeps to itself why it cannot."""
    reasons = []
    for broker in config.brokers:
        address = parse_address(broker)
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                _, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
        except OSError as error:
            reasons.append(f"{broker}: {_reason(error)}")
        else:
            writer.transport.abort()
            return
    raise StartupError(
        f"no Kafka broker answers over {config.security.protocol}: {'; '.join(reasons)}. Check ingestion.kafka.brokers, that the brokers "
        "run, that their listener is of this protocol, and with TLS ingestion.kafka.security.ca_file and the name in their certificate."
    )


def _reason(error: OSError) -> str:
    """Why a connection or a file failed, in the system's or the TLS library's words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_LIMIT_S:g} s"
    if error.errno is not None and error.errno in errorcode and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__


async def stop(consumer: AIOKafkaConsumer, limit_s: float) -> bool:
    """Stop a consumer; whether it left its group in order, and within the limit, in seconds.

    The library's own stop waits for a rebalance to end; and where a request is being retried it ends as if we were cancelled, with its
    connections open. So it runs in a task, and what it leaves is closed here.
    """
    if await _ended(consumer.stop(), limit_s):
        return True
    await _ended(_tear_down(consumer), limit_s)
    return False


async def _ended(work: Coroutine[Any, Any, None], limit_s: float) -> bool:
    task = asyncio.create_task(work)
    done, _ = await asyncio.wait({task}, timeout=limit_s)
    task.cancel()
    return bool(done) and not task.cancelled() and task.exception() is None


async def _tear_down(consumer: AIOKafkaConsumer) -> None:
    try:
        if consumer._fetcher is not None:  # noqa: SLF001  what `stop` would have closed
            await consumer._fetcher.close()  # noqa: SLF001
    finally:
        await consumer._client.close()  # noqa: SLF001


def is_member(consumer: AIOKafkaConsumer) -> bool:
    """Whether the consumer still counts itself a member of its group.

    Once expelled it would commit as nobody's member, and brokers let such a commit pass when the group is empty: a stale position would
    overwrite a newer one.
    """
    return consumer._coordinator.generation > 0  # noqa: SLF001  the library tells it nowhere else


async def bounds_of(consumer: AIOKafkaConsumer, tps: list[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
    """By partition the first offset that is left and the one after the last. Raises KafkaError or TimeoutError."""
    async with asyncio.timeout(START_LIMIT_S):
        first, end = await asyncio.gather(consumer.beginning_offsets(tps), consumer.end_offsets(tps))
    return {tp: (first[tp], end[tp]) for tp in tps}
