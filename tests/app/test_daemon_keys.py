"""The keys of the configuration that the wiring and the housekeeping are responsible for: each acts."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from daemon_run import EVER, config, event, letters, names, reading, run_to_the_end, running, saved, write

from sentinel.app import state
from sentinel.app.housekeeping import Housekeeping
from sentinel.config.schema import (
    Api,
    Baseline,
    DeadLetters,
    Detection,
    Embedded,
    InfluxDB,
    StateDatabase,
    Storage,
)
from sentinel.core.errors import RetryableError, StartupError
from sentinel.core.query import SeriesQuery, TelemetryQuery
from sentinel.testing.fakes import ManualClock


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", "[::1]:0"])
async def test_bind_addr(tmp_path: Path, address: str) -> None:
    """It listens there: by number, by name, on IPv6."""
    try:
        async with running(config(tmp_path, api=Api(bind_addr=address))) as daemon:
            url = f"http://{address.rpartition(':')[0]}:{daemon.server.port}/health/live"
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                assert answer.status == 200
    except StartupError:
        if "::1" not in address:
            raise
        pytest.skip("this machine has no IPv6")


async def test_every_path_can_be_moved(tmp_path: Path) -> None:
    """Databases, checkpoints and dead letters lie where the configuration says; missing directories are made."""
    ingestion = reading(
        write(tmp_path / "a.jsonl", [event(0), b"bad"]), dead_letters=DeadLetters(path=str(tmp_path / "x" / "letters.jsonl"))
    )
    settings = config(
        tmp_path,
        ingestion,
        storage=Storage(embedded=Embedded(path=str(tmp_path / "y" / "events.db"))),
        state=StateDatabase(path=str(tmp_path / "w" / "state.db")),
        detection=Detection(baseline=Baseline(persistence_path=str(tmp_path / "z"))),
    )
    await run_to_the_end(settings)
    assert (tmp_path / "x" / "letters.jsonl").exists()
    assert (tmp_path / "y" / "events.db").exists()
    assert (tmp_path / "w" / "state.db").exists()
    assert saved(tmp_path / "z")
    assert names(tmp_path / "state") == ["instance.id", "pseudonym.key"]


@pytest.mark.parametrize(
    ("shared", "named"),
    [
        ({}, False),
        ({"storage": Storage(influxdb=InfluxDB())}, True),
        ({"state": StateDatabase(url="postgresql://127.0.0.1:5432/sentinel")}, True),
    ],
)
def test_daemons_that_share_a_store_call_their_logs_by_their_own_names(tmp_path: Path, shared: dict[str, Any], named: bool) -> None:
    """Two daemons on one InfluxDB or PostgreSQL never take each other's positions for theirs; a restart keeps the name."""
    found = []
    for name in ("one", "one", "two"):
        settings = config(tmp_path / name, **shared)
        where = state.places(settings)
        state.prepare(where)
        found.append(state.local_cluster(settings, where))
    assert found[0] == found[1]
    assert (found[0] != found[2]) is named
    assert all(name.startswith("embedded") for name in found)


async def test_without_persistence_no_state_is_saved(tmp_path: Path) -> None:
    """enable_persistence false: rows only."""
    path = write(tmp_path / "a.jsonl", [event(0)])
    settings = config(tmp_path, reading(path), detection=Detection(baseline=Baseline(enable_persistence=False)))
    await run_to_the_end(settings)
    assert saved(tmp_path / "state" / "checkpoints") == []


async def test_dead_letters_are_rotated_and_cut(tmp_path: Path) -> None:
    """max_bytes: one predecessor is kept; max_record_chars: what is quoted of a record."""
    path = write(tmp_path / "a.jsonl", [b"x" * 1_000] * 300)
    settings = config(tmp_path, reading(path, dead_letters=DeadLetters(max_bytes=65_536, max_record_chars=10)))
    await run_to_the_end(settings)
    assert {len(letter["record"]) for letter in letters(settings)} == {10}
    assert {letter["record_bytes"] for letter in letters(settings)} == {1_000}
    with path.open("ab") as file:
        file.write(b"more\n")
    await run_to_the_end(settings)
    assert len(letters(settings)) == 1
    assert len((tmp_path / "state" / "dead-letters.jsonl.1").read_text().splitlines()) == 300


