"""The RabbitMQ receiver against a real server: confirms, returns, outages, topology."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, DeliveryMode
from delivery_inputs import notification
from tls_inputs import certificate, server_context
from wire import wire

from sentinel.alerting.errors import RefusedError
from sentinel.alerting.rabbitmq import RabbitMQ
from sentinel.config.secret import Secret
from sentinel.config.sections_alerting import RabbitMQ as RabbitMQConfig
from sentinel.core.anomaly import Severity
from sentinel.core.errors import RetryableError, StartupError
from sentinel.observability.metrics import Metrics
from tools.servers import rabbitmq as rabbit


def config(server: rabbit.RabbitMQ | int, **settings: object) -> RabbitMQConfig:
    """A section with an exchange and a queue of its own."""
    port = server if isinstance(server, int) else server.port
    name = uuid4().hex
    basic = {"url": f"amqp://127.0.0.1:{port}", "exchange": f"x-{name}", "queue": f"q-{name}", "timeout_secs": 5.0}
    return RabbitMQConfig(**(basic | settings))


@contextlib.asynccontextmanager
async def receiver(section: RabbitMQConfig, metrics: Metrics | None = None) -> AsyncIterator[RabbitMQ]:
    """An open receiver."""
    made = RabbitMQ(section, metrics or Metrics())
    await made.open()
    try:
        yield made
    finally:
        await made.close()


@contextlib.asynccontextmanager
async def channel(server: rabbit.RabbitMQ) -> AsyncIterator[AbstractChannel]:
    """A channel of a subscriber."""
    async with await aio_pika.connect(server.url) as connection:
        yield await connection.channel()


async def read(server: rabbit.RabbitMQ, queue: str, count: int) -> list[AbstractIncomingMessage]:
    """The next messages of a queue."""
    found: list[AbstractIncomingMessage] = []
    async with channel(server) as opened:
        source = await opened.get_queue(queue)
        async with asyncio.timeout(20):
            while len(found) < count:
                message = await source.get(fail=False)
                if message is not None:
                    await message.ack()
                    found.append(message)
    return found


async def bound(server: rabbit.RabbitMQ, section: RabbitMQConfig, key: str) -> str:
    """A queue of a subscriber, bound to the exchange."""
    async with channel(server) as opened:
        queue = await opened.declare_queue(f"sub-{uuid4().hex}", durable=True)
        await queue.bind(section.exchange, key)
        return queue.name


async def waiting(server: rabbit.RabbitMQ, queue: str) -> int:
    """How many messages wait in a queue."""
    async with channel(server) as opened:
        return (await opened.declare_queue(queue, passive=True)).declaration_result.message_count or 0


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    """Try again until it succeeds."""
    async with asyncio.timeout(30):
        while not await happened():  # noqa: ASYNC110  the server tells nobody
            await asyncio.sleep(0.05)


async def test_an_alert_arrives_as_documented(rabbitmq: rabbit.RabbitMQ) -> None:
    """Body, id, type, headers, content type, persistence and routing key."""
    section = config(rabbitmq)
    async with receiver(section) as rabbit_receiver:
        await rabbit_receiver.send(notification(1, severity=Severity.CRITICAL))
    (message,) = await read(rabbitmq, str(section.queue), 1)
    assert json.loads(message.body)["notification_id"] == message.message_id == "ntf-000001"
    assert (message.type, message.content_type, message.app_id) == ("latency_spike", "application/json", "llm-sentinel")
    assert message.headers == {"service": "chat", "model": "gpt-4", "metric": "latency_ms", "severity": "critical", "status": "firing"}
    assert (message.delivery_mode, message.routing_key) == (DeliveryMode.PERSISTENT, "alert.critical")


@pytest.mark.parametrize(("persistent", "mode"), [(True, DeliveryMode.PERSISTENT), (False, DeliveryMode.NOT_PERSISTENT)])
async def test_persistence_and_prefix_are_configured(rabbitmq: rabbit.RabbitMQ, persistent: bool, mode: DeliveryMode) -> None:
    """The message's mode and its routing key follow the configuration."""
    section = config(rabbitmq, persistent=persistent, routing_key_prefix="prod.alert")
    async with receiver(section) as rabbit_receiver:
        await rabbit_receiver.send(notification(1))
    (message,) = await read(rabbitmq, str(section.queue), 1)
    assert (message.delivery_mode, message.routing_key) == (mode, "prod.alert.warning")


