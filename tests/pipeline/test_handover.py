"""Replicas with stores of their own save in one place: who takes up a partition goes on with the state of who had it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoint_bench import LOG, SHARED, Flaky, Replica, deliveries, state_of
from structlog.testing import capture_logs

from sentinel.core.batch import LOCAL_CLUSTER
from sentinel.core.errors import RetryableError
from sentinel.pipeline.restore import KEEP, Checkpoints, Folders
from sentinel.storage.checkpoints import DirectoryCheckpoints


async def whole(path: Path, end: int) -> bytes:
    """The state of one that has read everything, as a blob."""
    async with Replica(path / "whole", None) as replica:
        await replica.read(deliveries(0, end))
        return replica.shard.copied().blob()


def offsets(store: DirectoryCheckpoints) -> list[int]:
    """Of the checkpoints there are."""
    return [int(key.rpartition("/")[2].partition("-")[0]) for key in store.list("group/")]


async def test_a_new_owner_goes_on_with_the_state_of_the_one_before(tmp_path: Path) -> None:
    """It reads again from the checkpoint on, and its state is bit for bit that of one that has read everything."""
    saved = DirectoryCheckpoints(tmp_path / "saved")
    async with Replica(tmp_path / "one", saved) as one:
        await one.read(deliveries(0, 400))
    async with Replica(tmp_path / "two", saved) as two:
        source = await two.read(deliveries(0, 600), committed=450)
        assert source.positions[0] == 450
        assert await two.offsets() == list(range(400, 600))
        assert two.shard.copied().blob() == await whole(tmp_path, 600)
        assert two.count("state_missing_total") == 0


async def test_a_checkpoint_ahead_of_the_group_is_not_used(tmp_path: Path) -> None:
    """A replica that died between saving and committing: the group's offset decides, and the state before it is taken."""
    saved = DirectoryCheckpoints(tmp_path / "saved")
    for end in (200, 300):
        async with Replica(tmp_path / "one", saved) as one:
            await one.read(deliveries(0, end))
    async with Replica(tmp_path / "two", saved) as two:
        await two.read(deliveries(0, 500), committed=250)
        assert await two.offsets() == list(range(200, 500))
        assert two.shard.copied().blob() == await whole(tmp_path, 500)


async def test_an_owner_that_comes_back_takes_the_state_of_who_was_there_meanwhile(tmp_path: Path) -> None:
    """Its own rows end earlier: windows that lack what the other has read would not be those of the log."""
    saved = DirectoryCheckpoints(tmp_path / "saved")
    async with Replica(tmp_path / "one", saved) as one:
        await one.read(deliveries(0, 200))
    async with Replica(tmp_path / "two", saved) as two:
        await two.read(deliveries(0, 500), committed=200)
    async with Replica(tmp_path / "one", saved) as one:
        await one.read(deliveries(0, 600), committed=520)
        assert await one.offsets() == [*range(200), *range(500, 600)]
        assert one.shard.copied().blob() == await whole(tmp_path, 600)


async def test_the_other_had_no_time_to_save(tmp_path: Path) -> None:
    """The newest state is our own, where our rows end: what the other has read is read again."""
    saved = DirectoryCheckpoints(tmp_path / "saved")
    async with Replica(tmp_path / "one", saved) as one:
        await one.read(deliveries(0, 200))
    async with Replica(tmp_path / "one", saved) as one:
        await one.read(deliveries(0, 400), committed=300)
        assert await one.offsets() == list(range(400))
        assert one.shard.copied().blob() == await whole(tmp_path, 400)


@pytest.mark.parametrize("stored", [0, 200])
async def test_nothing_to_go_on_with_is_told(tmp_path: Path, stored: int) -> None:
    """States are not shared: reading goes on where the group stands, and that windows lack what was read is counted and told."""
    own = Folders()
    async with Replica(tmp_path / "one", DirectoryCheckpoints(tmp_path / "own"), folders=own) as one:
        await one.read(deliveries(0, stored))
    with capture_logs() as lines:
        async with Replica(tmp_path / "one", DirectoryCheckpoints(tmp_path / "own"), folders=own) as one:
            await one.read(deliveries(0, 400), committed=300)
            assert await one.offsets() == [*range(stored), *range(300, 400)]
            assert one.count("state_missing_total") == 1
    (told,) = [line for line in lines if line["event"].startswith("no state found for what was read before")]
    assert told["partition"] == "cluster/llm.telemetry/3"
    assert "state.checkpoints.url" in told["cure"]


