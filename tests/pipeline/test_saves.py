"""Saving runs beside the stream: a place that is slow, full or down holds up no event, fills no memory, and is used again when it works."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkpoint_bench import LOG, Flaky, Replica, config, deliveries

from sentinel.config.schema import Pipeline
from sentinel.observability.metrics import Metrics
from sentinel.pipeline.save import AGAIN_AFTER_S, Saves
from sentinel.storage.checkpoints import DirectoryCheckpoints
from sentinel.testing.fakes import ManualClock, Step

ALWAYS = 1e-9


async def test_a_slow_place_holds_up_no_event(tmp_path: Path) -> None:
    """A put does not return: everything is stored and acked meanwhile, and no more states are made than may wait."""
    saved = Flaky(DirectoryCheckpoints(tmp_path / "saved"))
    saved.through.clear()
    async with Replica(tmp_path, saved, config(ALWAYS)) as one:
        source = await one.source([*deliveries(0, 2_000), Step.WAIT])
        one.clock.advance(1)
        running = asyncio.create_task(one.pipeline.run([source]))
        async with asyncio.timeout(30):
            while not source.positions or source.positions[-1] < 2_000:
                one.clock.advance(1)
                await asyncio.sleep(0.001)
        assert saved.puts == 1
        assert await one.offsets() == list(range(2_000))
        saved.through.set()
        one.pipeline.stop()
        await running
        assert saved.puts <= 2
        assert one.pipeline.unsaved == {}


async def test_a_stop_waits_no_longer_than_it_may(tmp_path: Path) -> None:
    """The place does not answer: the stop ends within `drain_timeout_secs`, everything is acked, and the rows bring the state back."""
    saved = Flaky(DirectoryCheckpoints(tmp_path / "saved"))
    saved.through.clear()
    try:
        async with Replica(tmp_path, saved, config(pipeline=Pipeline(drain_timeout_secs=0.05))) as one:
            source = await one.source([*deliveries(0, 100), Step.WAIT])
            running = asyncio.create_task(one.pipeline.run([source]))
            await source.first_ack.wait()
            one.pipeline.stop()
            async with asyncio.timeout(20):
                await running
            assert source.positions[-1] == len(await one.offsets())
    finally:
        saved.through.set()


async def test_a_place_that_is_down_is_asked_seldom_and_used_again(tmp_path: Path) -> None:
    """Every put fails: each is counted and told with its reason, none is made right after another; then one works and all is well."""
    saved = Flaky(DirectoryCheckpoints(tmp_path / "saved"))
    saved.full = "the place is full"
    async with Replica(tmp_path, saved, config(AGAIN_AFTER_S)) as one:
        script = deliveries(0, 1_000)
        for end in range(2, 18, 2):
            one.clock.advance(1.0)
            await one.read(script[:end])
        failures = one.count("checkpoint_errors_total", kind="save")
        assert failures == saved.puts
        assert one.pipeline.unsaved == {LOG: "the place is full"}
        assert await one.offsets() == list(range(800))
        saved.full = ""
        one.clock.advance(AGAIN_AFTER_S + 1)
        await one.pipeline.run([await one.source(script)])
        assert one.pipeline.unsaved == {}
        assert one.count("checkpoint_errors_total", kind="save") == failures
        assert saved.list("group/")[-1].rpartition("/")[2].startswith("00000000000000001000-")


async def test_one_state_at_a_time() -> None:
    """Its place is taken by a claim and given back by a drop or a write, a failed one too; after that nothing is copied for a while."""
    clock = ManualClock()
    saves = Saves(Metrics(), clock)
    assert [saves.claim() for _ in range(3)] == [True, False, False]
    saves.drop()
    done: list[int] = []
    for number in (1, 2):
        assert saves.claim()
        saves.put(lambda number=number: done.append(number) is not None or number == 1)
        assert not saves.claim()
        await saves.end()
    assert done == [1, 2]
    assert not saves.claim()
    clock.advance(AGAIN_AFTER_S)
    assert saves.claim()
    await saves.close()
    await saves.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None:
        pytest.skip("a file system cannot be mounted here")
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", path], capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be mounted here")
    yield path
    subprocess.run([umount, path], check=True)


async def test_a_full_disk_costs_no_event_and_recovers(tmp_path: Path, small_disk: Path) -> None:
    """ENOSPC: nothing is lost or doubled, the checkpoint before stays whole, and once there is room the state is saved again."""
    saved = DirectoryCheckpoints(small_disk / "saved")
    settings = config()
    async with Replica(tmp_path, saved, settings) as one:
        await one.read(deliveries(0, 100))
    (before,) = saved.list("group/")
    ballast = small_disk / "ballast"
    free = shutil.disk_usage(small_disk).free
    ballast.write_bytes(bytes(free - 4_096))
    async with Replica(tmp_path, saved, settings) as one:
        await one.read(deliveries(0, 1_000))
        assert await one.offsets() == list(range(1_000))
        assert "No space left on device" in one.pipeline.unsaved[LOG]
    assert saved.list("group/") == [before]
    assert [file.name for file in (small_disk / "saved").iterdir() if file.name.startswith(".")] == []
    ballast.unlink()
    async with Replica(tmp_path, saved, settings) as one:
        await one.read(deliveries(0, 1_050))
        assert one.count("checkpoint_errors_total", kind="load") == 0
        assert await one.offsets() == list(range(1_050))
    assert len(saved.list("group/")) == 2
