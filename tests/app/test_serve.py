"""`sentinel run` under a supervisor: what it hears, reloads by signal, stops while waiting."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from test_process import EVENT, PATIENCE_S, sentinel

from tools.servers.process import free_port


class Supervisor:
    """A datagram socket in the place of systemd."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(self.address)
        self.heard: list[str] = []

    async def until(self, line: str) -> None:
        """Wait for a line that starts so."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                lines = (await asyncio.get_running_loop().sock_recv(self._socket, 4_096)).decode().split("\n")
                self.heard += lines
                if any(heard.startswith(line) for heard in lines):
                    return

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()


@pytest.fixture
async def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Supervisor]:
    """A supervisor with a watchdog of 200 ms for every process that is started."""
    listening = Supervisor(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", listening.address)
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    yield listening
    listening.close()


def rewrite(path: Path, more: str) -> None:
    """The configuration file with other keys."""
    (path / "sentinel.yaml").write_text(f"state_dir: {path / 'state'}\napi:\n  bind_addr: 127.0.0.1:0\n{more}")


async def metrics(port: int) -> str:
    """The metrics page."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        return await answer.text()


async def test_a_supervisor_is_told_everything(tmp_path: Path, supervisor: Supervisor) -> None:
    """Steps, READY once it is, WATCHDOG while it works, RELOADING and READY around a reload, STOPPING at the end."""
    async with sentinel(tmp_path) as daemon:
        await supervisor.until("READY=1")
        assert any(line.startswith("STATUS=starting: opening the store") for line in supervisor.heard)
        await daemon.until("ready")
        await supervisor.until("WATCHDOG=1")
        daemon.process.send_signal(signal.SIGHUP)
        await supervisor.until("RELOADING=1")
        await supervisor.until("READY=1")
        await daemon.until("configuration reloaded")
        daemon.process.send_signal(signal.SIGTERM)
        await supervisor.until("STOPPING=1")
        assert await daemon.ended() == 0


async def test_a_failed_start_says_why_to_the_supervisor(tmp_path: Path, supervisor: Supervisor) -> None:
    """`systemctl status` shows the reason."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = f"state_dir: {tmp_path / 'state'}\napi:\n  bind_addr: 127.0.0.1:{taken.getsockname()[1]}\n"
        async with sentinel(tmp_path, text=text) as daemon:
            assert await daemon.ended() == 1
    await supervisor.until("STATUS=failed: cannot listen")


async def test_sighup_takes_a_new_configuration(tmp_path: Path) -> None:
    """A valid file acts at once, an invalid one changes nothing and is told line by line, and what needs a restart is named."""
    async with sentinel(tmp_path) as daemon:
        port = (await daemon.until("ready"))["port"]
        rewrite(tmp_path, "  enable_logging: true\n")
        daemon.process.send_signal(signal.SIGHUP)
        assert (await daemon.until("configuration reloaded"))["keys"] == ["api.enable_logging"]
        await metrics(port)
        assert (await daemon.until("request"))["route"] == "/metrics"
        rewrite(tmp_path, "  enable_loging: false\n")
        daemon.process.send_signal(signal.SIGHUP)
        problem = await daemon.until("configuration")
        assert (problem["level"], problem["where"].endswith("sentinel.yaml:4")) == ("error", True)
        await daemon.until("configuration not reloaded, the old one stays in force: correct what is named above")
        page = await metrics(port)
        assert 'sentinel_config_reloads_total{result="applied"} 1.0' in page
        assert 'sentinel_config_reloads_total{result="invalid"} 1.0' in page
        assert "sentinel_config_last_reload_successful 0.0" in page
        rewrite(tmp_path, "  metrics_path: /m\n")
        daemon.process.send_signal(signal.SIGHUP)
        held = await daemon.until("these keys have changed and need a restart; until then the old values are in force")
        assert held["keys"] == ["api.metrics_path"]
        assert "sentinel_ready" in await metrics(port)


async def test_a_reload_under_load_loses_nothing(tmp_path: Path) -> None:
    """Forty reloads, half of them invalid, while events come in: every event is stored once, the ledger balances."""
    async with sentinel(tmp_path) as daemon, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{(await daemon.until('ready'))['port']}"
        statuses: list[int] = []

        async def send(i: int) -> None:
            async with session.post(f"{url}/api/v1/events", json=[EVENT | {"event_id": f"{i}-{j}"} for j in range(20)]) as answer:
                statuses.append(answer.status)

        for turn in range(40):
            sending = [asyncio.create_task(send(4 * turn + k)) for k in range(4)]
            rewrite(tmp_path, f"detection:\n  zscore:\n    threshold: {'wrong' if turn % 2 else 3 + turn}\n")
            daemon.process.send_signal(signal.SIGHUP)
            await asyncio.gather(*sending)
        async with session.get(f"{url}/api/v1/ledger") as answer:
            ledger: dict[str, Any] = await answer.json()
        daemon.process.send_signal(signal.SIGTERM)
        assert await daemon.ended() == 0
    assert set(statuses) == {202}
    assert ledger["balanced"]
    assert sum(part["stored"] for part in ledger["partitions"]) == 40 * 4 * 20
    events = [json.loads(line)["event"] for line in daemon.lines if line.startswith("{")]
    assert "configuration reloaded" in events
    assert "the reload has failed" not in events


def kafka_text(path: Path, port: int) -> str:
    """A configuration whose broker is on this port."""
    kafka = f"ingestion:\n  kafka:\n    brokers: ['127.0.0.1:{port}']\n"
    return f"state_dir: {path / 'state'}\napi:\n  bind_addr: 127.0.0.1:0\n{kafka}"


async def test_a_broker_that_is_not_there_fails_the_start_at_once(tmp_path: Path) -> None:
    """The default: exit 1 and one sentence."""
    async with sentinel(tmp_path, text=kafka_text(tmp_path, free_port())) as daemon:
        assert await daemon.ended() == 1
    assert daemon.lines[-1].startswith("sentinel: no Kafka broker answers")


async def test_a_stop_ends_the_wait_for_a_broker(tmp_path: Path, supervisor: Supervisor) -> None:
    """Told to wait: each attempt is logged and shown; SIGTERM ends the wait at once, in order, with 0."""
    async with sentinel(tmp_path, "--wait-for-dependencies", "600", text=kafka_text(tmp_path, free_port())) as daemon:
        waiting = await daemon.until("waiting for a dependency")
        assert waiting["part"].startswith("Kafka")
        assert waiting["giving_up_in_s"] > 500
        await supervisor.until("STATUS=starting: waiting for Kafka")
        daemon.process.send_signal(signal.SIGTERM)
        assert await daemon.ended() == 0
    assert not any("Traceback" in line for line in daemon.lines)


async def test_the_wait_ends_when_its_time_is_over(tmp_path: Path) -> None:
    """Then it fails as it would have at once."""
    async with sentinel(tmp_path, "--wait-for-dependencies", "1", text=kafka_text(tmp_path, free_port())) as daemon:
        await daemon.until("waiting for a dependency")
        assert await daemon.ended() == 1
    assert daemon.lines[-1].startswith("sentinel: no Kafka broker answers")


async def test_the_end_of_a_terminal_stops_the_demo(tmp_path: Path) -> None:
    """Where there is no file to read anew, SIGHUP stops in order."""
    command = [sys.executable, "-m", "sentinel.cli.main", "demo", "--port", "0", "--state-dir", str(tmp_path)]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE_S):
        while b"status page on" not in await process.stderr.readline():
            assert process.returncode is None
        process.send_signal(signal.SIGHUP)
        await process.stderr.read()
        assert await process.wait() == 0