async def test_a_log_nobody_has_read_lacks_nothing(tmp_path: Path) -> None:
    """A new group on a new topic is no missing state."""
    async with Replica(tmp_path, DirectoryCheckpoints(tmp_path / "saved")) as one:
        await one.read(deliveries(0, 50), committed=0)
        assert one.count("state_missing_total") == 0


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _blob: b"",
    "cut": lambda blob: blob[: len(blob) // 2],
    "without its end": lambda blob: blob[:-1],
    "longer": lambda blob: blob + b"\0",
    "a bit of the magic": lambda blob: b"\x00" + blob[1:],
    "a bit of the payload": lambda blob: blob[:9_000] + bytes([blob[9_000] ^ 1]) + blob[9_001:],
    "of the future": lambda blob: blob[:8] + b"\xff\x7f" + blob[10:],
    "of zeros": lambda blob: bytes(len(blob)),
    "of another program": lambda _blob: b"\x80\x04\x95" + b"cposix\nsystem\n" * 10,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
@pytest.mark.parametrize("has_rows", [True, False], ids=["own rows", "another's rows"])
async def test_a_damaged_checkpoint_costs_time_and_no_state(tmp_path: Path, damage: Callable[[bytes], bytes], *, has_rows: bool) -> None:
    """The one before is taken and the rest learned again, from rows or from the log: the state is the same. It is counted."""
    saved = DirectoryCheckpoints(tmp_path / "saved")
    for end in (200, 300):
        async with Replica(tmp_path / "one", saved) as one:
            await one.read(deliveries(0, end))
    expected = state_of(one.shard)
    newest = saved.list("group/")[-1]
    saved.put(newest, damage(saved.get(newest) or b""))
    async with Replica(tmp_path / ("one" if has_rows else "two"), saved) as two:
        await two.read(deliveries(0, 300), committed=300)
        assert state_of(two.shard) == expected
        assert two.count("checkpoint_errors_total", kind="load") == 1
        assert two.count("state_missing_total") == 0


@pytest.mark.parametrize("end", [100, 300])
async def test_every_checkpoint_is_gone(tmp_path: Path, end: int) -> None:
    """With rows here, they are learned; the state is the same as if nothing had been lost."""
    saved = DirectoryCheckpoints(tmp_path / "saved")
    async with Replica(tmp_path / "one", saved) as one:
        await one.read(deliveries(0, end))
    for key in saved.list(""):
        saved.delete(key)
    async with Replica(tmp_path / "one", saved) as again:
        await again.source(deliveries(0, end), committed=end)
        assert state_of(again.shard) == state_of(one.shard)
        assert again.count("state_missing_total") == 0


async def test_a_place_that_cannot_be_read_starts_nothing(tmp_path: Path) -> None:
    """The state may be there: the partition is not taken up with empty windows, and works once the place does."""
    saved = Flaky(DirectoryCheckpoints(tmp_path / "saved"))
    async with Replica(tmp_path / "one", saved) as one:
        await one.read(deliveries(0, 200))
    async with Replica(tmp_path / "two", saved) as two:
        saved.failure = "the place is down"
        with pytest.raises(RetryableError, match="the place is down"):
            await two.source(deliveries(0, 300), committed=200)
        assert two.pipeline.shards == {}
        saved.failure = ""
        saved.unreadable = set(saved.list("group/"))
        with pytest.raises(RetryableError, match="Input/output error"):
            await two.source(deliveries(0, 300), committed=200)
        assert two.pipeline.shards == {}
        saved.unreadable = set()
        await two.read(deliveries(0, 300), committed=200)
        assert two.shard.copied().blob() == await whole(tmp_path, 300)


async def test_one_blob_that_cannot_be_read_does_not_hold_up(tmp_path: Path) -> None:
    """A bad sector under the newest one: the one before is taken."""
    saved = Flaky(DirectoryCheckpoints(tmp_path / "saved"))
    for end in (200, 300):
        async with Replica(tmp_path / "one", saved) as one:
            await one.read(deliveries(0, end))
    saved.unreadable = {saved.list("group/")[-1]}
    async with Replica(tmp_path / "two", saved) as two:
        await two.read(deliveries(0, 400), committed=300)
        assert two.shard.copied().blob() == await whole(tmp_path, 400)
        assert two.count("checkpoint_errors_total", kind="load") == 1


async def test_the_last_ones_are_kept_also_behind_those_of_others(tmp_path: Path) -> None:
    """Who is further back than the newest keeps its own as well; who is further on clears them away."""
    saved = DirectoryCheckpoints(tmp_path / "saved")
    async with Replica(tmp_path / "one", saved) as one:
        await one.read(deliveries(0, 50))
        keeper: Checkpoints = one.pipeline._checkpoints
        state = one.shard.copied()
        for end in (900, 1_000, 1_100):
            assert keeper.save(LOG, end, state)
        assert offsets(saved) == [1_000, 1_100]
        for end in (300, 400, 500):
            assert keeper.save(LOG, end, state)
        assert offsets(saved) == [400, 500, 1_000, 1_100]
        assert keeper.save(LOG, 1_200, state)
        assert len(offsets(saved)) == KEEP
        assert offsets(saved) == [1_100, 1_200]


async def test_logs_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    """Two groups, two daemons without Kafka: each finds its own; files that nobody wrote are no checkpoints."""
    saved = DirectoryCheckpoints(tmp_path / "saved")
    async with Replica(tmp_path / "one", saved) as one:
        await one.read(deliveries(0, 100))
    saved.put(SHARED.of(LOG) + "note.txt", b"by a person")
    saved.put(SHARED.of(LOG) + "latest-1.ckpt", b"by a person")
    async with Replica(tmp_path / "two", saved, folders=Folders(shared="another/")) as two:
        await two.read(deliveries(0, 200), committed=100)
        assert two.count("state_missing_total") == 1
    async with Replica(tmp_path / "three", saved) as three:
        await three.read(deliveries(0, 100), committed=100)
        assert three.count("state_missing_total") + three.count("checkpoint_errors_total", kind="load") == 0
    local = LOG._replace(cluster=LOCAL_CLUSTER)
    assert Folders("g/", "i/").of(local) != Folders("g/", "j/").of(local)
