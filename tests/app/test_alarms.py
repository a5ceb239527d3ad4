"""A daemon that is in trouble says so: to people, in metrics, in status and health. Everything real but the trouble."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from daemon_run import config, event, running
from fault_receiver import Receiver, receiving

from sentinel.alerting.alarms import Condition
from sentinel.app.alarms import instance_of
from sentinel.app.daemon import Daemon
from sentinel.app.startup import Restores
from sentinel.config.schema import Alarms, Alerting, Config, Ingestion, Kafka, Storage, Webhook
from sentinel.config.secret import Secret
from sentinel.core.batch import PartitionId
from sentinel.core.errors import CredentialsError
from sentinel.testing.influx_double import InfluxDouble

TOKEN = "token-of-the-double"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Who is told."""
    async with receiving() as made:
        yield made


def settings(path: Path, receiver: Receiver | None = None, **more: Any) -> Config:
    """A daemon that tells a receiver of itself, and soon that it is over."""
    webhook = {"alerting": Alerting(webhook=Webhook(**receiver.section()))} if receiver is not None else {}
    return config(path, **{"alarms": Alarms(quiet_secs=1.0), **webhook, **more})


def gauge(daemon: Daemon, condition: str) -> float | None:
    """What the metrics say of an alarm."""
    return daemon.metrics.registry.get_sample_value("sentinel_alarms", {"condition": condition})


