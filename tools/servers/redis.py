"""A real Redis: one server in memory, nothing kept on disk."""

import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tools.servers.install import install_packages
from tools.servers.process import NotInstalledError, ServerError, ServerProcess, free_port

NAME = "Redis"
_PACKAGES = ["redis-server"]
_MISSING = "redis-server is not on the PATH"


def version() -> str:
    """The version of Redis that is installed and run here. Raises ServerError."""
    banner = subprocess.run([_find(), "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"v=(\S+)", banner)
    if found is None:
        raise ServerError(f"redis-server --version says no version: {banner!r}")
    return found[1]


def install() -> None:
    """Install the server where we may; quick when it is there. Raises ServerError."""
    if shutil.which("redis-server") is None:
        install_packages(_PACKAGES, _MISSING)


@contextmanager
def redis() -> Iterator["Redis"]:
    """A running server, stopped at the end.

    Raises:
        NotInstalledError: it is not on this machine.
        ServerError: it did not start.
    """
    with tempfile.TemporaryDirectory(prefix="sentinel-redis-", ignore_cleanup_errors=True) as directory:
        server = Redis(Path(directory))
        try:
            server.start()
            yield server
        finally:
            server.kill()


class Redis:
    """One Redis server, on one port as long as this object lives. It keeps nothing: a restart finds it empty, with default settings.

    Settings (a password, TLS) are changed while it runs, with `CONFIG SET`. Calls block until done; from an event loop use
    `asyncio.to_thread`.
    """

    def __init__(self, directory: Path) -> None:
        """Nothing starts yet.

        Args:
            directory: an empty directory for its log.

        Raises:
            NotInstalledError: it is not on this machine.
        """
        self.port = free_port()
        in_memory = ("--save", "", "--appendonly", "no")
        self._process = ServerProcess(
            NAME,
            [_find(), "--port", str(self.port), "--bind", "127.0.0.1", *in_memory, "--dir", str(directory)],
            log=directory / "server.log",
            environment={},
        )

    @property
    def url(self) -> str:
        """Its address as a URL."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process.running

    def start(self) -> None:
        """Start it, or start it again, empty, with the same port; returns when it answers. Raises ServerError."""
        self._process.start(self._answers)

    def stop(self) -> None:
        """Shut it down in order. Twice is harmless."""
        self._process.stop()

    def kill(self) -> None:
        """End it as a crash would (SIGKILL). Twice is harmless."""
        self._process.kill()

    def _answers(self) -> bool:
        """Whether it speaks the protocol: an open port alone is not enough."""
        try:
            with closing(socket.create_connection(("127.0.0.1", self.port), timeout=5)) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(5) == b"+PONG"
        except OSError:
            return False


def _find() -> str:
    program = shutil.which("redis-server")
    if program is None:
        raise NotInstalledError(f"Redis is not installed: {_MISSING}. Run: python -m tools.servers install")
    return program
