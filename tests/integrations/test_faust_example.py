"""The example of a Faust application runs as its README says, against a real Kafka."""

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import orjson
from aiokafka import AIOKafkaProducer

from sentinel.testing.simulator import Simulator
from tools.servers import kafka as apache_kafka

EXAMPLE = Path(__file__).parents[2] / "examples" / "faust"
EVENTS = 500
LONGEST_S = 90.0
LINE = re.compile(r" (\d\d:\d\d) (\S+) requests=(\d+) cost_usd=(\d+\.\d+)$")
NO_EVENTS = re.compile(r" (\d+) records are no events, the last at offset \d+$")


@asynccontextmanager
async def worker(directory: Path, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`faust -A app worker`, stopped by SIGTERM at the end, and killed when that does not help."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "faust", "-A", "app", "--datadir", str(directory / "data"), "worker", "--without-web", "-l", "info"),
        cwd=EXAMPLE,
        env=os.environ | environment | {"PYTHONPATH": f"{EXAMPLE.parents[1]}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(30):
                    await process.communicate()
            except TimeoutError:
                process.kill()
                await process.wait()


async def send(bootstrap: str, topic: str) -> dict[str, tuple[int, float]]:
    """Produce the simulated events and two records that are none; what each service had, and what it cost."""
    records = [r for block in Simulator(7).events(EVENTS, time.time_ns(), 1_000_000) for r in block]
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        for position, record in enumerate([b"{no event", *records, None]):
            await producer.send(topic, record, key=b"series", partition=position % 4)
    finally:
        await producer.stop()
    wanted: dict[str, tuple[int, float]] = {}
    for record in records:
        event = orjson.loads(record)
        count, usd = wanted.get(event["service_name"], (0, 0.0))
        wanted[event["service_name"]] = (count + 1, usd + event.get("cost_usd", 0.0))
    return wanted


async def test_the_example_counts_what_each_service_cost(
    kafka: apache_kafka.Broker, topic: Callable[..., Awaitable[str]], tmp_path: Path
) -> None:
    """500 simulated events are counted to the unit, what is no event stops nothing, and SIGTERM ends the worker in order."""
    name = await topic(4)
    wanted = await send(kafka.bootstrap, name)
    minutes: dict[tuple[str, str], tuple[int, float]] = {}
    environment = {"BROKER": f"kafka://{kafka.bootstrap}", "TOPIC": name, "APP_ID": f"costs-{uuid4().hex}"}
    unusable, log = 0, ""
    async with worker(tmp_path, **environment) as process:
        assert process.stdout is not None
        async with asyncio.timeout(LONGEST_S):
            while sum(count for count, _ in minutes.values()) < EVENTS or unusable < 2:
                line = (await process.stdout.readline()).decode()
                log += line
                assert line, log
                if found := LINE.search(line.strip()):
                    minute, service, count, usd = found.groups()
                    minutes[minute, service] = (int(count), float(usd))
                elif told := NO_EVENTS.search(line.strip()):
                    unusable += int(told[1])
    assert process.returncode == 0
    for service, (count, usd) in wanted.items():
        of_service = [figures for (_, name), figures in minutes.items() if name == service]
        assert sum(figures[0] for figures in of_service) == count
        assert abs(sum(figures[1] for figures in of_service) - usd) < 1e-4
    assert unusable == 2