async def test_subscribers_choose_by_severity(rabbitmq: rabbit.RabbitMQ) -> None:
    """A queue bound to `alert.critical` gets those, one bound to `alert.#` all, as the default queue does."""
    section = config(rabbitmq)
    async with receiver(section) as rabbit_receiver:
        await rabbit_receiver.send(notification(0))
        critical, every = await bound(rabbitmq, section, "alert.critical"), await bound(rabbitmq, section, "alert.#")
        for number, severity in enumerate(Severity, 1):
            await rabbit_receiver.send(notification(number, severity=severity))
    assert [message.message_id for message in await read(rabbitmq, critical, 1)] == ["ntf-000003"]
    assert len(await read(rabbitmq, every, 3)) == 3
    assert len(await read(rabbitmq, str(section.queue), 4)) == 4
    assert await waiting(rabbitmq, critical) == 0


@pytest.mark.parametrize("kind", ["topic", "direct", "fanout", "headers"])
async def test_the_default_queue_gets_all_of_every_kind_of_exchange(rabbitmq: rabbit.RabbitMQ, kind: str) -> None:
    """Whatever the kind, every severity arrives."""
    section = config(rabbitmq, exchange_type=kind)
    async with receiver(section) as rabbit_receiver:
        for number, severity in enumerate(Severity):
            await rabbit_receiver.send(notification(number, severity=severity))
    assert len(await read(rabbitmq, str(section.queue), 3)) == 3


async def test_several_alerts_share_a_message(rabbitmq: rabbit.RabbitMQ) -> None:
    """By the highest severity; every alert keeps its own id."""
    section = config(rabbitmq)
    async with receiver(section) as rabbit_receiver:
        await rabbit_receiver.send_together([notification(1), notification(2, severity=Severity.CRITICAL)])
    (message,) = await read(rabbitmq, str(section.queue), 1)
    assert (message.routing_key, message.type) == ("alert.critical", "alert.batch")
    assert [alert["notification_id"] for alert in json.loads(message.body)["alerts"]] == ["ntf-000001", "ntf-000002"]


async def test_many_are_under_way_together(rabbitmq: rabbit.RabbitMQ) -> None:
    """200 at once on one connection, all confirmed, each once, and counted by severity."""
    section, metrics = config(rabbitmq), Metrics()
    async with receiver(section, metrics) as rabbit_receiver:
        await asyncio.gather(*(rabbit_receiver.send(notification(number)) for number in range(200)))
    got = {message.message_id for message in await read(rabbitmq, str(section.queue), 200)}
    assert len(got) == 200
    assert metrics.registry.get_sample_value("sentinel_rabbitmq_publishes_total", {"severity": "warning"}) == 200


async def test_what_no_queue_takes_is_an_error(rabbitmq: rabbit.RabbitMQ) -> None:
    """Without a queue the server drops a message and confirms it; here that is an error, until somebody binds one."""
    section = config(rabbitmq, queue=None)
    async with receiver(section) as rabbit_receiver:
        with pytest.raises(RetryableError, match=r"has no queue for alert\.warning"):
            await rabbit_receiver.send(notification(1))
        queue = await bound(rabbitmq, section, "#")
        await rabbit_receiver.send(notification(1))
    assert len(await read(rabbitmq, queue, 1)) == 1


async def test_a_queue_that_was_deleted_is_declared_again(rabbitmq: rabbit.RabbitMQ) -> None:
    """The first send fails and finds out, the next one mends it."""
    section = config(rabbitmq)
    async with receiver(section) as rabbit_receiver:
        await rabbit_receiver.send(notification(1))
        async with channel(rabbitmq) as opened:
            await opened.queue_delete(str(section.queue))
        with pytest.raises(RetryableError, match="has no queue"):
            await rabbit_receiver.send(notification(2))
        await rabbit_receiver.send(notification(2))
    assert [message.message_id for message in await read(rabbitmq, str(section.queue), 1)] == ["ntf-000002"]


