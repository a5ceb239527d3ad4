"""The example producer does what its README says, and the daemon finds its anomalies."""

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from daemon_run import config, running
from kafka_bench import section, until

from sentinel.app.daemon import Daemon
from sentinel.config.schema import Ingestion
from tools.servers.kafka import Broker

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "producers" / "python"
KINDS = {"high_cost", "high_latency", "timed_out", "suspicious_pattern", "high_tokens"}
Topic = Callable[..., Awaitable[str]]


async def start(*options: str) -> Process:
    """The example as its users start it, with the SDK on its path."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "sdk" / "python" / "src")}
    return await asyncio.create_subprocess_exec(
        sys.executable, EXAMPLE / "producer.py", *options, stdout=PIPE, stderr=PIPE, env=environment
    )


async def run(*options: str) -> tuple[int | None, str, str]:
    """Exit code, output and complaints of a run to the end."""
    process = await start(*options)
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def found(daemon: Daemon) -> tuple[dict[str, str], dict[str, set[str]]]:
    """What kind each stored event is, by its id; and the types of anomalies reported, by kind."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{daemon.server.port}") as session:

        async def get(path: str) -> Any:
            async with session.get(path) as answer:
                return await answer.json()

        rows = (await get("/api/v1/telemetry?service=example-chat&hours=1&limit=1000"))["data"]
        anomalies = (await get("/api/v1/anomalies?service=example-chat&hours=1&limit=1000"))["anomalies"]
    kinds = {row["event_id"]: row["metadata"]["example"] for row in rows}
    types: dict[str, set[str]] = {}
    for anomaly in anomalies:
        types.setdefault(kinds[anomaly["event_id"]], set()).add(anomaly["type"])
    return kinds, types


def assert_found_as_told(types: dict[str, set[str]]) -> None:
    """Each kind of anomaly was found, as the README's table says."""
    text = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    told = {
        kind: set(re.findall(r"`(\w+_(?:spike|anomaly))`", rest)) for kind, rest in re.findall(r"^\| `(\w+)` \|(.*)$", text, re.MULTILINE)
    }
    assert set(told) == KINDS
    for kind, expected in told.items():
        assert expected
        assert expected <= types[kind], kind


async def test_all_anomalies_are_found_over_kafka(kafka: Broker, topic: Topic, tmp_path: Path) -> None:
    """With its defaults: 20 normal and 5 anomalous events, all stored, none rejected, and each of the five found as the README says."""
    ours = config(tmp_path, Ingestion(kafka=section(kafka, await topic())))
    assert ours.ingestion.kafka is not None
    async with running(ours) as daemon:
        code, out, err = await run("--brokers", kafka.bootstrap, "--topic", ours.ingestion.kafka.topic)
        assert (code, err) == (0, "")
        told = (EXAMPLE / "README.md").read_text(encoding="utf-8").split("```\n\n```\n")[1].split("```")[0]
        assert out == told
        await until(lambda: daemon.pipeline.ledger.total().stored >= 25)
        assert daemon.pipeline.ledger.total().dead_lettered == 0
        kinds, types = await found(daemon)
    assert sorted(kinds.values()) == sorted(["normal"] * 20 + list(KINDS))
    assert_found_as_told(types)


@pytest.mark.parametrize("seed", range(5))
async def test_all_anomalies_are_found_over_http(tmp_path: Path, seed: int) -> None:
    """Likewise without Kafka, whatever the dice say."""
    async with running(config(tmp_path)) as daemon:
        code, out, err = await run("--url", f"http://127.0.0.1:{daemon.server.port}", "--seed", str(seed), "--normal-events", "50")
        assert (code, err) == (0, "")
        assert out.startswith("55 of 55 events delivered: 50 normal, ")
        kinds, types = await found(daemon)
    assert len(kinds) == 55
    assert_found_as_told(types)


async def test_continuous_until_interrupted(tmp_path: Path) -> None:
    """Ctrl-C ends it in order: what was sent is delivered, and every hundredth event was anomalous."""
    async with running(config(tmp_path)) as daemon:
        process = await start("--url", f"http://127.0.0.1:{daemon.server.port}", "--continuous", "--rate", "500")
        await until(lambda: daemon.pipeline.ledger.total().stored >= 250)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            out, _ = await process.communicate()
        sent = daemon.pipeline.ledger.total().stored
    assert process.returncode == 0
    delivered, kinds = out.decode().split(" events delivered: ")
    assert delivered == f"{sent} of {sent}"
    assert sum(int(n) for n, kind in re.findall(r"(\d+) (\w+)", kinds) if kind != "normal") == sent // 100


async def test_what_cannot_be_delivered_is_told() -> None:
    """Nobody there: the exit code says it, and so does standard error."""
    code, out, err = await run("--url", "http://127.0.0.1:9", "--normal-events", "3", "--anomalous-events", "0")
    assert (code, out) == (1, "0 of 3 events delivered: 3 normal\n")
    assert "no answer from the daemon" in err
    assert "3 events lost" in err
    code, _, err = await run("--brokers", "")
    assert (code, err) == (1, "brokers: give host:port of one or more Kafka brokers\n")
