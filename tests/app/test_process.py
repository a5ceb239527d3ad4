"""`sentinel run` as a process: signals, exit codes, what is on standard error."""

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

EVENT = {"service_name": "chat", "model_name": "m", "latency_ms": 120.5}
PATIENCE_S = 60


class Sentinel:
    """A process, its log so far, and where it listens."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self.port = 0

    async def until(self, event: str) -> dict[str, Any]:
        """Read the log up to an entry."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            while line := (await self.process.stderr.readline()).decode():
                self.lines.append(line.rstrip("\n"))
                entry: dict[str, Any] = json.loads(line) if line.startswith("{") else {}
                if entry.get("event") == event:
                    return entry
        raise AssertionError(f"no {event!r} in {self.lines}")

    async def ended(self) -> int:
        """The exit code; the rest of the log is read."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            self.lines += (await self.process.stderr.read()).decode().splitlines()
            return await self.process.wait()


@asynccontextmanager
async def sentinel(path: Path, *args: str, text: str = "", **options: Any) -> AsyncIterator[Sentinel]:
    """`sentinel run` with a state directory in `path`; killed when the block leaves it running."""
    file = path / "sentinel.yaml"
    file.write_text(text or f"state_dir: {path / 'state'}\napi:\n  bind_addr: 127.0.0.1:0\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SENTINEL_", "STATE_"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sentinel.cli.main",
        "run",
        "--config",
        str(file),
        *args,
        stderr=asyncio.subprocess.PIPE,
        **{"env": environment, **options},
    )
    try:
        yield Sentinel(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def stored(path: Path) -> set[str]:
    """Event ids in the database."""
    connection = sqlite3.connect(f"file:{path / 'state' / 'sentinel.db'}?mode=ro", uri=True)
    try:
        return {row[0] for row in connection.execute("SELECT event_id FROM events")}
    finally:
        connection.close()


async def produce(url: str, worker: int, acked: list[str]) -> None:
    """Send events until nobody takes them any more; what was acknowledged is noted."""
    async with aiohttp.ClientSession() as session:
        for i in range(1_000_000):
            ids = [f"w{worker}-{i}-{j}" for j in range(20)]
            try:
                async with session.post(url, json=[EVENT | {"event_id": event_id} for event_id in ids]) as answer:
                    if answer.status != 202:
                        return
                    acked += ids
            except aiohttp.ClientError:
                return


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_under_load_loses_nothing_that_was_acknowledged(tmp_path: Path, number: signal.Signals) -> None:
    """Told to stop in the middle of traffic: exit 0, every 202 is in the database, every line of the log is one JSON object."""
    async with sentinel(tmp_path) as daemon:
        ready = await daemon.until("ready")
        acked: list[str] = []
        url = f"http://127.0.0.1:{ready['port']}/api/v1/events"
        producers = [asyncio.create_task(produce(url, worker, acked)) for worker in range(4)]
        async with asyncio.timeout(PATIENCE_S):
            while len(acked) < 2_000:  # noqa: ASYNC110  counted aside
                await asyncio.sleep(0)
        daemon.process.send_signal(number)
        assert await daemon.ended() == 0
        await asyncio.gather(*producers)
    assert set(acked) <= stored(tmp_path)
    entries = [json.loads(line) for line in daemon.lines if not line.startswith("sentinel: ")]
    assert all(isinstance(entry, dict) and {"event", "level", "timestamp", "logger"} <= set(entry) for entry in entries)
    assert "needs no key" in entries[0]["event"]
    assert [entry["event"] for entry in entries[1:]] == ["ready", "stopping", "stopped"]
    assert entries[2]["signal"] == number.name
    assert entries[3]["in_flight"] == 0


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """The store is locked by another program, so the drain cannot end: the second signal exits 1 and says what is left."""
    async with sentinel(tmp_path) as daemon, aiohttp.ClientSession() as session:
        ready = await daemon.until("ready")
        url = f"http://127.0.0.1:{ready['port']}"
        lock = sqlite3.connect(tmp_path / "state" / "sentinel.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        sending = asyncio.create_task(session.post(f"{url}/api/v1/events", json=EVENT))
        in_flight = 0
        async with asyncio.timeout(PATIENCE_S):
            while not in_flight:
                async with session.get(f"{url}/api/v1/status") as answer:
                    in_flight = (await answer.json())["in_flight"]
        daemon.process.send_signal(signal.SIGTERM)
        await daemon.until("stopping")
        daemon.process.send_signal(signal.SIGTERM)
        assert await daemon.ended() == 1
        last = json.loads(daemon.lines[-1])
        assert ("second signal" in last["event"], last["in_flight"]) == (True, 1)
        lock.close()
        await asyncio.gather(sending, return_exceptions=True)
    assert stored(tmp_path) == set()


async def test_a_bad_configuration_is_exit_code_three(tmp_path: Path) -> None:
    """Nothing is started or made; the mistake is named with its line."""
    async with sentinel(tmp_path, text=f"state_dir: {tmp_path / 'state'}\napi:\n  bind_adr: x\n") as daemon:
        assert await daemon.ended() == 3
    assert any("sentinel.yaml:3" in line and "bind_adr" in line for line in daemon.lines)
    assert not (tmp_path / "state").exists()


async def test_what_prevents_the_start_is_exit_code_one(tmp_path: Path) -> None:
    """A state directory that is a file: one sentence with place and cure, no traceback."""
    (tmp_path / "state").write_text("")
    async with sentinel(tmp_path) as daemon:
        assert await daemon.ended() == 1
    assert "state_dir" in daemon.lines[-1]
    assert not any("Traceback" in line for line in daemon.lines)


async def test_standard_input_to_the_end(tmp_path: Path) -> None:
    """`--input - --exit-at-end`: every line is stored, exit 0."""
    async with sentinel(tmp_path, "--input", "-", "--exit-at-end", stdin=asyncio.subprocess.PIPE) as daemon:
        assert daemon.process.stdin is not None
        daemon.process.stdin.write(b"".join(json.dumps(EVENT | {"event_id": f"e{i}"}).encode() + b"\n" for i in range(5_000)))
        daemon.process.stdin.close()
        assert await daemon.ended() == 0
    assert stored(tmp_path) == {f"e{i}" for i in range(5_000)}


async def test_an_open_standard_input_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """The other end of the pipe stays open and silent: SIGTERM still ends the process with 0."""
    async with sentinel(tmp_path, "--input", "-", stdin=asyncio.subprocess.PIPE) as daemon:
        await daemon.until("ready")
        daemon.process.send_signal(signal.SIGTERM)
        assert await daemon.ended() == 0