async def test_rollups_follow_within_their_interval(tmp_path: Path) -> None:
    """rollup_interval_secs: traffic shows without anybody asking for it."""
    async with running(config(tmp_path, storage=Storage(embedded=Embedded(rollup_interval_secs=0.001)))) as daemon:
        assert daemon.context.ingest is not None
        await daemon.context.ingest.submit([event(0)])
        async with asyncio.timeout(20):
            while not (await daemon.store.timeseries(SeriesQuery(range=EVER, step_s=86_400)))[0].points:  # noqa: ASYNC110  folded aside
                await asyncio.sleep(0)


async def test_retention_deletes_what_is_too_old(tmp_path: Path) -> None:
    """Once a minute events beyond telemetry_retention_hours are deleted and counted; younger ones and anomalies stay."""
    retention = Embedded(telemetry_retention_hours=2, rollup_retention_hours=100, rollup_interval_secs=0.001)
    async with running(config(tmp_path, storage=Storage(embedded=retention))) as daemon:
        assert daemon.context.ingest is not None
        now_ns = daemon.clock.now_ns()
        await daemon.context.ingest.submit([event(i, timestamp=(now_ns - i * 3_600 * 10**9) // 10**6) for i in range(5)])
        housekeeping = Housekeeping()
        housekeeping.start(replace(daemon.context, clock=ManualClock(now_ns)), daemon.store)
        async with asyncio.timeout(20):
            while not daemon.metrics.storage_pruned_rows._value.get():  # noqa: ASYNC110  pruned aside
                await asyncio.sleep(0)
        await housekeeping.close()
        page = await daemon.store.telemetry(TelemetryQuery(range=EVER))
    assert [item["event_id"] for item in page.items] == ["e0", "e1"]
    assert daemon.metrics.storage_pruned_rows._value.get() == 3


async def test_housekeeping_outlives_a_store_in_trouble(tmp_path: Path) -> None:
    """Retention that fails is tried again; the gauges go on."""
    async with running(config(tmp_path)) as daemon:
        failures = 0

        async def fail(now_ns: int) -> int:
            nonlocal failures
            failures += 1
            raise RetryableError("the disk is full")

        daemon.store.prune = fail  # type: ignore[method-assign]
        housekeeping = Housekeeping()
        housekeeping.start(replace(daemon.context, clock=ManualClock()), daemon.store)
        async with asyncio.timeout(20):
            while failures < 3:  # noqa: ASYNC110  counted aside
                await asyncio.sleep(0)
        assert daemon.metrics.ready._value.get() == 1
        await housekeeping.close()
        await housekeeping.close()


async def test_gauges_tell_the_state(tmp_path: Path) -> None:
    """Series, samples, flight, queue, watermark and the rate of the last seconds follow what happens."""
    async with running(config(tmp_path)) as daemon:
        assert daemon.context.ingest is not None
        clock = ManualClock(daemon.clock.now_ns())
        housekeeping = Housekeeping()
        context = replace(daemon.context, clock=clock, events_per_s=housekeeping.events_per_s)
        assert housekeeping.events_per_s() == 0.0
        housekeeping._refresh(context)
        await daemon.context.ingest.submit([event(i, timestamp=(clock.now_ns() - 10**10) // 10**6) for i in range(30)])
        clock.advance(2)
        housekeeping._refresh(context)
        values = {
            sample.name: sample.value for family in daemon.metrics.registry.collect() for sample in family.samples if not sample.labels
        }
    assert housekeeping.events_per_s() == pytest.approx(15.0)
    assert (values["sentinel_baseline_series"], values["sentinel_events_in_flight"], values["sentinel_ledger_imbalance"]) == (1, 0, 0)
    assert (values["sentinel_baseline_samples"], values["sentinel_baseline_updates_total"]) == (30, 30)
    assert values["sentinel_watermark_age_seconds"] == pytest.approx(12, abs=0.01)
    assert values["sentinel_ready"] == 1
