"""Kafka: brokers, topic, group, dead letters. Nothing is written, committed or joined."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from sentinel.app.doctor.check import Check, Finding, failed, ok, warning
from sentinel.app.doctor.kafka_rights import may_write
from sentinel.app.doctor.tls import Reached, reach
from sentinel.config.addresses import parse_address
from sentinel.config.schema import Config, Kafka
from sentinel.ingestion.kafka_client import RETRY_EVERY_S, client_options, starting

LIMIT_S: Final = 12.0
"""A coordinator that must be found first takes its time."""
HOUR_MS: Final = 3_600_000
SHORT_RETENTION_MS: Final = 24 * HOUR_MS
"""An outage over a night is longer than less than this."""
_HOSTS: Final = "Check ingestion.kafka.brokers, the brokers' advertised listeners, and firewalls."


async def _run(config: Config) -> Sequence[Finding]:
    kafka = config.ingestion.kafka
    if kafka is None:
        return []
    options = client_options(kafka)
    brokers = await _brokers("kafka brokers", kafka.brokers, options.get("ssl_context"))
    if brokers.status == "failed":
        return [brokers]
    async with starting(kafka, LIMIT_S), _admin(options) as admin, _consumer(options) as consumer:
        topics = {str(topic["topic"]): topic for topic in await admin.describe_topics()}
        told = await _advertised(kafka, await admin.describe_cluster(), options.get("ssl_context"))
        found = [brokers, *told, *await _topic(kafka, topics, admin)]
        if kafka.topic in topics:
            found += await _group(kafka, topics[kafka.topic], admin, consumer)
        found.append(await _writable("kafka dead letters", kafka, kafka.dead_letter_topic, topics, admin))
        if config.ingestion.http.enabled:
            found.append(await _writable("kafka relay", kafka, kafka.topic, topics, admin))
    return found


# -------------------------------------------------------------------------------------------------------------- brokers


async def _brokers(subject: str, addresses: Sequence[str], context: Any) -> Finding:  # noqa: ANN401  the options hold anything
    places = [parse_address(address) for address in addresses]
    now_s = time.time()
    reached = dict(zip(addresses, await asyncio.gather(*(reach(place.host, place.port, context, now_s) for place in places)), strict=True))
    refused = [f"{address}: {found.refusal}" for address, found in reached.items() if found.refusal]
    if len(refused) == len(reached):
        cure = f"{_HOSTS} With TLS also security.ca_file and the names in the brokers' certificates."
        return failed(subject, f"none can be reached: {'; '.join(refused)}", cure)
    if refused:
        return warning(subject, f"{len(refused)} of {len(reached)} cannot be reached: {'; '.join(refused)}", _HOSTS)
    return _aged(subject, f"{', '.join(addresses)}: reached", reached)


def _aged(subject: str, what: str, reached: dict[str, Reached]) -> Finding:
    ending = [f"{address}'s certificate ends in {found.days_left:.0f} days" for address, found in reached.items() if found.ends_soon]
    return warning(subject, f"{what}; {', '.join(ending)}", "Renew it.") if ending else ok(subject, what)


async def _advertised(kafka: Kafka, cluster: dict[str, Any], context: Any) -> list[Finding]:  # noqa: ANN401  as above
    """The brokers that the cluster names besides those we know: clients are sent there."""
    named = [f"{broker['host']}:{broker['port']}" for broker in cluster["brokers"]]
    others = [address for address in named if address not in kafka.brokers]
    return [await _brokers("kafka advertised brokers", others, context)] if others else []


# ---------------------------------------------------------------------------------------------------------------- topic


async def _topic(kafka: Kafka, topics: dict[str, Any], admin: AIOKafkaAdminClient) -> list[Finding]:
    subject = "kafka topic"
    if kafka.topic not in topics:
        what = f"{kafka.topic} does not exist, or we may not see it"
        command = f"kafka-topics.sh --bootstrap-server {kafka.brokers[0]} --create --topic {kafka.topic} --partitions 12"
        return [failed(subject, what, f"Create it, for example: {command}")]
    partitions = topics[kafka.topic]["partitions"]
    without_leader = [part["partition"] for part in partitions if part["leader"] < 0]
    if without_leader:
        return [failed(subject, f"partitions {without_leader} of {kafka.topic} have no leader", "Bring their brokers back.")]
    what = f"{kafka.topic}: {len(partitions)} partitions, {len(partitions[0]['replicas'])} replicas each"
    retention_ms = await _retention_ms(kafka.topic, admin)
    if retention_ms is None:
        return [ok(subject, f"{what}; we may not see its retention")]
    what = f"{what}, kept for {'ever' if retention_ms < 0 else f'{retention_ms / HOUR_MS:g} h'}"
    if 0 <= retention_ms < SHORT_RETENTION_MS:
        return [warning(subject, what, "Raise retention.ms: what is deleted before it is read is lost.")]
    return [ok(subject, what)]


async def _retention_ms(topic: str, admin: AIOKafkaAdminClient) -> int | None:
    """The topic's retention, in milliseconds, -1 without end; None when the brokers do not tell us."""
    wanted = ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": None})
    try:
        (answer,) = await admin.describe_configs([wanted])
    except KafkaError:
        return None
    code, _, _, _, entries = answer.resources[0][:5]
    return None if code else next((int(entry[1]) for entry in entries if entry[0] == "retention.ms"), None)


