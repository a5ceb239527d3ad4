"""Toxiproxy: proxies on loopback that can be cut, slowed and made to swallow what they are sent, told so over HTTP.

See https://github.com/Shopify/toxiproxy for the toxics and their attributes.
"""

import json
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tools.servers.install import SERVERS, run_to_end
from tools.servers.process import NotInstalledError, ServerProcess, free_port

NAME = "Toxiproxy"
_MODULE = "github.com/Shopify/toxiproxy/v2"
_VERSION = "v2.5.0"
_PROGRAM = SERVERS / "toxiproxy" / _VERSION / "server"
_GO = (Path("/usr/local/go/bin/go"), Path("/usr/lib/go/bin/go"))
"""Where Go is when it is not on the PATH."""


def version() -> str:
    """The version that is installed and run here."""
    return _VERSION.removeprefix("v")


def install() -> None:
    """Build it with Go; quick when it is there. Raises NotInstalledError without Go, ServerError when it cannot be built."""
    if _PROGRAM.exists():
        return
    go = shutil.which("go") or next((str(path) for path in _GO if path.exists()), None)
    if go is None:
        raise NotInstalledError("Go is not on the PATH: install it (on Debian and Ubuntu: apt-get install golang-go) and run this again")
    _PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    run_to_end([go, "install", f"{_MODULE}/cmd/server@{_VERSION}"], {"GOBIN": str(_PROGRAM.parent)})


@contextmanager
def toxiproxy() -> Iterator["Toxiproxy"]:
    """A running server without a proxy, stopped at the end.

    Raises:
        NotInstalledError: it is not on this machine.
        ServerError: it did not start.
    """
    with tempfile.TemporaryDirectory(prefix="sentinel-toxiproxy-", ignore_cleanup_errors=True) as directory:
        server = Toxiproxy(Path(directory))
        try:
            server.start()
            yield server
        finally:
            server.kill()


class Toxiproxy:
    """One server and its proxies. Calls block until done; from an event loop use `asyncio.to_thread`."""

    def __init__(self, directory: Path) -> None:
        """Nothing starts yet.

        Args:
            directory: an empty directory for its log.

        Raises:
            NotInstalledError: it is not on this machine.
        """
        if not _PROGRAM.exists():
            raise NotInstalledError("Toxiproxy is not installed. Run: python -m tools.servers install toxiproxy")
        self.url = f"http://127.0.0.1:{free_port()}"
        command = [str(_PROGRAM), "-host", "127.0.0.1", "-port", self.url.rpartition(":")[2]]
        self._process = ServerProcess(NAME, command, log=directory / "server.log", environment={})

    def start(self) -> None:
        """Start it; returns when it answers. Raises ServerError."""
        self._process.start(self._answers)

    def kill(self) -> None:
        """End it, and with it every connection through it. Twice is harmless."""
        self._process.kill()

    def proxy(self, name: str, port: int, *, listen: int | None = None) -> "Proxy":
        """A new proxy in front of a port of this machine.

        Args:
            name: different from those of other proxies.
            port: where connections go.
            listen: the port of the proxy itself; a free one when None.
        """
        own = listen or free_port()
        self.call("POST", "/proxies", {"name": name, "listen": f"127.0.0.1:{own}", "upstream": f"127.0.0.1:{port}", "enabled": True})
        return Proxy(self, name, own)

    def call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> None:
        """One request to its API. Raises OSError when it does not answer, or refuses."""
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, method=method), timeout=10):  # noqa: S310  our own
            pass

    def _answers(self) -> bool:
        try:
            self.call("GET", "/version")
        except OSError:
            return False
        return True


class Proxy:
    """One proxy; what is done to it lasts until `heal`.

    Attributes:
        port: where it listens.
    """

    def __init__(self, server: Toxiproxy, name: str, port: int) -> None:
        self._server = server
        self._name = name
        self.port = port
        self._toxics: list[str] = []

    def cut(self) -> None:
        """End all connections and refuse new ones, as when the server is down."""
        self._server.call("POST", f"/proxies/{self._name}", {"enabled": False})

    def swallow(self) -> None:
        """Pass nothing on and keep connections open, as when a cable is pulled: neither side notices."""
        self._add("timeout", "upstream", timeout=0)
        self._add("timeout", "downstream", timeout=0)

    def slow(self, latency_ms: int) -> None:
        """Delay every answer."""
        self._add("latency", "downstream", latency=latency_ms, jitter=latency_ms // 10)

    def reset(self) -> None:
        """Reset every connection as soon as it says something."""
        self._add("reset_peer", "upstream", timeout=0)

    def lose_replies(self) -> None:
        """Pass requests on, and lose the answers."""
        self._add("timeout", "downstream", timeout=200)

    def heal(self) -> None:
        """Do nothing wrong any more. Twice is harmless."""
        for toxic in self._toxics:
            self._server.call("DELETE", f"/proxies/{self._name}/toxics/{toxic}")
        self._toxics.clear()
        self._server.call("POST", f"/proxies/{self._name}", {"enabled": True})

    def _add(self, kind: str, stream: str, **attributes: int) -> None:
        name = f"{kind}_{stream}"
        self._server.call(
            "POST",
            f"/proxies/{self._name}/toxics",
            {"name": name, "type": kind, "stream": stream, "toxicity": 1.0, "attributes": attributes},
        )
        self._toxics.append(name)
