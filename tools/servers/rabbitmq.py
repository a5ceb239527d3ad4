"""A real RabbitMQ: one node with its data in a temporary directory, and the port mapper it needs.

Variables follow https://www.rabbitmq.com/docs/configure; each that differs from the default has its reason beside it.
"""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tools.servers.install import install_packages
from tools.servers.process import NotInstalledError, ServerError, ServerProcess, free_port

NAME = "RabbitMQ"
_PACKAGES = ["rabbitmq-server"]
_LIBRARY = Path("/usr/lib/rabbitmq/lib")
"""Where Debian's and Red Hat's packages keep the scripts; those on the PATH are wrappers that become the user `rabbitmq`."""
_AMQP_0_9_1 = b"AMQP\x00\x00\x09\x01"
_CTL_TIMEOUT_S = 60.0
_CONFIGURATION = """\
listeners.tcp.1 = 127.0.0.1:{port}
log.file = false
log.console = true
log.console.level = warning
# A full disk of the machine is not what tests are about.
disk_free_limit.absolute = 1MB
"""


def version() -> str:
    """The version of RabbitMQ that is installed and run here. Raises NotInstalledError."""
    return _find().parent.name.partition("-")[2]


def install() -> None:
    """Install the server where we may; quick when it is there. Raises ServerError."""
    try:
        _find()
    except NotInstalledError:
        install_packages(_PACKAGES, f"RabbitMQ is not in {_LIBRARY}, or Erlang not on the PATH")


@contextmanager
def rabbitmq() -> Iterator["RabbitMQ"]:
    """A running node, stopped at the end and its data removed.

    Raises:
        NotInstalledError: it, or its Erlang, is not on this machine.
        ServerError: it did not start.
    """
    with tempfile.TemporaryDirectory(prefix="sentinel-rabbitmq-", ignore_cleanup_errors=True) as directory:
        node = RabbitMQ(Path(directory))
        try:
            node.start()
            yield node
        finally:
            node.close()


class RabbitMQ:
    """One RabbitMQ node with its data in one directory, on one port as long as this object lives.

    Calls block until done; from an event loop use `asyncio.to_thread`.
    """

    def __init__(self, directory: Path) -> None:
        """Nothing starts yet.

        Args:
            directory: an empty directory for its data, log and settings.

        Raises:
            NotInstalledError: it, or its Erlang, is not on this machine.
        """
        self.port = free_port()
        self._directory = directory
        self._scripts = _find()
        epmd_port = free_port()
        self._environment = _environment(directory, epmd_port)
        # Erlang would start the port mapper as a daemon that stays behind for ever; ours ends with us.
        self._epmd = ServerProcess(
            "Erlang's port mapper",
            ["epmd", "-port", str(epmd_port), "-address", "127.0.0.1"],
            log=directory / "epmd.log",
            environment={},
        )
        self._epmd_port = epmd_port
        self._node = ServerProcess(
            NAME, [str(self._scripts / "rabbitmq-server")], log=directory / "server.log", environment=self._environment
        )

    @property
    def url(self) -> str:
        """Its address as a URL, with the user and password that its default settings allow from this machine only."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._node.running

    def start(self) -> None:
        """Start it, or start it again with the same data and port; returns when it takes connections. Raises ServerError."""
        (self._directory / "enabled_plugins").write_text("[].\n", encoding="utf-8")
        (self._directory / "rabbitmq.conf").write_text(_CONFIGURATION.format(port=self.port), encoding="utf-8")
        self._epmd.start(lambda: _answers(self._epmd_port, b"\x00\x01n", b"\x00"))
        self._node.start(lambda: _answers(self.port, _AMQP_0_9_1, b"\x01\x00\x00"), timeout_s=120.0)
        self.ctl("await_startup")

    def stop(self) -> None:
        """Shut it down in order. Twice is harmless."""
        self._node.stop()

    def kill(self) -> None:
        """End it as a crash would (SIGKILL). Twice is harmless."""
        self._node.kill()

    def close(self) -> None:
        """End it and its port mapper: nothing of it runs any more. Twice is harmless."""
        self._node.kill()
        self._epmd.kill()

    def ctl(self, *arguments: str) -> str:
        """What `rabbitmqctl` prints for some arguments.

        `ctl("set_vm_memory_high_watermark", "0")` blocks all publishers until it is set to 0.4 again;
        `ctl("list_queues", "name", "messages", "--formatter=json")` counts. One call takes about half a second.

        Raises:
            ServerError: it failed, took more than a minute, or the node is not running.
        """
        if not self.running:
            raise ServerError(f"{NAME} is not running, so rabbitmqctl {' '.join(arguments)} has nothing to talk to")
        try:
            done = subprocess.run(
                [self._scripts / "rabbitmqctl", "--quiet", *arguments],
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_CTL_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ServerError(f"rabbitmqctl {' '.join(arguments)} took more than {_CTL_TIMEOUT_S:g} s") from None
        if done.returncode:
            raise ServerError(f"rabbitmqctl {' '.join(arguments)} ended with code {done.returncode}:\n{done.stderr.strip()}")
        return done.stdout


def _environment(directory: Path, epmd_port: int) -> dict[str, str]:
    """What the node and its tools are told; nothing is read from the machine's own settings in /etc."""
    return {
        "HOME": str(directory),  # where the cookie lies, with which the tools identify themselves
        "RABBITMQ_NODENAME": "sentinel@localhost",
        "RABBITMQ_MNESIA_BASE": str(directory / "data"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
        "RABBITMQ_CONFIG_FILES": str(directory / "conf.d"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "advanced.config"),
        "RABBITMQ_CONF_ENV_FILE": str(directory / "rabbitmq-env.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
        "RABBITMQ_PID_FILE": str(directory / "pid"),
        "RABBITMQ_DIST_PORT": str(free_port()),
        # One scheduler: quicker to start, and small.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_FLAGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
    }


def _answers(port: int, question: bytes, beginning: bytes) -> bool:
    """Whether something answers on a port as the protocol says: an open port alone is not enough."""
    try:
        with closing(socket.create_connection(("127.0.0.1", port), timeout=5)) as connection:
            connection.sendall(question)
            return connection.recv(len(beginning)) == beginning
    except OSError:
        return False


def _find() -> Path:
    """The directory of its scripts, those of the newest version."""
    versions = sorted(_LIBRARY.glob("rabbitmq_server-*/sbin"), key=_version_numbers)
    missing = f"it is not in {_LIBRARY}" if not versions else ""
    if shutil.which("epmd") is None or shutil.which("erl") is None:
        missing = "Erlang (erl, epmd) is not on the PATH"
    if missing:
        raise NotInstalledError(f"RabbitMQ is not installed: {missing}. Run: python -m tools.servers install")
    return versions[-1]


def _version_numbers(scripts: Path) -> list[int]:
    return [int(part) for part in scripts.parent.name.partition("-")[2].split(".") if part.isdecimal()]