async def test_an_exchange_that_was_deleted_is_declared_again(rabbitmq: rabbit.RabbitMQ) -> None:
    """Publishing to it closes the channel: an error, and the next send mends it."""
    section = config(rabbitmq)
    async with receiver(section) as rabbit_receiver:
        await rabbit_receiver.send(notification(1))
        async with channel(rabbitmq) as opened:
            await opened.exchange_delete(section.exchange)
        with pytest.raises(RetryableError):
            await rabbit_receiver.send(notification(2))
        await rabbit_receiver.send(notification(2))
    assert len(await read(rabbitmq, str(section.queue), 2)) == 2


async def test_a_full_queue_refuses_and_loses_nothing(rabbitmq: rabbit.RabbitMQ) -> None:
    """Beyond its length a message is an error, on the same connection, and goes through once there is room."""
    section = config(rabbitmq, queue_max_length=2)
    async with receiver(section) as rabbit_receiver:
        for number in range(2):
            await rabbit_receiver.send(notification(number))
        with pytest.raises(RetryableError, match="full"):
            await rabbit_receiver.send(notification(2))
        await read(rabbitmq, str(section.queue), 1)
        await rabbit_receiver.send(notification(2))
    assert [message.message_id for message in await read(rabbitmq, str(section.queue), 2)] == ["ntf-000001", "ntf-000002"]


async def test_without_a_length_the_queue_takes_what_is_there(rabbitmq: rabbit.RabbitMQ) -> None:
    """A queue that somebody declared before, durable and without arguments, is used as it is."""
    section = config(rabbitmq)
    async with channel(rabbitmq) as opened:
        await opened.declare_queue(section.queue, durable=True)
    async with receiver(section) as rabbit_receiver:
        await rabbit_receiver.send(notification(1))
    assert len(await read(rabbitmq, str(section.queue), 1)) == 1


async def test_another_kind_of_exchange_is_told_with_its_cure(rabbitmq: rabbit.RabbitMQ) -> None:
    """The conflict is named, is tried again slowly, and ends when the operator has mended it."""
    section = config(rabbitmq)
    async with channel(rabbitmq) as opened:
        await opened.declare_exchange(section.exchange, "fanout", durable=True)
    async with receiver(section) as rabbit_receiver:
        with pytest.raises(RefusedError, match=r"other properties: PRECONDITION_FAILED.*inequivalent arg 'type'.*Delete it there"):
            await rabbit_receiver.send(notification(1))
        async with channel(rabbitmq) as opened:
            await opened.exchange_delete(section.exchange)
        await rabbit_receiver.send(notification(1))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"username": "guest", "password": Secret("wrong-hunter2")}, "alerting.rabbitmq.username and password"),
        ({"username": "nobody-hunter2"}, "alerting.rabbitmq.username and password"),
    ],
)
async def test_wrong_credentials_are_told_without_the_password(rabbitmq: rabbit.RabbitMQ, settings: dict[str, object], words: str) -> None:
    """A person must mend it, so it is tried slowly."""
    async with receiver(config(rabbitmq, **settings)) as rabbit_receiver:
        with pytest.raises(RefusedError, match=words) as raised:
            await rabbit_receiver.send(notification(1))
    assert "wrong-hunter2" not in str(raised.value)


async def test_right_credentials_and_virtual_host_are_used(rabbitmq: rabbit.RabbitMQ) -> None:
    """User and password from the section's keys; a virtual host that is not there is told."""
    async with receiver(config(rabbitmq, username="guest", password=Secret("guest"))) as rabbit_receiver:
        await rabbit_receiver.send(notification(1))
    async with receiver(config(rabbitmq, url=f"amqp://127.0.0.1:{rabbitmq.port}/nowhere")) as rabbit_receiver:
        with pytest.raises(RefusedError, match="virtual host"):
            await rabbit_receiver.send(notification(1))


async def test_credentials_and_virtual_hosts_of_all_characters(rabbitmq: rabbit.RabbitMQ) -> None:
    """What has a meaning in URLs has none in a password or the name of a virtual host."""
    user, password, vhost = f"u-{uuid4().hex}", "p@ss/w:rd#?%41&é", f"prod/eu {uuid4().hex}"
    for arguments in (("add_vhost", vhost), ("add_user", user, password), ("set_permissions", "-p", vhost, user, ".*", ".*", ".*")):
        await asyncio.to_thread(rabbitmq.ctl, *arguments)
    url = f"amqp://127.0.0.1:{rabbitmq.port}/{quote(vhost, safe='')}"
    async with receiver(config(rabbitmq, url=url, username=user, password=Secret(password))) as rabbit_receiver:
        await rabbit_receiver.send(notification(1))
    await asyncio.to_thread(rabbitmq.ctl, "delete_vhost", vhost)


