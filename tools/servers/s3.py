"""A server that speaks S3: moto's, which keeps everything in memory. It is a development requirement, not a program of the system."""

import http.client
import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import metadata
from pathlib import Path
from uuid import uuid4

from tools.servers.process import NotInstalledError, ServerError, ServerProcess, free_port

NAME = "moto (S3)"


def version() -> str:
    """The version of moto that is installed and run here. Raises NotInstalledError."""
    _find()
    return metadata.version("moto")


def install() -> None:
    """It comes with the development requirements. Raises NotInstalledError when these are not installed."""
    _find()


@contextmanager
def s3() -> Iterator["S3"]:
    """A running server, stopped at the end.

    Raises:
        NotInstalledError: it is not on this machine.
        ServerError: it did not start.
    """
    with tempfile.TemporaryDirectory(prefix="sentinel-s3-", ignore_cleanup_errors=True) as directory:
        server = S3(Path(directory))
        try:
            server.start()
            yield server
        finally:
            server.kill()


class S3:
    """One server, on one port as long as this object lives. It keeps nothing: a restart finds it empty, without buckets.

    It takes every pair of credentials. Calls block until done; from an event loop use `asyncio.to_thread`.
    """

    def __init__(self, directory: Path) -> None:
        """Nothing starts yet.

        Args:
            directory: an empty directory for its log.

        Raises:
            NotInstalledError: it is not on this machine.
        """
        _find()
        self.port = free_port()
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = ServerProcess(NAME, command, log=directory / "server.log", environment={})

    @property
    def endpoint(self) -> str:
        """Its address as a URL."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, or start it again, empty, with the same port; returns when it answers. Raises ServerError."""
        self._process.start(self._answers)

    def kill(self) -> None:
        """End it as a crash would (SIGKILL). Twice is harmless."""
        self._process.kill()

    def create_bucket(self, name: str | None = None) -> str:
        """Make a bucket, and say its name. Raises ServerError."""
        name = name or f"test-{uuid4().hex}"
        status = self._ask("PUT", f"/{name}")
        if status != http.HTTPStatus.OK:
            raise ServerError(f"{NAME} answered {status} when asked for the bucket {name}")
        return name

    def _answers(self) -> bool:
        try:
            return self._ask("GET", "/moto-api/") == http.HTTPStatus.OK
        except OSError:
            return False

    def _ask(self, method: str, path: str) -> int:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request(method, path)
            return connection.getresponse().status


def _find() -> None:
    if importlib.util.find_spec("moto") is None:
        raise NotInstalledError("moto is not installed. Install requirements/dev.txt.")
