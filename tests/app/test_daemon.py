"""Start and end of a daemon in the test's own loop, everything real: what prevents a start says so, and a stop loses nothing."""

import asyncio
import gc
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from daemon_run import EVER, config, event, reading, refused, run_to_the_end, running, saved, stored, write

from sentinel.app.daemon import Daemon
from sentinel.app.serve import serve
from sentinel.config.schema import (
    Api,
    DeadLetters,
    Embedded,
    Ingestion,
    Privacy,
    Storage,
)
from sentinel.config.secret import Secret
from sentinel.core.query import TelemetryQuery


async def test_a_state_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """A file where the directory should be, or above it: the message names the place and the key."""
    write(tmp_path / "state", [])
    said = await refused(config(tmp_path))
    assert str(tmp_path / "state") in said
    assert "state_dir" in said
    said = await refused(config(tmp_path / "state"))
    assert str(tmp_path / "state" / "state") in said


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
async def test_a_state_directory_that_may_not_be_written(tmp_path: Path) -> None:
    """No permission: the message names the directory and what to change."""
    (tmp_path / "state").mkdir(mode=0o500)
    assert "not writable" in await refused(config(tmp_path))


async def test_a_port_in_use_is_named_with_the_cure(tmp_path: Path) -> None:
    """Another program listens there: address, key and cure; the state is free for the next try."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said = await refused(config(tmp_path, api=Api(bind_addr=f"127.0.0.1:{port}")))
    assert f"127.0.0.1:{port}" in said
    assert "api.bind_addr" in said
    async with running(config(tmp_path, api=Api(bind_addr=f"127.0.0.1:{port}"))):
        pass


async def test_an_address_that_is_not_ours_is_named(tmp_path: Path) -> None:
    """No interface of this machine, or no name at all."""
    for address in ("192.0.2.1:0", "no-such-name.invalid:0"):
        assert "Check api.bind_addr" in await refused(config(tmp_path, api=Api(bind_addr=address)))


async def test_an_input_that_is_missing_is_named(tmp_path: Path) -> None:
    """A path that cannot be read: the path and the key; the same for a directory."""
    for path in (tmp_path / "none.jsonl", tmp_path):
        said = await refused(config(tmp_path, reading(path)))
        assert str(path) in said
        assert "ingestion.files.paths" in said


async def test_a_dead_letter_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A directory in its place."""
    (tmp_path / "letters").mkdir()
    said = await refused(config(tmp_path, Ingestion(dead_letters=DeadLetters(path=str(tmp_path / "letters")))))
    assert "ingestion.dead_letters.path" in said


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    """storage.embedded.path points at something else: nothing is overwritten."""
    path = write(tmp_path / "notes.txt", [b"my notes, which are no database " * 100])
    content = path.read_bytes()
    said = await refused(config(tmp_path, storage=Storage(embedded=Embedded(path=str(path)))))
    assert str(path) in said
    assert path.read_bytes() == content


async def test_two_daemons_do_not_share_a_state(tmp_path: Path) -> None:
    """The second is refused and harms the first in nothing."""
    async with running(config(tmp_path)) as first:
        assert "sentinel.db" in await refused(config(tmp_path))
        assert first.context.reasons() == []


# ----------------------------------------------------------------------------------------------------------- pseudonym key


async def test_the_pseudonym_key_is_made_once_for_the_owner_only(tmp_path: Path) -> None:
    """First use makes a key of 256 bits that only the owner may read; later starts use the same, so pseudonyms stay."""
    path = write(tmp_path / "a.jsonl", [event(0, user_id="alice")])
    settings = config(tmp_path, reading(path))
    await run_to_the_end(settings)
    key = tmp_path / "state" / "pseudonym.key"
    made = key.read_text()
    assert (len(bytes.fromhex(made)), key.stat().st_mode & 0o777) == (32, 0o600)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    write(path, [event(0), event(1, user_id="alice")])
    daemon = Daemon(settings)
    await daemon.start()
    await daemon.serve()
    page = await daemon.store.telemetry(TelemetryQuery(range=EVER))
    await daemon.close()
    assert key.read_text() == made
    assert len({item["user_id"] for item in page.items}) == 1
    assert page.items[0]["user_id"] != "alice"