async def until(fact: Callable[[], object]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(30):
        while not fact():  # noqa: ASYNC110  what is waited for comes from threads and other tasks
            await asyncio.sleep(0.02)


async def got(daemon: Daemon, path: str) -> Any:
    """An answer of the daemon's API."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{daemon.server.port}{path}") as answer:
        return await answer.json()


@pytest.fixture
def double() -> Iterator[InfluxDouble]:
    """A store that can refuse credentials."""
    with InfluxDouble(token=TOKEN) as server:
        yield server


async def test_refused_credentials_are_told_and_their_end(tmp_path: Path, receiver: Receiver, double: InfluxDouble) -> None:
    """401 from the store: an alert that names the cure, few further requests, nothing lost; and once it is mended, the end of the alert."""
    storage = Storage.model_validate({"influxdb": {"url": double.url, "token": Secret(TOKEN)}})
    async with running(settings(tmp_path, receiver, storage=storage)) as daemon:
        assert daemon.context.ingest is not None
        double.faults.status = 401
        requests = double.write_requests
        sending = asyncio.create_task(daemon.context.ingest.submit([event(1)]))
        await until(lambda: receiver.alerts)
        (first,) = [alert for _, alert in receiver.alerts]
        assert (first["type"], first["status"], first["severity"]) == ("daemon_auth_failed", "firing", "critical")
        assert "storage.influxdb.token" in first["description"]
        assert double.write_requests - requests <= 10  # asked every two seconds, each time once for a write
        assert gauge(daemon, "auth_failed") == 1
        (alarm,) = (await got(daemon, "/api/v1/status"))["alarms"]
        assert alarm.startswith("auth_failed: store: ")
        assert (await got(daemon, "/health/ready"))["alarms"] == [alarm]
        assert (await got(daemon, f"/api/v1/alerts/{first['alert_id']}"))["status"] == "firing"
        double.faults.clear()
        assert (await sending).stored == 1
        await until(lambda: len(receiver.alerts) > 1)
        over = receiver.alerts[-1][1]
        assert (over["alert_id"], over["status"], over["resolve_reason"]) == (first["alert_id"], "resolved", "recovered")
        assert len(receiver.ids()) == len(receiver.alerts) == 2
        assert gauge(daemon, "auth_failed") == 0
        status = await got(daemon, "/api/v1/status")
        assert (status["alarms"], status["health"]["status"]) == ([], "healthy")


async def test_an_event_that_vanishes_is_told(tmp_path: Path, receiver: Receiver) -> None:
    """An account that does not add up: the alert names the partition, and the daemon goes on taking traffic."""
    async with running(settings(tmp_path, receiver)) as daemon:
        assert daemon.context.ingest is not None
        await daemon.context.ingest.submit([event(1)])
        (source,) = daemon.pipeline.ledger.accounts
        daemon.pipeline.ledger.accounts[source].stored -= 1
        await until(lambda: receiver.alerts)
        alert = receiver.alerts[0][1]
        assert alert["type"] == "daemon_ledger_imbalance"
        assert alert["description"].endswith(f"events are nowhere: 1 of {source}.")
        assert daemon.context.reasons() == []
        assert gauge(daemon, "ledger_imbalance") == 1


async def test_states_that_cannot_be_saved_are_told(tmp_path: Path, receiver: Receiver) -> None:
    """A checkpoint directory that takes nothing: told once it has lasted, while events are stored all the same."""
    checkpoints = tmp_path / "state" / "checkpoints"
    checkpoints.parent.mkdir(mode=0o700)
    detection = {"baseline": {"update_interval_secs": 0.01}}
    made = config(tmp_path, detection=detection, alarms=Alarms(unsaved_secs=0.5), alerting=Alerting(webhook=Webhook(**receiver.section())))
    async with running(made) as daemon:
        checkpoints.rmdir() if checkpoints.exists() else None
        checkpoints.write_text("a file where the directory should be")
        assert daemon.context.ingest is not None
        for i in range(100):
            await daemon.context.ingest.submit([event(i)])
            if daemon.pipeline.unsaved:
                break
        await until(lambda: receiver.alerts)
        assert receiver.alerts[0][1]["type"] == "daemon_state_unsaved"
        assert daemon.context.reasons() == []
        checkpoints.unlink()


async def test_a_daemon_with_nobody_to_tell_still_shows_it(tmp_path: Path) -> None:
    """Without receivers the alarm stands in metrics and status."""
    async with running(settings(tmp_path)) as daemon:
        daemon.pipeline.progress.held("store", "refused", credentials=True)
        await until(lambda: gauge(daemon, "auth_failed"))
        assert daemon.context.alarms() == ["auth_failed: store: refused"]


async def test_alarms_can_be_switched_off(tmp_path: Path, receiver: Receiver) -> None:
    """With `alarms.enabled` false nothing looks and nobody is told."""
    async with running(settings(tmp_path, receiver, alarms=Alarms(enabled=False))) as daemon:
        daemon.pipeline.progress.held("store", "refused", credentials=True)
        assert daemon.context.alarms() == []
        assert gauge(daemon, "auth_failed") is None
        daemon.pipeline.progress.held("store", None)


async def test_every_condition_has_its_metric_from_the_start(tmp_path: Path) -> None:
    """A bounded set, all at 0, so that a rule on it is no rule on nothing."""
    async with running(settings(tmp_path)) as daemon:
        assert {condition.value: gauge(daemon, condition.value) for condition in Condition} == dict.fromkeys(Condition, 0.0)


def test_a_daemon_has_a_name_of_its_own() -> None:
    """In a group its id there; else machine and port, so that two on one machine differ."""
    kafka = Kafka(brokers=["localhost:9092"], group_instance_id="replica-3")
    assert instance_of(Config(ingestion=Ingestion(kafka=kafka))) == "replica-3"
    assert instance_of(Config()).endswith(":8080")


class Refusing:
    """Restores partitions as long as the store takes our credentials."""

    refuses = True

    async def assigned(self, source: PartitionId, committed: int | None, epoch: int, *, rereadable: bool = True) -> int | None:
        """Where to start."""
        del source, epoch, rereadable
        if self.refuses:
            raise CredentialsError("the store refuses our credentials (403)")
        return committed

    async def revoked(self, source: PartitionId) -> None:
        """Forget it."""


async def test_credentials_that_are_refused_while_restoring_are_known() -> None:
    """A partition that stays paused for them is an alarm like a write that is held, until it is restored or gone."""
    owner, log = Refusing(), PartitionId("c", "t", 0)
    restores = Restores(owner)
    for end in ("restored", "revoked"):
        owner.refuses = True
        with pytest.raises(CredentialsError):
            await restores.assigned(log, 5, 1)
        assert restores.refused == "the store refuses our credentials (403)"
        owner.refuses = False
        if end == "restored":
            assert await restores.assigned(log, 5, 1) == 5
        else:
            await restores.revoked(log)
        assert restores.refused is None


async def test_a_stuck_worker_turns_the_probes_red(tmp_path: Path) -> None:
    """A worker thread that does not come back moves nothing: liveness and readiness say so once `stall_secs` have passed."""
    made = config(tmp_path, pipeline={"stall_secs": 0.05})
    async with running(made) as daemon:
        assert daemon.context.ingest is not None
        await daemon.context.ingest.submit([event(0)])
        (shard,) = daemon.pipeline.shards.values()
        with shard.lock:  # the worker waits for it
            sending = asyncio.create_task(daemon.context.ingest.submit([event(1)]))
            await until(daemon.pipeline.progress.stalled)
            for probe in ("/health/live", "/health/ready"):
                answer = await got(daemon, probe)
                assert answer["reasons"][0].startswith("no progress for ")
        assert (await sending).stored == 1
        assert (await got(daemon, "/health/live"))["status"] == "healthy"
