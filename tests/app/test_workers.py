"""The supervisor of several workers, with scripted workers as real processes."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from test_process import Sentinel
from test_serve import Supervisor

DOUBLE = Path(__file__).with_name("worker_double.py")


@asynccontextmanager
async def supervised(count: int, **env: str) -> AsyncIterator[Sentinel]:
    """A supervisor of so many workers; killed when the block leaves it running."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(DOUBLE), "supervise", str(count), stderr=asyncio.subprocess.PIPE, env={**os.environ, **env}
    )
    try:
        yield Sentinel(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def pids(lines: list[str], worker: int) -> list[int]:
    """The processes that were this worker, in order."""
    return [int(found[1]) for line in lines if (found := re.match(rf"worker {worker} ready pid=(\d+)", line))]


def alive(pid: int) -> bool:
    """Whether the process is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_all_in_order(number: signal.Signals) -> None:
    """Every worker ends its work, and the exit code is 0."""
    async with supervised(3) as running:
        await running.until("all workers are ready")
        running.process.send_signal(number)
        assert await running.ended() == 0
    assert sorted(line for line in running.lines if line.endswith("stopped")) == [f"worker {n} stopped" for n in (1, 2, 3)]


async def test_each_worker_reloads(tmp_path: Path) -> None:
    """SIGHUP reaches every worker, and systemd hears RELOADING."""
    listening = Supervisor(tmp_path / "notify")
    async with supervised(2, NOTIFY_SOCKET=listening.address) as running:
        await listening.until("READY=1")
        await running.until("all workers are ready")
        running.process.send_signal(signal.SIGHUP)
        await listening.until("RELOADING=1")
        async with asyncio.timeout(30):
            assert running.process.stderr is not None
            reloaded = {(await running.process.stderr.readline()).decode().strip() for _ in range(2)}
        running.process.send_signal(signal.SIGTERM)
        await listening.until("STOPPING=1")
        assert await running.ended() == 0
    listening.close()
    assert reloaded == {"worker 1 reloaded", "worker 2 reloaded"}


async def test_ready_only_when_all_are(tmp_path: Path) -> None:
    """READY comes after the last worker's, with how many there are."""
    listening = Supervisor(tmp_path / "notify")
    async with supervised(2, NOTIFY_SOCKET=listening.address, WATCHDOG_USEC="2000000") as running:
        await listening.until("READY=1")
        assert "STATUS=2 of 2 workers ready" in listening.heard
        await listening.until("WATCHDOG=1")
        running.process.send_signal(signal.SIGTERM)
        assert await running.ended() == 0
    listening.close()


async def test_a_worker_that_dies_is_started_again(tmp_path: Path) -> None:
    """It is told with its exit code, and the others go on."""
    async with supervised(2, SCRIPT_2="die_once", NOTES=str(tmp_path)) as running:
        told = await running.until("a worker has ended and is started again")
        assert (told["worker"], told["exit_code"], told["failures"]) == (2, 7, 1)
        assert running.process.stderr is not None
        while len(pids(running.lines, 2)) < 2:
            running.lines.append((await running.process.stderr.readline()).decode())
        running.process.send_signal(signal.SIGTERM)
        assert await running.ended() == 0
    assert len(pids(running.lines, 1)) == 1


async def test_a_worker_that_keeps_dying_ends_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever supervises us has to see it: exit code 1, the worker is named, and the others have stopped in order."""
    monkeypatch.setenv("NOTES", str(tmp_path))
    async with supervised(2, SCRIPT_2="die") as running:
        assert await running.ended() == 1
    assert "sentinel: worker 2 has failed 5 times in a row, the last time with code 7" in running.lines[-1]
    assert "worker 1 stopped" in running.lines


async def test_a_failed_first_start_ends_all() -> None:
    """As with one daemon, it is not tried again: exit code 1 at once."""
    async with supervised(2, SCRIPT_2="refuse") as running:
        assert await running.ended() == 1
    assert "sentinel: worker 2 did not start" in running.lines[-1]


async def test_a_worker_that_does_not_move_is_killed_and_started_again(tmp_path: Path) -> None:
    """With a watchdog: silence of one worker costs that worker alone."""
    listening = Supervisor(tmp_path / "notify")
    async with supervised(2, SCRIPT_2="hang", NOTIFY_SOCKET=listening.address, WATCHDOG_USEC="1000000") as running:
        killed = await running.until("a worker does not move and is killed")
        assert killed["worker"] == 2
        assert (await running.until("a worker has ended and is started again"))["exit_code"] == -signal.SIGKILL
    listening.close()


async def test_a_second_signal_ends_at_once() -> None:
    """A worker that does not stop gets SIGTERM itself; the exit code says that not all ended in order."""
    async with supervised(2, SCRIPT_1="deaf") as running:
        await running.until("all workers are ready")
        running.process.send_signal(signal.SIGTERM)
        await running.until("stopping")
        running.process.send_signal(signal.SIGTERM)
        assert await running.ended() == 1
    assert "not all workers stopped in order: worker 1 with code -15" in running.lines[-1]


async def test_workers_end_with_a_supervisor_that_is_killed() -> None:
    """Nobody is left behind to hold partitions and ports: the end of the pipe tells them."""
    async with supervised(2) as running:
        await running.until("all workers are ready")
        started = [pid for worker in (1, 2) for pid in pids(running.lines, worker)]
        assert len(started) == 2
        running.process.kill()
        assert await running.ended() == -signal.SIGKILL
    assert {"worker 1 stopped", "worker 2 stopped"} <= set(running.lines)
    async with asyncio.timeout(30):
        while any(map(alive, started)):  # noqa: ASYNC110  other processes, which nobody here is told of
            await asyncio.sleep(0.05)
