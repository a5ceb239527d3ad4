"""RabbitMQ: whether it lets us in, and what is there of exchange and queue. Nothing is declared or published."""

from collections.abc import Sequence
from typing import Final

from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity

from sentinel.alerting import rabbitmq_link
from sentinel.alerting.tls import client_context
from sentinel.app.doctor.check import Check, Finding, ok, warning
from sentinel.config.schema import Config, RabbitMQ

UNREAD_MESSAGES: Final = 1_000
"""So many in a queue that nobody reads are worth a word."""


async def _run(config: Config) -> Sequence[Finding]:
    section = config.alerting.rabbitmq
    if section is None:
        return []
    tls = client_context(section.ca_file, "alerting.rabbitmq.ca_file") if section.url.startswith("amqps:") else None
    try:
        async with await rabbitmq_link.connect(section, tls, "llm-sentinel doctor") as connection:
            found = [ok("rabbitmq", f"{section.url} lets us in"), await _exchange(connection, section)]
            return [*found, await _queue(connection, section)]
    except rabbitmq_link.FAILURES as error:
        raise rabbitmq_link.in_words(error, section, f"{section.routing_key_prefix}.critical") from error


async def _exchange(connection: AbstractConnection, section: RabbitMQ) -> Finding:
    channel = await connection.channel()
    try:
        await channel.get_exchange(section.exchange, ensure=True)
    except ChannelNotFoundEntity:
        return ok("rabbitmq exchange", f"{section.exchange} does not exist yet; the daemon declares it")
    return ok("rabbitmq exchange", f"{section.exchange} is there")


async def _queue(connection: AbstractConnection, section: RabbitMQ) -> Finding:
    subject = "rabbitmq queue"
    if section.queue is None:
        what = "none is declared: alerts that no queue is bound for wait here, and are dropped in the end"
        return warning(subject, what, f"Bind a queue to {section.exchange}, or set alerting.rabbitmq.queue.")
    channel = await connection.channel()
    try:
        queue = await channel.get_queue(section.queue, ensure=True)
    except ChannelNotFoundEntity:
        return ok(subject, f"{section.queue} does not exist yet; the daemon declares it")
    messages, readers = queue.declaration_result.message_count or 0, queue.declaration_result.consumer_count or 0
    what = f"{section.queue}: {messages} messages, {readers} readers"
    if not readers and messages >= UNREAD_MESSAGES:
        return warning(subject, what, "Give it a reader, or a policy that bounds it: it grows until RabbitMQ's disk is full.")
    return ok(subject, what)


RABBITMQ: Final = Check("rabbitmq", _run, lambda config: config.alerting.rabbitmq is not None, 10.0)