async def test_what_a_user_may_not_do_is_told(rabbitmq: rabbit.RabbitMQ) -> None:
    """A name that the server keeps for itself stands for any lack of permission."""
    async with receiver(config(rabbitmq, exchange="amq.made-up")) as rabbit_receiver:
        with pytest.raises(RefusedError, match="does not permit this"):
            await rabbit_receiver.send(notification(1))


async def test_open_needs_no_server() -> None:
    """A server that is down does not keep the daemon from starting; sending says that it cannot be reached."""
    async with receiver(config(1)) as rabbit_receiver:
        with pytest.raises(RetryableError, match="cannot be reached"):
            await rabbit_receiver.send(notification(1))


async def test_a_crowd_shares_one_failed_connect(rabbitmq: rabbit.RabbitMQ) -> None:
    """A hundred sends while the server is down make one connection attempt, not a hundred."""
    async with wire(1) as gate:
        async with receiver(config(gate.port)) as rabbit_receiver:
            done = await asyncio.gather(*(rabbit_receiver.send(notification(number)) for number in range(100)), return_exceptions=True)
        assert all(isinstance(error, RetryableError) for error in done)
        assert gate.opened == 1


@pytest.mark.parametrize("timeout_s", [0.3, 0.6])
async def test_a_port_that_never_answers_is_given_up(timeout_s: float) -> None:
    """A server that takes connections and says nothing: an error after the configured time."""
    ended = asyncio.Event()

    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        async with receiver(config(server.sockets[0].getsockname()[1], timeout_secs=timeout_s)) as rabbit_receiver:
            with pytest.raises(RetryableError, match=rf"within {timeout_s:g} s"):
                await rabbit_receiver.send(notification(1))
        ended.set()


async def test_a_connection_that_is_cut_is_made_again(rabbitmq: rabbit.RabbitMQ) -> None:
    """Cut while nothing is sent: the next send connects anew. Cut while many are under way: each fails or is confirmed, none hangs."""
    section = config(rabbitmq)
    async with (
        wire(rabbitmq.port) as line,
        receiver(section.model_copy(update={"url": f"amqp://127.0.0.1:{line.port}"})) as rabbit_receiver,
    ):
        await rabbit_receiver.send(notification(0))
        line.cut()
        await until(lambda: _went_well(rabbit_receiver, 1))
        sending = [asyncio.create_task(rabbit_receiver.send(notification(number))) for number in range(2, 60)]
        await asyncio.sleep(0)
        line.cut()
        results = await asyncio.gather(*sending, return_exceptions=True)
        assert all(result is None or isinstance(result, RetryableError) for result in results)
        failed = [number for number, result in enumerate(results, 2) if result is not None]
        for number in failed:
            await until(lambda number=number: _went_well(rabbit_receiver, number))
        assert line.opened >= 2
    got = {message.message_id for message in await read(rabbitmq, str(section.queue), 60)}
    assert got == {f"ntf-{number:06d}" for number in range(60)}


async def _went_well(rabbit_receiver: RabbitMQ, number: int) -> bool:
    try:
        await rabbit_receiver.send(notification(number))
    except RetryableError:
        return False
    return True


async def test_a_half_open_connection_is_given_up_and_replaced(rabbitmq: rabbit.RabbitMQ) -> None:
    """Nothing comes through any more, and nobody says so: the publish fails in time, and the next one goes over a new connection."""
    section = config(rabbitmq, timeout_secs=1.0)
    async with (
        wire(rabbitmq.port) as line,
        receiver(section.model_copy(update={"url": f"amqp://127.0.0.1:{line.port}"})) as rabbit_receiver,
    ):
        await rabbit_receiver.send(notification(1))
        line.flowing.clear()
        with pytest.raises(RetryableError, match="did not confirm the message"):
            await rabbit_receiver.send(notification(2))
        line.flowing.set()
        await until(lambda: _went_well(rabbit_receiver, 2))
        assert line.opened == 2
    got = {message.message_id for message in await read(rabbitmq, str(section.queue), 2)}
    assert got == {"ntf-000001", "ntf-000002"}


