"""The daemon as its users run it: a process, a configuration file, HTTP."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from infrastructure import Points

from tools.servers.process import free_port

READY_WITHIN_S = 150.0


class Sentinel:
    """One `sentinel run` on a state directory that outlives it."""

    def __init__(self, directory: Path, configuration: dict[str, Any]) -> None:
        self.port = free_port()
        self.state = directory / "state"
        self._log = directory / "sentinel.log"
        self._file = directory / "sentinel.yaml"
        self._process: subprocess.Popen[bytes] | None = None
        self.configure(configuration)

    def configure(self, configuration: dict[str, Any]) -> None:
        """Write its file; a running one goes by it after `reload`."""
        own = {
            "state_dir": str(self.state),
            "api": {"bind_addr": f"127.0.0.1:{self.port}"},
            "observability": {"log_level": "warning"},
        }
        self._file.write_text(yaml.safe_dump(own | configuration))

    def start(self) -> None:
        """Start the process; does not wait."""
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "sentinel.cli.main", "run", "--config", str(self._file)]
            self._process = subprocess.Popen(command, stderr=log, stdout=log, env=os.environ)

    def wait_ready(self) -> None:
        """Wait until it is ready; says what it logged when it is not in time."""
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            assert self._process is not None
            assert self._process.poll() is None, self.log()
            if self.status_of("/health/ready") == 200:
                return
            time.sleep(0.05)
        raise AssertionError(f"not ready within {READY_WITHIN_S} s:\n{self.log()}")

    def wait_for(self, done: Callable[[], bool], what: str, within_s: float = 120.0) -> None:
        """Wait until `done`; says what it logged when it is not in time."""
        deadline = time.monotonic() + within_s
        while not done():
            assert self.running, f"{what}: the process has ended:\n{self.log()}"
            assert time.monotonic() < deadline, f"{what}: not within {within_s} s:\n{self.log()}"
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=30)

    def reload(self) -> None:
        """SIGHUP; does not wait."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`sentinel WORDS --config FILE` with its own file, run to its end."""
        command = [sys.executable, "-m", "sentinel.cli.main", *words, "--config", str(self._file)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """The end of what it logged."""
        return self._log.read_text()[-4_000:] if self._log.exists() else ""

    def get(self, path: str) -> Any:
        """The JSON answer of a GET."""
        return json.loads(self.text(path))

    def text(self, path: str) -> str:
        """The answer of a GET as it came."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return str(answer.read(), "utf-8")

    def status_of(self, path: str) -> int:
        """The status of a GET; 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def post(self, path: str, body: bytes) -> int:
        """The status of an NDJSON POST; 0 when the connection broke."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data=body, headers={"Content-Type": "application/x-ndjson"}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the database, read beside the running daemon."""
        path = self.state / "sentinel.db"
        if not path.exists():
            return []
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(sql).fetchall()
        except sqlite3.OperationalError:
            return []
        finally:
            connection.close()

    def stored(self) -> int:
        """Events in the store."""
        rows = self.query("SELECT count(*) FROM events")
        return int(rows[0][0]) if rows else 0


@pytest.fixture
def make_sentinel(tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], Sentinel]]:
    """Makes daemons; those that still run at the end of the test are stopped."""
    made: list[Sentinel] = []

    def make(configuration: dict[str, Any]) -> Sentinel:
        directory = tmp_path / f"sentinel-{len(made)}"
        directory.mkdir()
        made.append(Sentinel(directory, configuration))
        return made[-1]

    yield make
    for sentinel in made:
        if sentinel.running:
            sentinel.kill()


@pytest.fixture
def points(tmp_path: Path) -> Iterator[Points]:
    """The double of InfluxDB."""
    double = Points(tmp_path)
    double.start()
    yield double
    double.stop()
