"""Daemons of one Kafka group, each with its own store, save in one bucket or directory: real broker, real requests."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from checkpoint_buckets import bucket
from checkpoint_buckets import section as bucket_section
from daemon_run import config, event, reading, run_to_the_end, running, until_stored, write
from kafka_bench import produce, section, until, until_committed

from sentinel.app.checkpoints import folders_of
from sentinel.app.daemon import Daemon
from sentinel.app.state import places
from sentinel.config.schema import Baseline, Config, Detection, Embedded, Ingestion, Kafka, Privacy, StateDatabase, Storage
from sentinel.config.secret import Secret
from sentinel.storage.checkpoint_objects import ObjectCheckpoints
from sentinel.storage.checkpoints import DirectoryCheckpoints
from tools.servers.kafka import Broker
from tools.servers.s3 import S3

Topic = Callable[..., Awaitable[str]]


def member(path: Path, kafka: Kafka, **more: Any) -> Config:
    """A replica with its state in `path`."""
    return config(path, Ingestion(kafka=kafka), privacy=Privacy(pseudonym_key=Secret("0123456789abcdef")), **more)


def ids(first: int, end: int) -> list[str]:
    """Of the events [first, end)."""
    return [f"e{number}" for number in range(first, end)]


async def test_a_replica_takes_over_with_the_state_of_another(tmp_path: Path, kafka: Broker, topic: Topic, s3: S3) -> None:
    """The first reads and stops; the second, with an empty state directory, goes on with the windows of both."""
    kept = StateDatabase(checkpoints=bucket(s3))
    group = section(kafka, await topic(partitions=1))
    await produce(kafka, group.topic, map(event, range(200)))
    one, two = member(tmp_path / "one", group, state=kept), member(tmp_path / "two", group, state=kept)
    async with running(one):
        await until_stored(one, ids(0, 200))
    assert all(key.startswith(f"{group.group_id}/") for key in ObjectCheckpoints(kept.checkpoints).list(""))
    await produce(kafka, group.topic, map(event, range(200, 250)))
    async with running(two) as daemon:
        await until_stored(two, ids(200, 250))
        (shard,) = daemon.pipeline.shards.values()
        (view,) = shard.baselines.views(range(1), lambda _key, metric: metric == "latency_ms")
        assert view.samples == 250
        assert daemon.metrics.state_missing._value.get() == 0


async def test_a_bucket_that_is_down_keeps_partitions_paused(tmp_path: Path, kafka: Broker, topic: Topic, own_s3: S3) -> None:
    """The state may be there: the daemon is not ready and says why, stores nothing, and goes on with the state once it is back."""
    settings = bucket(own_s3)
    group = section(kafka, await topic(partitions=1))
    await produce(kafka, group.topic, map(event, range(100)))
    one = member(tmp_path, group, state=StateDatabase(checkpoints=settings))
    async with running(one):
        await until_stored(one, ids(0, 100))
    await produce(kafka, group.topic, map(event, range(100, 120)))
    await asyncio.to_thread(own_s3.kill)
    async with running(one) as daemon:
        await until(lambda: any("state not restored" in reason for reason in daemon.context.reasons()))
        assert any("nobody answers; see state.checkpoints.endpoint" in reason for reason in daemon.context.reasons())
        assert daemon.pipeline.shards == {}
        assert daemon.pipeline.ledger.total().received == 0
        await asyncio.to_thread(own_s3.start)
        await asyncio.to_thread(own_s3.create_bucket, (settings.url or "").split("/")[2])
        await until_stored(one, ids(0, 120))
        assert daemon.context.reasons() == []


async def test_a_bucket_that_fails_while_it_runs_costs_no_event(tmp_path: Path, kafka: Broker, topic: Topic, own_s3: S3) -> None:
    """States are not saved and that is told; events are stored and committed meanwhile, and the next state is saved when it is back."""
    settings = bucket(own_s3)
    group = section(kafka, await topic(partitions=1))
    often = Detection(baseline=Baseline(update_interval_secs=0.01))
    one = member(tmp_path, group, state=StateDatabase(checkpoints=settings), detection=often)
    async with running(one) as daemon:
        await produce(kafka, group.topic, map(event, range(100)))
        await until_stored(one, ids(0, 100))
        await asyncio.to_thread(own_s3.kill)
        for number in range(100, 140):
            await produce(kafka, group.topic, [event(number)])
            if daemon.pipeline.unsaved:
                break
        (reason,) = daemon.pipeline.unsaved.values()
        assert "nobody answers" in reason
        await until_stored(one, ids(0, number + 1))
        await until_committed(kafka, group, {0: number + 1})
        await asyncio.to_thread(own_s3.start)
        await asyncio.to_thread(own_s3.create_bucket, (settings.url or "").split("/")[2])
    assert len(ObjectCheckpoints(settings).list(f"{group.group_id}/")) == 1


async def test_daemons_without_kafka_do_not_take_each_others_states(tmp_path: Path) -> None:
    """Two that read different files of one name save in one directory: each restarts with its own windows."""
    shared = Detection(baseline=Baseline(persistence_path=str(tmp_path / "shared")))
    made: list[Daemon] = []
    for name, count in (("one", 50), ("two", 80)):
        (tmp_path / name).mkdir()
        lines = write(tmp_path / "telemetry.jsonl", map(event, range(count)))
        settings = config(tmp_path / name, reading(lines), detection=shared)
        made.append(await run_to_the_end(settings))
    folders = [folders_of(daemon.config, places(daemon.config)) for daemon in made]
    assert folders[0].local != folders[1].local
    assert [len(DirectoryCheckpoints(tmp_path / "shared").list(folder.local)) for folder in folders] == [1, 1]
    assert folders_of(config(tmp_path), places(config(tmp_path))).local == ""


@pytest.mark.parametrize("persist", [True, False])
def test_which_store_it_is(tmp_path: Path, *, persist: bool) -> None:
    """A bucket where there is a URL, a directory otherwise, none when nothing is saved."""
    detection = Detection(baseline=Baseline(enable_persistence=persist))
    bucketed = Daemon(config(tmp_path, state=StateDatabase(checkpoints=bucket_section("http://127.0.0.1:1")), detection=detection))
    local = Daemon(config(tmp_path, detection=detection, storage=Storage(embedded=Embedded(path=str(tmp_path / "a.db")))))
    kinds = [type(daemon._saved) for daemon in (bucketed, local)]
    assert kinds == ([ObjectCheckpoints, DirectoryCheckpoints] if persist else [type(None)] * 2)
