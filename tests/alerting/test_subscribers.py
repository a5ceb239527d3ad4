"""The example subscribers run as their README says, against what the daemon really sends."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from delivery_inputs import notification

from sentinel.alerting.errors import RefusedError
from sentinel.alerting.rabbitmq import RabbitMQ
from sentinel.alerting.webhook import Webhook
from sentinel.app.clock import SystemClock
from sentinel.config.secret import Secret
from sentinel.config.sections_alerting import RabbitMQ as RabbitMQConfig
from sentinel.config.sections_alerting import Webhook as WebhookConfig
from sentinel.core.anomaly import Severity
from sentinel.observability.metrics import Metrics
from tools.servers import rabbitmq as rabbit
from tools.servers.process import free_port

EXAMPLES = Path(__file__).parents[2] / "examples" / "subscribers"
SECRET = "whsec_c2VudGluZWwtc2VudGluZWwtc2VudGluZWw="


@asynccontextmanager
async def running(name: str, *arguments: str) -> AsyncIterator[asyncio.StreamReader]:
    """An example as a process of its own; what it prints."""
    command = [str(EXAMPLES / name), *arguments]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def line(output: asyncio.StreamReader) -> str:
    """The next line."""
    async with asyncio.timeout(30):
        return (await output.readline()).decode().strip()


async def test_the_rabbitmq_subscriber_prints_every_alert_once(rabbitmq: rabbit.RabbitMQ) -> None:
    """From the declared queue: single alerts, several in one message, and none twice."""
    name = uuid4().hex
    receiver = RabbitMQ(RabbitMQConfig(url=f"amqp://127.0.0.1:{rabbitmq.port}", exchange=f"x-{name}", queue=f"q-{name}"), Metrics())
    await receiver.send(notification(1))
    async with running("rabbitmq_subscriber.py", "--url", rabbitmq.url, "--queue", f"q-{name}", "--count", "4") as output:
        assert "waiting for alerts" in await line(output)
        assert await line(output) == "WARNING  firing   chat/gpt-4: Latency is 4 times its usual value [ntf-000001]"
        await receiver.send(notification(1))
        await receiver.send_together([notification(2), notification(1)])
        await receiver.send(notification(3))
        assert "[ntf-000002]" in await line(output)
        assert "[ntf-000003]" in await line(output)
        assert await line(output) == ""
    await receiver.close()


async def test_the_rabbitmq_subscriber_chooses_by_binding(rabbitmq: rabbit.RabbitMQ) -> None:
    """With a binding of its own it gets the critical ones only."""
    name = uuid4().hex
    section = RabbitMQConfig(url=f"amqp://127.0.0.1:{rabbitmq.port}", exchange=f"x-{name}", queue=f"q-{name}")
    receiver = RabbitMQ(section, Metrics())
    await receiver.send(notification(0))
    options = [
        "--url",
        rabbitmq.url,
        "--exchange",
        f"x-{name}",
        "--queue",
        f"on-call-{name}",
        "--binding",
        "alert.critical",
        "--count",
        "1",
    ]
    async with running("rabbitmq_subscriber.py", *options) as output:
        assert "waiting for alerts" in await line(output)
        await receiver.send(notification(1))
        await receiver.send(notification(2, severity=Severity.CRITICAL))
        assert (await line(output)).startswith("CRITICAL")
        assert await line(output) == ""
    await receiver.close()


@pytest.mark.parametrize("secret", [SECRET, "a raw text secret of 24 bytes"])
async def test_the_webhook_receiver_takes_genuine_alerts_once(tmp_path: Path, secret: str) -> None:
    """Signed ones are printed, repeats are not printed again, forged ones are refused."""
    (tmp_path / "secret").write_text(secret + "\n")
    port = free_port()
    clock = SystemClock()
    genuine = WebhookConfig(url=f"http://127.0.0.1:{port}/alerts", secret=Secret(secret), allowed_networks=["127.0.0.0/8"])
    forged = genuine.model_copy(update={"secret": Secret("another secret of 24 bytes")})
    good, bad = Webhook(genuine, clock, Metrics()), Webhook(forged, clock, Metrics())
    await good.open()
    await bad.open()
    async with running("webhook_receiver.py", "--secret-file", str(tmp_path / "secret"), "--port", str(port)) as output:
        assert "waiting for alerts" in await line(output)
        await _until_listening(port)
        with pytest.raises(RefusedError, match="401"):
            await bad.send(notification(9))
        await good.send(notification(1))
        await good.send(notification(1))
        await good.send_together([notification(2), notification(3)])
        assert [(await line(output))[-12:] for _ in range(3)] == ["[ntf-000001]", "[ntf-000002]", "[ntf-000003]"]
    await good.close()
    await bad.close()


async def _until_listening(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


def test_they_are_short_enough_to_read() -> None:
    """Less than 100 lines each."""
    assert all(len(file.read_text().splitlines()) < 100 for file in EXAMPLES.glob("*.py"))
