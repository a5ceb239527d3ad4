"""A real PostgreSQL: one server whose databases live in a temporary directory, everyone on this machine its superuser."""

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tools.servers.install import install_packages, run_to_end
from tools.servers.process import NotInstalledError, ServerError, ServerProcess, free_port

NAME = "PostgreSQL"
_USER = "postgres"
_PACKAGES = ["postgresql"]
_DEBIAN = Path("/usr/lib/postgresql")
"""Debian keeps the programs of every major version in a directory of its own, off the PATH."""


def version() -> str:
    """The version of PostgreSQL that is installed and run here. Raises ServerError."""
    banner = subprocess.run([_find() / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\d+(\.\d+)*", banner)
    if found is None:
        raise ServerError(f"postgres --version says no version: {banner!r}")
    return found[0]


def install() -> None:
    """Install the server where we may; quick when it is there. Raises ServerError."""
    try:
        _find()
    except NotInstalledError:
        install_packages(_PACKAGES, f"postgres is neither on the PATH nor in {_DEBIAN}")


@contextmanager
def postgres() -> Iterator["PostgreSQL"]:
    """A running server, stopped at the end and its data removed.

    Raises:
        NotInstalledError: it is not on this machine.
        ServerError: it did not start.
    """
    with tempfile.TemporaryDirectory(prefix="sentinel-postgres-", ignore_cleanup_errors=True) as directory:
        server = PostgreSQL(Path(directory))
        try:
            server.start()
            yield server
        finally:
            server.kill()


class PostgreSQL:
    """One PostgreSQL server with its data in one directory, on one port as long as this object lives.

    It refuses to run as root: started by root, it and its directory belong to the user `postgres`. Calls block until done; from an event
    loop use `asyncio.to_thread`.
    """

    def __init__(self, directory: Path) -> None:
        """Nothing starts yet.

        Args:
            directory: an empty directory for its data, log and socket; given to the user `postgres` when we are root.

        Raises:
            NotInstalledError: it is not on this machine.
        """
        self.port = free_port()
        self._programs = _find()
        self._data = directory / "data"
        self._as_user = _become_user(directory)
        # Its data need not survive a loss of power.
        quick = ("-c", "fsync=off")
        place = ("-D", str(self._data), "-h", "127.0.0.1", "-p", str(self.port), "-k", str(directory))
        self._process = ServerProcess(
            NAME,
            [*self._as_user, str(self._programs / "postgres"), *place, *quick],
            log=directory / "server.log",
            environment={},
        )

    def url(self, database: str = _USER) -> str:
        """The address of one of its databases as a URL that libpq, psycopg and SQLAlchemy understand."""
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{database}"

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process.running

    def start(self) -> None:
        """Start it, or start it again with the same data and port; returns when it takes connections. Raises ServerError."""
        if not self._data.exists():
            self._initialise()
        self._process.start(self._answers)

    def stop(self) -> None:
        """Shut it down in order, ending open connections. Twice is harmless."""
        self._process.stop(request=signal.SIGINT)

    def kill(self) -> None:
        """End it as a crash would: connections break, and the next start recovers from the log. Twice is harmless.

        SIGQUIT, its own word for that, because after a SIGKILL its children and its shared memory may stay behind for a while.
        """
        self._process.stop(request=signal.SIGQUIT)

    def create_database(self) -> str:
        """Create an empty database with a name of its own and return its URL. Raises ServerError."""
        name = f"test_{uuid4().hex}"
        run_to_end([str(self._programs / "createdb"), *self._connection(), name])
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database that `create_database` made, with all connections to it. Raises ServerError."""
        run_to_end([str(self._programs / "dropdb"), *self._connection(), "--force", url.rpartition("/")[2]])

    def _initialise(self) -> None:
        """Make the directory of an empty server."""
        options = ("-D", str(self._data), "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        run_to_end([*self._as_user, str(self._programs / "initdb"), *options])

    def _answers(self) -> bool:
        command = [str(self._programs / "pg_isready"), *self._connection(), "-q"]
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0

    def _connection(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", _USER]


def _find() -> Path:
    """The directory of its programs: the one on the PATH, else the newest of Debian's."""
    on_path = shutil.which("postgres")
    if on_path is not None:
        return Path(on_path).resolve().parent
    versions = sorted((int(path.parts[-3]), path.parent) for path in _DEBIAN.glob("[0-9]*/bin/postgres") if path.parts[-3].isdecimal())
    if not versions:
        raise NotInstalledError(
            f"PostgreSQL is not installed: postgres is neither on the PATH nor in {_DEBIAN}. Run: python -m tools.servers install"
        )
    return versions[-1][1]


def _become_user(directory: Path) -> list[str]:
    """What stands before a command to run it as the server's user; the directory is that user's then."""
    if os.geteuid() != 0:
        return []
    try:
        user = pwd.getpwnam(_USER)
    except KeyError:
        raise NotInstalledError(
            f"PostgreSQL does not run as root and there is no user {_USER!r}. Run as another user, or create that one."
        ) from None
    os.chown(directory, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
