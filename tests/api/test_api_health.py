"""Probes, status and ledger: they tell progress, and say why when there is none."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import pytest
from api_client import Client, Started, Stuck, event, until

from sentinel import __version__
from sentinel.app.daemon import Daemon
from sentinel.config.schema import Api, Config
from sentinel.config.schema import Pipeline as PipelineSection
from sentinel.core.errors import DrainError, RetryableError
from sentinel.core.ports import StoreWrite

PROBES = ("/health/live", "/health/ready", "/health/startup", "/api/v1/health")
NEED_THE_STORE = ("/api/v1/telemetry", "/api/v1/anomalies", "/api/v1/anomalies/recent", "/api/v1/anomalies/x", "/api/v1/services")


async def test_a_working_daemon_is_healthy(client: Client) -> None:
    """All probes 200 with status and time; HEAD is answered as well."""
    for probe in PROBES:
        answer = await client.get(probe)
        assert (answer.status, answer.json["status"], sorted(answer.json)) == (200, "healthy", ["status", "timestamp"])
        assert (await client.call("HEAD", probe)).status == 200


async def test_while_starting_only_the_probes_answer(tmp_path: Path) -> None:
    """The port is open before the daemon is ready: startup and readiness say so, live is fine, queries and ingest are 503."""
    daemon = Daemon(Config(state_dir=str(tmp_path), api=Api(bind_addr="127.0.0.1:0")))
    await daemon.server.open()
    async with aiohttp.ClientSession() as session:
        client = Client(daemon, session)
        for probe, status in zip(PROBES, (200, 503, 503, 503), strict=True):
            answer = await client.get(probe)
            assert (answer.status, answer.json.get("reasons")) == (status, None if status == 200 else ["starting"])
        for path in (*NEED_THE_STORE, "/api/v1/status", "/api/v1/ledger", "/api/v1/baselines", "/api/v1/metrics/summary"):
            answer = await client.get(path)
            assert (answer.status, answer.headers["Retry-After"]) == (503, "2"), path
        assert (await client.post(event(1))).status == 503
        for early in ("/metrics", "/api/v1/openapi.json", "/", "/docs", "/static/app.js"):
            assert (await client.get(early)).status == 200, early
    await daemon.close()


async def test_a_store_that_is_down_makes_the_daemon_not_ready(start: Started) -> None:
    """Degraded: readiness names the sink and the cure, liveness stays: a restart would not help. It ends with the trouble."""
    down = True

    def break_store(daemon: Daemon) -> None:
        write = daemon.store.write

        async def refuse(items: Sequence[StoreWrite]) -> None:
            if down:
                raise RetryableError("the disk is full; free space on it", after_s=0.01)
            await write(items)

        daemon.store.write = refuse  # type: ignore[method-assign]

    client = await start(prepare=break_store)
    sending = asyncio.create_task(client.post(event(1)))

    async def degraded() -> bool:
        return (await client.get("/health/ready")).status == 503

    await until(degraded)
    reasons = ["store: the disk is full; free space on it"]
    assert (await client.get("/api/v1/health")).json["reasons"] == reasons
    assert (await client.get("/api/v1/status")).json["health"] == {"status": "degraded", "reasons": reasons}
    assert (await client.get("/health/live")).status == 200
    assert 'storage_errors_total{kind="store"}' in (await client.get("/metrics")).body.decode()
    down = False
    assert (await sending).status == 202
    assert (await client.get("/health/ready")).status == 200


async def test_a_stall_makes_the_daemon_dead(start: Started) -> None:
    """Work that does not move for stall_secs although nobody holds it: liveness fails too, for a restart helps."""
    stuck = Stuck()
    client = await start(prepare=stuck, pipeline=PipelineSection(stall_secs=0.01))
    sending = asyncio.create_task(client.post(event(1)))
    await stuck.reached.wait()

    async def dead() -> bool:
        return (await client.get("/health/live")).status == 503

    await until(dead)
    for probe in ("/health/live", "/health/ready"):
        (reason,) = (await client.get(probe)).json["reasons"]
        assert reason.startswith("no progress for")
    stuck.go.set()
    assert (await sending).status == 202
    assert (await client.get("/health/live")).status == 200


async def test_a_stopping_daemon_takes_nothing_and_is_not_ready(start: Started) -> None:
    """Told to stop while the store is stuck: not ready, ingest is 503, and a caller that waits is told the truth."""
    stuck = Stuck()
    client = await start(prepare=stuck, pipeline=PipelineSection(drain_timeout_secs=0.05))
    waiting = asyncio.create_task(client.post(event(1)))
    await stuck.reached.wait()
    client.daemon.stop()
    assert (await client.get("/health/ready")).json["reasons"] == ["stopping"]
    assert (await client.post(event(2))).status == 503
    assert client.serving is not None
    serving, client.serving = client.serving, None
    with pytest.raises(DrainError):
        await serving
    await client.daemon.close()
    answer = await waiting
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert "event_ids" in answer.json["detail"]


async def test_status_counts_what_happened(client: Client) -> None:
    """Numbers of the status page: received, stored, dead-lettered, repeated, series, store, memory."""
    await client.post([event(1), event(1), event(2, service_name="search"), {"bad": 1}])
    status = (await client.get("/api/v1/status")).json
    assert (status["version"], status["mode"], status["paused"]) == (__version__, "embedded", False)
    assert (status["events_received"], status["events_stored"], status["dead_letters"], status["duplicates"]) == (4, 2, 1, 1)
    assert (status["in_flight"], status["filtered"], status["series"], status["queue_bytes"]) == (0, 0, 2, 0)
    assert status["partitions"] == ["embedded/http/0"]
    assert (status["store"]["events"], status["store"]["anomalies"]) == (2, 0)
    assert status["store"]["database_bytes"] > 0
    assert status["queue_max_bytes"] == 67_108_864
    assert status["rss_bytes"] > 1_000_000
    assert status["started_at"] <= status["watermark"]
    assert status["uptime_s"] >= 0
    assert status["health"] == {"status": "healthy", "reasons": []}


async def test_the_ledger_balances(client: Client) -> None:
    """Every event has its place, per partition."""
    assert (await client.get("/api/v1/ledger")).json == {"balanced": True, "partitions": []}
    await client.post([event(1), event(1), {"bad": 1}])
    assert (await client.get("/api/v1/ledger")).json == {
        "balanced": True,
        "partitions": [
            {
                "partition": "embedded/http/0",
                "received": 3,
                "stored": 1,
                "dead_lettered": 1,
                "duplicate": 1,
                "filtered": 0,
                "in_flight": 0,
                "imbalance": 0,
            }
        ],
    }


@pytest.mark.parametrize("late", [True, False])
async def test_an_event_that_is_nowhere_shows(client: Client, *, late: bool) -> None:
    """A lost event is an imbalance in the ledger; one in flight is not."""
    await client.send([event(1)])
    (account,) = client.daemon.pipeline.ledger.accounts.values()
    account.received += 1
    account.in_flight += late
    assert (await client.get("/api/v1/ledger")).json["balanced"] == late