@pytest.mark.slow
async def test_a_server_that_restarts_loses_no_alert(own_rabbitmq: rabbit.RabbitMQ) -> None:
    """Killed and started again: sends fail in between and go through afterwards, and what was confirmed before is still there."""
    section = config(own_rabbitmq)
    async with receiver(section) as rabbit_receiver:
        await rabbit_receiver.send(notification(1))
        await asyncio.to_thread(own_rabbitmq.kill)
        with pytest.raises(RetryableError):
            await rabbit_receiver.send(notification(2))
        await asyncio.to_thread(own_rabbitmq.start)
        await until(lambda: _went_well(rabbit_receiver, 2))
    got = {message.message_id for message in await read(own_rabbitmq, str(section.queue), 2)}
    assert got == {"ntf-000001", "ntf-000002"}


@pytest.mark.slow
async def test_a_server_short_of_memory_is_waited_for(own_rabbitmq: rabbit.RabbitMQ) -> None:
    """While it blocks publishers, sends fail in time and say why; once it does not, they go through, on the same connection."""
    section = config(own_rabbitmq, timeout_secs=2.0)
    async with (
        wire(own_rabbitmq.port) as line,
        receiver(section.model_copy(update={"url": f"amqp://127.0.0.1:{line.port}"})) as rabbit_receiver,
    ):
        await rabbit_receiver.send(notification(1))
        await asyncio.to_thread(own_rabbitmq.ctl, "set_vm_memory_high_watermark", "0")
        for _ in range(2):
            with pytest.raises(RetryableError, match="short of memory or disk"):
                await rabbit_receiver.send(notification(2))
        await asyncio.to_thread(own_rabbitmq.ctl, "set_vm_memory_high_watermark", "0.4")
        await until(lambda: _went_well(rabbit_receiver, 2))
        assert line.opened == 1
    got = {message.message_id for message in await read(own_rabbitmq, str(section.queue), 2)}
    assert got == {"ntf-000001", "ntf-000002"}


async def test_tls_is_verified(rabbitmq: rabbit.RabbitMQ, tmp_path: Path) -> None:
    """amqps:// with the right authority works; with the system's, or another name in the certificate, it is refused with the reason."""
    good, foreign = certificate(tmp_path), certificate(tmp_path, "other.example")
    async with wire(rabbitmq.port, server_context(good)) as line:
        section = config(rabbitmq, url=f"amqps://localhost:{line.port}", ca_file=str(good[0]))
        async with receiver(section) as rabbit_receiver:
            await rabbit_receiver.send(notification(1))
        async with receiver(section.model_copy(update={"ca_file": None})) as rabbit_receiver:
            with pytest.raises(RefusedError, match="cannot be trusted"):
                await rabbit_receiver.send(notification(2))
    async with wire(rabbitmq.port, server_context(foreign)) as line:
        section = config(rabbitmq, url=f"amqps://localhost:{line.port}", ca_file=str(foreign[0]))
        async with receiver(section) as rabbit_receiver:
            with pytest.raises(RefusedError, match="cannot be trusted"):
                await rabbit_receiver.send(notification(3))


async def test_a_ca_file_that_cannot_be_read_is_said_at_the_start() -> None:
    """With its key and path."""
    with pytest.raises(StartupError, match=r"alerting\.rabbitmq\.ca_file /nowhere/ca\.pem"):
        await RabbitMQ(RabbitMQConfig(url="amqps://mq.example", ca_file="/nowhere/ca.pem"), Metrics()).open()


async def test_closing_is_bounded_and_twice_is_harmless(rabbitmq: rabbit.RabbitMQ) -> None:
    """Even when the server no longer answers."""
    async with wire(rabbitmq.port) as line, receiver(config(line.port)) as rabbit_receiver:
        await rabbit_receiver.send(notification(1))
        line.flowing.clear()
        async with asyncio.timeout(15):
            await rabbit_receiver.close()
            await rabbit_receiver.close()


async def test_a_cancelled_send_is_cancelled(rabbitmq: rabbit.RabbitMQ) -> None:
    """A stop is not mistaken for a lost connection."""
    async with wire(rabbitmq.port) as line, receiver(config(line.port)) as rabbit_receiver:
        await rabbit_receiver.send(notification(1))
        line.flowing.clear()
        sending = asyncio.create_task(rabbit_receiver.send(notification(2)))
        await asyncio.sleep(0.05)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
