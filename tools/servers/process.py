"""Start, watch and end one server process."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_GUARD = Path(__file__).with_name("guard.py")
_PORTS = range(15_000, 30_000)
_POLL_S = 0.05
_LOG_TAIL_LINES = 15


class ServerError(Exception):
    """A server cannot be had; the message says why and what to do."""


class NotInstalledError(ServerError):
    """A server's files, or what they need, are not on this machine."""


def free_port() -> int:
    """A loopback TCP port nobody listens on.

    It lies below the ports that kernels give to outgoing connections: a client that reconnects while its server is down can be given the
    server's own port as its source, connect to itself and keep the server from coming back.

    Raises:
        ServerError: none of many tries was free.
    """
    for _ in range(200):
        port = secrets.choice(_PORTS)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerError(f"no free port on 127.0.0.1 between {_PORTS.start} and {_PORTS.stop - 1}: end some servers and try again")


class ServerProcess:
    """One server as a process group of its own, ended with the process that started it, however that one ends.

    Calls block until done; from an event loop use `asyncio.to_thread`. A server may be started again after it ended.
    """

    def __init__(self, name: str, command: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> None:
        """Nothing starts yet.

        Args:
            name: what error messages call it.
            command: program and arguments.
            log: file that its standard output and error are appended to.
            environment: variables added to ours.
        """
        self._name = name
        self._command = list(command)
        self._log = log
        self._environment = dict(environment)
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._guard is not None and self._guard.poll() is None

    @property
    def pid(self) -> int:
        """The process group's id. Raises ServerError when it is not running."""
        if self._guard is None or not self.running:
            raise ServerError(f"{self._name} is not running")
        return self._guard.pid

    def start(self, ready: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Start it and return once `ready` says so; starting a running one changes nothing.

        Raises:
            ServerError: it ended, or was not ready in time. It does not run then; the message carries the end of its log.
        """
        if self.running:
            return
        self._reap(None)
        with self._log.open("ab") as log:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), *self._command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )
        try:
            self._wait_until(ready, timeout_s)
        except BaseException:
            self.kill()
            raise

    def stop(self, timeout_s: float = 30.0, request: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end and wait; kill it when it takes longer than `timeout_s`. Twice is harmless.

        Args:
            timeout_s: how long it may take, in seconds.
            request: the signal by which this server understands that it is to end.
        """
        if not self.running:
            return self.kill()
        os.killpg(self.pid, request)
        try:
            self._reap(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once, without a chance to tidy up. Twice is harmless."""
        if self.running:
            os.killpg(self.pid, signal.SIGKILL)
        self._reap(None)

    def _reap(self, timeout_s: float | None) -> None:
        if self._guard is not None:
            self._guard.wait(timeout_s)
            if self._guard.stdin is not None:
                self._guard.stdin.close()
            self._guard = None

    def _wait_until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.running:
                raise ServerError(f"{self._name} ended while starting; the end of {self._log}:\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise ServerError(f"{self._name} was not ready after {timeout_s:g} s; the end of {self._log}:\n{self._log_tail()}")
            time.sleep(_POLL_S)

    def _log_tail(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LOG_TAIL_LINES:]) or "(empty)"