# ---------------------------------------------------------------------------------------------------------------- group


async def _group(kafka: Kafka, topic: dict[str, Any], admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer) -> list[Finding]:
    """Who is in it, and how far behind it is."""
    subject = "kafka group"
    members = await _members(kafka, admin)
    if isinstance(members, Finding):
        return [members]
    tps = [TopicPartition(kafka.topic, int(part["partition"])) for part in topic["partitions"]]
    committed = await admin.list_consumer_group_offsets(kafka.group_id, partitions=tps)
    first, end = await asyncio.gather(consumer.beginning_offsets(tps), consumer.end_offsets(tps))
    begun = {tp: committed[tp].offset for tp in tps if tp in committed and committed[tp].offset >= 0}
    about = f"{kafka.group_id}: {members}"
    if not begun:
        return [ok(subject, f"{about}, has never committed; it starts at the {kafka.auto_offset_reset} record")]
    gone = sum(max(0, first[tp] - offset) for tp, offset in begun.items())
    beyond = [tp.partition for tp, offset in begun.items() if offset > end[tp]]
    lag = sum(max(0, end[tp] - offset) for tp, offset in begun.items())
    what = f"{about}, {lag} records behind in {len(begun)} of {len(tps)} partitions"
    if beyond:
        cure = "Was the topic made anew? Then start with another state_dir and group_id."
        return [failed(subject, f"{what}; committed beyond the end of partitions {beyond}", cure)]
    if gone:
        return [warning(subject, f"{what}; {gone} records were deleted before they were read", "Raise the topic's retention.")]
    return [ok(subject, what)]


async def _members(kafka: Kafka, admin: AIOKafkaAdminClient) -> str | Finding:
    """The group's state and size in words. A new broker must make its coordinator first."""
    while True:
        try:
            (answer,) = await admin.describe_consumer_groups([kafka.group_id])
        except KafkaError as error:
            if not error.retriable:
                raise
            await asyncio.sleep(RETRY_EVERY_S)
            continue
        code, _, state, _, _, members = answer.groups[0][:6]
        if not code:
            return f"{state.lower() or 'unknown'}, {len(members)} members"
        if not for_code(code).retriable:
            cure = f"Grant Describe and Read on group {kafka.group_id} to this user."
            return failed("kafka group", f"{kafka.group_id}: {for_code(code).__name__}", cure)
        await asyncio.sleep(RETRY_EVERY_S)


# --------------------------------------------------------------------------------------------------------------- rights


async def _writable(subject: str, kafka: Kafka, topic: str, topics: dict[str, Any], admin: AIOKafkaAdminClient) -> Finding:
    if topic not in topics:
        return (
            ok(subject, f"{topic} does not exist yet; the daemon creates it, if it may")
            if topic != kafka.topic
            else failed(subject, f"{topic} does not exist", "Create it.")
        )
    refusal = await may_write(admin, topic, topics[topic]["partitions"][0])
    if refusal is not None:
        return failed(subject, f"{topic} cannot be written: {refusal}", f"Grant Write on topic {topic} to this user.")
    return ok(subject, f"{topic} is writable (asked with a record that brokers discard)")


@asynccontextmanager
async def _admin(options: dict[str, Any]) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(request_timeout_ms=int(LIMIT_S * 1_000), **options)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


@asynccontextmanager
async def _consumer(options: dict[str, Any]) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of no group: it asks for offsets."""
    consumer = AIOKafkaConsumer(request_timeout_ms=int(LIMIT_S * 1_000), **options)
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


KAFKA: Final = Check("kafka", _run, lambda config: config.ingestion.kafka is not None, LIMIT_S)
