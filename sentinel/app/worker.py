"""One worker of a supervisor: a daemon in a process of its own, and what it says over the socket that stands in for systemd's."""

import asyncio
import contextlib
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

LONGEST_DATAGRAM: Final = 8_192

Heard = Callable[["Worker", list[str]], None]
"""Takes the lines of one datagram of a worker."""


class Worker:
    """A process that is started again and again, one at a time.

    Its standard input is a pipe that holds nothing. The end of that pipe tells it to stop, so it also ends when the supervisor is killed.

    Attributes:
        ready: it works, and has read the configuration it was last told to read.
        was_ready: this process has been ready before.
        alive_s: when it last said anything, by the clock of who hears it.
        status: what it said of itself.

    Args:
        number: from 1.
        command: what to run.
        env: its environment, but for where it tells how it is.
        directory: for its socket; only we may write there.
        heard: told what it says.
    """

    def __init__(self, number: int, command: Sequence[str], env: Mapping[str, str], directory: Path, heard: Heard) -> None:
        self.number = number
        self.ready = False
        self.was_ready = False
        self.alive_s = 0.0
        self.status = "starting"
        self._command = command
        self._address = str(directory / f"worker-{number}")
        self._env = {**env, "NOTIFY_SOCKET": self._address}
        self._heard = heard
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._process: asyncio.subprocess.Process | None = None
        self._told_to_stop = False

    def listen(self) -> None:
        """Hear what it says; must come before `run`."""
        self._socket.setblocking(False)
        self._socket.bind(self._address)
        asyncio.get_running_loop().add_reader(self._socket, self._receive)

    async def run(self) -> int:
        """Start it and wait until it ends; its exit code, below 0 for the signal that killed it."""
        self.ready, self.was_ready, self.status = False, False, "starting"
        self._process = await asyncio.create_subprocess_exec(*self._command, stdin=subprocess.PIPE, env=self._env)
        if self._told_to_stop:
            self.stop()
        try:
            return await self._process.wait()
        finally:
            self.ready = False

    def stop(self) -> None:
        """Tell it to finish what it has read and end. Twice is harmless, and so is another signal that said the same before."""
        self._told_to_stop = True
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def close(self) -> None:
        """Hear no more."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        Path(self._address).unlink(missing_ok=True)

    def _receive(self) -> None:
        with contextlib.suppress(BlockingIOError):
            lines = self._socket.recv(LONGEST_DATAGRAM).decode(errors="replace").split("\n")
            for line in lines:
                if line.startswith("STATUS="):
                    self.status = line.removeprefix("STATUS=")
            if "READY=1" in lines:
                self.ready = self.was_ready = True
            self._heard(self, lines)