@pytest.mark.parametrize("content", [b"", b"short", b"  \n", b"\xff" * 15])
async def test_a_key_that_protects_nobody_is_refused(tmp_path: Path, content: bytes) -> None:
    """Too short, as after a crash or a slip: no start, and no key in the message."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "pseudonym.key").write_bytes(content)
    said = await refused(config(tmp_path))
    assert "pseudonym.key" in said
    assert "short" not in said.replace("shorter", "")


async def test_a_configured_key_that_is_too_short_is_refused(tmp_path: Path) -> None:
    """The same for privacy.pseudonym_key, which the message does not repeat."""
    said = await refused(config(tmp_path, privacy=Privacy(pseudonym_key=Secret("hunter2"))))
    assert "privacy.pseudonym_key" in said
    assert "hunter2" not in said


async def test_a_key_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A directory in the place of the key."""
    (tmp_path / "state" / "pseudonym.key").mkdir(parents=True)
    assert "pseudonym.key" in await refused(config(tmp_path))


async def test_a_configured_key_leaves_no_file(tmp_path: Path) -> None:
    """With a key from the configuration none is generated."""
    async with running(config(tmp_path, privacy=Privacy(pseudonym_key=Secret("k" * 32)))):
        assert not (tmp_path / "state" / "pseudonym.key").exists()


# -------------------------------------------------------------------------------------------------------------- life cycle


async def test_stop_drains_and_close_twice_is_harmless(tmp_path: Path) -> None:
    """What was read is stored and the state saved before `serve` returns; closing again does nothing."""
    settings = config(tmp_path)
    daemon = Daemon(settings)
    await daemon.start()
    assert daemon.context.ingest is not None
    serving = asyncio.create_task(daemon.serve())
    waiting = [asyncio.create_task(daemon.context.ingest.submit([event(i)])) for i in range(20)]
    await asyncio.gather(*waiting)
    daemon.stop()
    daemon.stop()
    await serving
    assert stored(settings) == [f"e{i}" for i in range(20)]
    assert saved(tmp_path / "state" / "checkpoints")
    await daemon.close()
    await daemon.close()


async def test_a_part_that_fails_to_close_does_not_keep_the_others_open(tmp_path: Path) -> None:
    """The failure comes out, and the state is free: a new daemon starts on it."""
    daemon = Daemon(config(tmp_path))
    await daemon.start()
    close = daemon.server.close

    async def fail() -> None:
        await close()
        raise RuntimeError("no")

    daemon.server.close = fail  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="no"):
        await daemon.close()
    async with running(config(tmp_path)):
        pass


@pytest.fixture
def collector_as_before() -> Iterator[None]:
    """The garbage collector's settings are those of before at the end."""
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("collector_as_before")
def test_what_runs_beside_the_daemon_may_fail(tmp_path: Path) -> None:
    """Its failure is told at once, and the daemon does its work to the end."""
    settings = config(tmp_path, reading(write(tmp_path / "a.jsonl", [event(0)])))

    async def beside(daemon: Daemon) -> None:
        assert daemon.context.started
        raise RuntimeError("no traffic")

    with structlog.testing.capture_logs() as entries:
        serve(settings, beside)
    assert [entry["event"] for entry in entries if entry["log_level"] == "error"] == ["what ran beside the daemon has failed"]
    assert stored(settings) == ["e0"]


async def test_a_daemon_that_was_never_started_can_be_closed(tmp_path: Path) -> None:
    """A constructor opens nothing."""
    await Daemon(config(tmp_path)).close()
