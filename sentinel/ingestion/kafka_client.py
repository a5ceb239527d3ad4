"""What consumer, producer and admin client share: how to reach the brokers, and errors a person can act on."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError

from sentinel.config.schema import Kafka
from sentinel.core.errors import StartupError
from sentinel.observability.logs import get

log = get(__name__)


def client_options(config: Kafka) -> dict[str, Any]:
    """Keyword arguments for any aiokafka client. Certificates are always verified."""
    security = config.security
    options: dict[str, Any] = {
        "bootstrap_servers": config.brokers,
        "security_protocol": security.protocol,
        "client_id": "llm-sentinel",
    }
    if security.protocol.endswith("SSL"):
        context = ssl.create_default_context(cafile=security.ca_file)
        if security.cert_file:
            context.load_cert_chain(security.cert_file, security.key_file)
        options["ssl_context"] = context
    if security.protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": security.sasl_mechanism,
            "sasl_plain_username": security.username,
            "sasl_plain_password": security.password.reveal() if security.password else None,
        }
    return options


@asynccontextmanager
async def starting(config: Kafka) -> AsyncIterator[None]:
    """Turn what goes wrong while connecting into a StartupError that names the brokers and the cure."""
    brokers = ", ".join(config.brokers)
    try:
        yield
    except KafkaConnectionError as error:
        raise StartupError(
            f"no Kafka broker answers at {brokers} ({config.security.protocol}): {error}. "
            "Check ingestion.kafka.brokers, that the brokers run, and that their advertised listeners can be reached from here."
        ) from error
    except KafkaError as error:
        raise StartupError(
            f"Kafka at {brokers} refused us: {error!r}. Check ingestion.kafka.security and the group's and topic's ACLs."
        ) from error
    except (OSError, ssl.SSLError) as error:
        raise StartupError(
            f"cannot set up the connection to Kafka at {brokers}: {error}. Check the files in ingestion.kafka.security."
        ) from error


async def require_topic(config: Kafka, topic: str) -> str:
    """The cluster's id. Raises StartupError with the command that creates the topic when it does not exist."""
    async with _admin(config) as admin:
        if topic not in await admin.list_topics():
            raise StartupError(
                f"topic {topic} does not exist at {', '.join(config.brokers)}. Create it, for example: "
                f"kafka-topics.sh --bootstrap-server {config.brokers[0]} --create --topic {topic} --partitions 12"
            )
        cluster = await admin.describe_cluster()
        return str(cluster.get("cluster_id") or "kafka")


async def ensure_topic(config: Kafka, topic: str) -> None:
    """Create a topic with one partition and the brokers' own replication unless it is there."""
    async with _admin(config) as admin:
        if topic in await admin.list_topics():
            return
        try:
            # The client takes -1 (the brokers' default) only beside an assignment that is not None.
            await admin.create_topics([NewTopic(topic, 1, -1, replica_assignments={})])
        except TopicAlreadyExistsError:
            return
        log.info("topic created", topic=topic)


@asynccontextmanager
async def _admin(config: Kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**client_options(config))
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
