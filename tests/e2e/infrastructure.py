"""What a daemon stands on in these tests, and what can be seen from its other side: points, messages, requests."""

import asyncio
import json
import socket
import sys
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import aiohttp
from aio_pika.abc import AbstractIncomingMessage
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from tools.servers.process import ServerProcess, free_port

EXAMPLES = Path(__file__).parents[2] / "examples" / "subscribers"
TOKEN = "token-of-the-double"
SECRET = "whsec_c2VudGluZWwtc2VudGluZWwtc2VudGluZWw="
PSEUDONYM_KEY = "the same in all replicas, and nobody else's"
TELEMETRY, ANOMALIES = "telemetry", "anomalies"


def secret_file(file: Path, secret: str) -> str:
    """A file that only we may read; its path."""
    file.write_text(secret + "\n")
    file.chmod(0o600)
    return str(file)


class Points:
    """The InfluxDB double as a process of its own, asked with the official client.

    Args:
        directory: of its token and its log.
        options: further words of its command line.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.token_file = secret_file(directory / "influx.token", TOKEN)
        command = [sys.executable, "-m", "sentinel.testing.influx_double", "--port", self.url.rpartition(":")[2], "--token-env", "TOKEN"]
        command += options
        self._process = ServerProcess("the InfluxDB double", command, log=directory / "influx.log", environment={"TOKEN": TOKEN})

    def start(self) -> None:
        """Start it; returns when it answers."""
        self._process.start(self._answers)

    def stop(self) -> None:
        """End it; what it held is gone."""
        self._process.stop()

    def count(self) -> int:
        """Points that stand for events."""
        with urllib.request.urlopen(f"{self.url}/stats", timeout=10) as answer:
            return int(json.load(answer)["rows"].get(TELEMETRY, {}).get("llm_telemetry", 0))

    def ask(self, database: str, sql: str) -> list[dict[str, Any]]:
        """The rows of a query."""
        from influxdb_client_3 import InfluxDBClient3

        client = InfluxDBClient3(host=self.url, database=database, token=TOKEN)
        try:
            rows: list[dict[str, Any]] = client.query(sql, language="sql").to_pylist()
        finally:
            client.close()
        return rows

    def sums(self) -> dict[str, Any]:
        """How many events there are, with how many different ids, and the sums of their tokens."""
        (row,) = self.ask(
            TELEMETRY,
            "SELECT count(*) AS events, count(DISTINCT event_id) AS ids, sum(prompt_tokens) AS prompt, "
            "sum(completion_tokens) AS completion FROM llm_telemetry",
        )
        return row

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/ping", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@dataclass(frozen=True)
class Servers:
    """Where everything is that replicas share, under names of this test's own."""

    brokers: str
    topic: str
    points: Points
    redis: str
    postgres: str
    rabbitmq: str
    directory: Path

    @property
    def exchange(self) -> str:
        """The exchange of alerts."""
        return f"alerts-{self.topic}"

    def configuration(self, **alerting: Any) -> dict[str, Any]:
        """The daemon's configuration; secrets are in files."""
        state = urlsplit(self.postgres)
        return {
            "ingestion": {
                "kafka": {
                    "brokers": [self.brokers],
                    "topic": self.topic,
                    "group_id": self.topic,
                    "auto_offset_reset": "earliest",
                    "dead_letter_topic": f"{self.topic}.dlq",
                }
            },
            "privacy": {"pseudonym_key_file": secret_file(self.directory / "pseudonym.key", PSEUDONYM_KEY)},
            "detection": {"zscore": {"metrics": ["latency_ms", "total_tokens", "cost_usd", "error"]}},
            "storage": {
                "influxdb": {"url": self.points.url, "token_file": self.points.token_file},
                "cache": {"live_ttl_secs": 0},
                "redis": {"enabled": True, "url": self.redis, "key_prefix": f"{self.topic}:", "dedupe": True},
            },
            "state": {"url": f"postgresql://{state.hostname}:{state.port}{state.path}", "username": state.username, "tls": "off"},
            "alerting": {
                "external_url": "https://sentinel.example",
                "event_anomalies": True,
                "rabbitmq": {
                    "url": f"amqp://127.0.0.1:{urlsplit(self.rabbitmq).port}",
                    "exchange": self.exchange,
                    "queue": f"{self.exchange}.all",
                },
                **alerting,
            },
        }

    def webhook(self, url: str) -> dict[str, Any]:
        """The `alerting.webhook` section for a receiver on loopback."""
        secret = secret_file(self.directory / "webhook.secret", SECRET)
        return {"enabled": True, "url": url, "secret_file": secret, "allowed_networks": ["127.0.0.0/8"]}


# ------------------------------------------------------------------------------------------------------------------ alerts


@dataclass(frozen=True)
class Told:
    """One message about an alert as somebody got it."""

    id: str
    alert: dict[str, Any]
    message: AbstractIncomingMessage


@asynccontextmanager
async def bound_queue(url: str, exchange: str, binding: str = "alert.#") -> AsyncIterator[list[Told]]:
    """What comes into a queue of our own, bound before anybody publishes."""
    got: list[Told] = []

    async def take(message: AbstractIncomingMessage) -> None:
        got.append(Told(message.message_id or "", json.loads(message.body), message))

    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        alerts = await channel.declare_exchange(exchange, aio_pika.ExchangeType.TOPIC, durable=True)
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(alerts, binding)
        await queue.consume(take, no_ack=True)
        yield got


@dataclass(frozen=True)
class Request:
    """One webhook request as it came, and what the example receiver answered."""

    headers: Mapping[str, str]
    body: bytes
    status: int


class Receiver:
    """The example webhook receiver as a process of its own, behind a tap that hands on every request as it is and keeps a copy."""

    def __init__(self, directory: Path) -> None:
        self.requests: list[Request] = []
        self._port, self._tap_port = free_port(), free_port()
        self._printed = directory / "receiver.log"
        secret = secret_file(directory / "receiver.secret", SECRET)
        command = [sys.executable, str(EXAMPLES / "webhook_receiver.py"), "--secret-file", secret, "--port", str(self._port)]
        self._process = ServerProcess("the webhook receiver", command, log=self._printed, environment={})

    @property
    def url(self) -> str:
        """Where requests are to be sent."""
        return f"http://127.0.0.1:{self._tap_port}/alerts"

    def printed(self) -> list[str]:
        """What the receiver has printed: an alert a line."""
        return self._printed.read_text().splitlines()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Receiver"]:
        """It and its tap, for a block."""
        await asyncio.to_thread(self._process.start, self._listens)
        application = web.Application()
        application.router.add_post("/alerts", self._hand_on)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self._tap_port).start()
            yield self
        finally:
            await runner.cleanup()
            await asyncio.to_thread(self._process.stop)

    async def _hand_on(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in {"host", "content-length"}}
        receiver = f"http://127.0.0.1:{self._port}/alerts"
        async with aiohttp.ClientSession() as session, session.post(receiver, data=body, headers=headers) as answer:
            self.requests.append(Request(request.headers.copy(), body, answer.status))
            return web.Response(status=answer.status)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0


def metric(text: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples that carry these labels; 0 when there are none."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples if sample.name == name]
    return float(sum(sample.value for sample in samples if labels.items() <= sample.labels.items()))
