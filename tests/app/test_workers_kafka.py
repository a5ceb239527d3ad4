"""`sentinel run --workers 2` as people run it: a real broker, a real PostgreSQL, and the InfluxDB double."""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from daemon_run import event
from kafka_bench import produce, section, until, until_committed
from test_process import Sentinel, sentinel

from tools.servers.kafka import Broker
from tools.servers.process import free_port

pytest.importorskip("influxdb_client_3")
Topic = Callable[..., Awaitable[str]]
EVENTS = 400


def settings(path: Path, kafka: dict[str, Any], influx: str, database: str, port: int) -> str:
    """The configuration of all workers, as YAML that happens to be JSON."""
    parts = urlsplit(database)
    key = path / "pseudonym.key"
    key.write_text("0123456789abcdef")
    state = {"url": f"postgresql://{parts.hostname}:{parts.port}{parts.path}", "username": parts.username, "tls": "off"}
    return json.dumps(
        {
            "state_dir": str(path / "state"),
            "ingestion": {"kafka": kafka},
            "privacy": {"pseudonym_key_file": str(key)},
            "storage": {"influxdb": {"url": influx}},
            "state": state,
            "api": {"bind_addr": f"127.0.0.1:{port}"},
        }
    )


async def ready(running: Sentinel) -> dict[int, dict[str, Any]]:
    """What each of two workers said when it was ready."""
    found = {}
    while len(found) < 2:
        entry = await running.until("ready")
        found[entry["worker"]] = entry
    return found


@pytest.mark.parametrize("asked", ["option", "environment"])
async def test_two_workers_share_the_partitions(tmp_path: Path, kafka: Broker, topic: Topic, database: str, asked: str) -> None:
    """Each event is stored once, by whoever has its partition; each worker has its own port, place and name; both stop in order."""
    from sentinel.testing.influx_double import InfluxDouble

    group = section(kafka, await topic(partitions=4), group_instance_id="here")
    given = group.model_dump(mode="json", exclude={"security"}, exclude_none=True)
    port = free_port()
    with InfluxDouble() as double:
        text = settings(tmp_path, given, double.url, database, port)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("SENTINEL_", "STATE_"))}
        args = ("--workers", "2") if asked == "option" else ()
        more = {} if asked == "option" else {"SENTINEL_WORKERS": "2"}
        async with sentinel(tmp_path, *args, text=text, env={**environment, **more}) as running:
            told = await ready(running)
            assert {number: entry["port"] for number, entry in told.items()} == {1: port, 2: port + 1}
            await running.until("all workers are ready")
            await produce(kafka, group.topic, map(event, range(EVENTS)), partition=None)
            await until(lambda: double.rows("telemetry", "llm_telemetry") == EVENTS)
            await until_committed(kafka, group, dict.fromkeys(range(4), EVENTS // 4))
            running.process.send_signal(signal.SIGTERM)
            assert await running.ended() == 0
    stopped = [entry for line in running.lines if line.startswith("{") and (entry := json.loads(line))["event"] == "stopped"]
    assert sorted(entry["worker"] for entry in stopped) == [1, 2]
    assert sum(entry["stored"] for entry in stopped) == EVENTS
    assert all(entry["stored"] for entry in stopped)
    assert {path.name for path in (tmp_path / "state").iterdir() if path.name.startswith("worker")} == {"worker-1", "worker-2"}


async def test_what_belongs_to_one_process_is_refused(tmp_path: Path) -> None:
    """The built-in defaults with two workers: exit code 3, each missing part with its cure, and nothing is started."""
    async with sentinel(tmp_path, "--workers", "2") as running:
        assert await running.ended() == 3
    told = "\n".join(running.lines)
    assert all(key in told for key in ("ingestion.kafka", "storage.influxdb", "state.url", "privacy.pseudonym_key_file"))
    assert not (tmp_path / "state").exists()


async def test_one_worker_is_one_daemon(tmp_path: Path) -> None:
    """`--workers 1` needs nothing that one daemon does not: no supervisor, no directory of a worker."""
    async with sentinel(tmp_path, "--workers", "1") as running:
        entry = await asyncio.wait_for(running.until("ready"), 60)
        running.process.send_signal(signal.SIGTERM)
        assert await running.ended() == 0
    assert "worker" not in entry
    assert not (tmp_path / "state" / "worker-1").exists()
