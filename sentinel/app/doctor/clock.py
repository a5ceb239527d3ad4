"""This machine's clock against the clocks of those it works with."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from sqlalchemy.exc import SQLAlchemyError

from sentinel.app.doctor import redis, state_database
from sentinel.app.doctor.check import Check, Finding, in_thread, ok, warning
from sentinel.config.schema import Config
from sentinel.core.errors import SentinelError
from sentinel.ingestion.kafka_client import client_options

SUBJECT: Final = "clock"
MOST_S: Final = 5.0
"""A larger difference spoils time ranges, signatures and the judgement of future events."""
ANSWER_LIMIT_S: Final = 4.0
LOOKED_AT: Final = 8
"""Partitions whose newest record is looked at."""
_CURE: Final = "Let both sides keep time by NTP (`timedatectl` shows whether this one does)."

Compare = Callable[[Config], Awaitable[float | None]]
"""The other clock less ours, in seconds; None when it tells nothing."""


async def _run(config: Config) -> Sequence[Finding]:
    names = {"Redis": _redis, "PostgreSQL": _postgresql, "InfluxDB": _influxdb, "the newest record in Kafka": _kafka}
    offsets = dict(zip(names, await asyncio.gather(*(_bounded(compare, config) for compare in names.values())), strict=True))
    return [judged({name: offset for name, offset in offsets.items() if offset is not None})]


def judged(offsets: dict[str, float]) -> Finding:
    """What the differences mean."""
    if not offsets:
        return ok(
            SUBJECT, f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}; nothing that is configured tells its own to compare with"
        )
    compared = ", ".join(f"{name} {offset:+.1f} s" for name, offset in offsets.items())
    if max(map(abs, offsets.values())) > MOST_S:
        return warning(SUBJECT, f"it differs from others by more than {MOST_S:g} s: {compared}", _CURE)
    return ok(SUBJECT, f"compared with {compared}")


async def _bounded(compare: Compare, config: Config) -> float | None:
    """Other checks say why a dependency does not answer."""
    try:
        async with asyncio.timeout(ANSWER_LIMIT_S):
            return await compare(config)
    except (SentinelError, KafkaError, SQLAlchemyError, aiohttp.ClientError, OSError, TimeoutError):
        return None


async def _redis(config: Config) -> float | None:
    section = config.storage.redis
    answer = await redis.ask(section) if section is not None and section.enabled else ""
    if isinstance(answer, str):
        return None
    there, took_s = answer
    return there - (time.time() - took_s / 2)


async def _postgresql(config: Config) -> float | None:
    section = config.state
    return await in_thread(lambda: state_database.server_time_s(section)) if section.url is not None else None


async def _influxdb(config: Config) -> float | None:
    """By the Date of its answer, which has whole seconds."""
    section = config.storage.influxdb
    if section is None or section.ca_file is not None:
        return None  # with a certificate authority of one's own the client's session would have to be built anew
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        session.get(f"{section.url.rstrip('/')}/ping", allow_redirects=False) as got,
    ):
        date = got.headers.get("Date")
    try:
        return parsedate_to_datetime(date).timestamp() + 0.5 - time.time() if date else None
    except ValueError:
        return None


async def _kafka(config: Config) -> float | None:
    """How far the newest record is ahead of us. One of the past says nothing: it may just be old."""
    section = config.ingestion.kafka
    if section is None:
        return None
    options = client_options(section)
    tps = [TopicPartition(section.topic, number) for number in (await _partitions(options, section.topic))[:LOOKED_AT]]
    consumer = AIOKafkaConsumer(request_timeout_ms=int(ANSWER_LIMIT_S * 1_000), max_partition_fetch_bytes=65_536, **options)
    try:
        await consumer.start()
        ends = await consumer.end_offsets(tps)
        filled = [tp for tp in tps if ends[tp] > 0]
        consumer.assign(filled)
        for tp in filled:
            consumer.seek(tp, ends[tp] - 1)
        taken = await consumer.getmany(*filled, timeout_ms=1_000) if filled else {}
    finally:
        await consumer.stop()
    newest_ms = max((record.timestamp for records in taken.values() for record in records), default=None)
    ahead_s = newest_ms / 1e3 - time.time() if newest_ms is not None else 0.0
    return ahead_s if ahead_s > 0 else None


async def _partitions(options: dict[str, Any], topic: str) -> list[int]:
    """Those of a topic; none when it does not exist. All topics are asked for: asking for one by name could make it."""
    admin = AIOKafkaAdminClient(request_timeout_ms=int(ANSWER_LIMIT_S * 1_000), **options)
    try:
        await admin.start()
        return sorted(
            int(part["partition"]) for found in await admin.describe_topics() if found["topic"] == topic for part in found["partitions"]
        )
    finally:
        await admin.close()


CLOCK: Final = Check(SUBJECT, _run)
