"""The SQLite file: its lock, its connections, and what SQLite's errors mean for the caller."""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import Concatenate, Final, ParamSpec, TypeVar

from sentinel.core.errors import PermanentError, RetryableError, StartupError
from sentinel.storage import schema

P = ParamSpec("P")
T = TypeVar("T")

READERS: Final = 3
"""Reads that run at the same time; further ones wait."""

_BUSY_MS: Final = 2_000
_WAL_BYTES: Final = 67_108_864
_PAGES_PER_CHECKPOINT: Final = 8_000
_STEPS_PER_CLOCK_LOOK: Final = 5_000
"""SQLite steps between two looks at the clock, about half a millisecond."""

_CURES: Final = {
    "SQLITE_FULL": "the disk is full; free space on it or shorten storage.embedded.*_retention_hours",
    "SQLITE_IOERR": "the disk failed; look at the system's log and the file system",
    "SQLITE_BUSY": "another program holds the file's write lock; close it",
    "SQLITE_LOCKED": "another program holds the file's write lock; close it",
    "SQLITE_READONLY": "the file or its directory is read-only; give the daemon's user write access",
    "SQLITE_CANTOPEN": "the file or its directory cannot be opened; give the daemon's user access to both",
    "SQLITE_NOMEM": "memory is used up; give the process more",
    "SQLITE_CORRUPT": "the file is damaged; stop the daemon and restore it from a backup, or move it away to start empty",
    "SQLITE_NOTADB": "the file is not a database; move it away, or point storage.embedded.path at another file",
}


class ReadTimeLimitError(RetryableError):
    """A read took longer than its limit and was stopped; a narrower question succeeds."""


def cure_of(error: sqlite3.Error) -> str:
    """What happened and what to do about it, in words."""
    name = getattr(error, "sqlite_errorname", "") or ""
    for prefix, cure in _CURES.items():
        if name.startswith(prefix):
            return f"{cure} ({name})"
    return f"{error} ({name or type(error).__name__}); look at the system's log"


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours: what these rows break is permanent, everything else may pass.

    Damage of the file is retryable as well: it is no event's fault, so no event may be given up for it.
    """
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.DataError, OverflowError, UnicodeEncodeError) as error:
        raise PermanentError(f"{path} cannot hold these rows: {error}") from error
    except sqlite3.Error as error:
        raise RetryableError(f"cannot write {path}: {cure_of(error)}") from error


@contextmanager
def open_errors(path: Path) -> Iterator[None]:
    """Turn what can go wrong while opening into StartupError."""
    try:
        yield
    except sqlite3.Error as error:
        raise StartupError(f"cannot open {path}: {cure_of(error)}") from error
    except RetryableError as error:
        raise StartupError(str(error)) from error
    except OSError as error:
        raise StartupError(
            f"cannot open {path}: {error.strerror}; give the daemon's user write access to {path.parent}, or set state_dir"
        ) from error


def lock(path: Path) -> int:
    """Hold the file for this process alone, through a lock file beside it that a crash releases.

    Returns:
        A file descriptor; closing it gives the lock back.

    Raises:
        StartupError: another process holds it.
        OSError: the directory cannot be made or written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".lock")
    descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise StartupError(f"{path} is in use by process {holder}; stop that daemon, or give this one its own state_dir") from error
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def connect_writer(path: Path, synchronous: str) -> sqlite3.Connection:
    """The one writing connection, its tables in the current format.

    Raises:
        StartupError: the file is foreign or newer.
        sqlite3.Error, OSError: it cannot be opened.
    """
    # Created here, not by SQLite: nobody else may read it, and its companion files inherit the mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_MS / 1000)
    try:
        # Twice the default: one event is a few hundred bytes, and the write-ahead log copies whole pages.
        connection.execute("PRAGMA page_size = 8192")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if synchronous == 'full' else 'NORMAL'}")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_PAGES_PER_CHECKPOINT}")
        connection.execute("PRAGMA cache_size = -32768")
        connection.execute("PRAGMA trusted_schema = OFF")
        schema.migrate(connection, str(path))
    except BaseException:
        connection.close()
        raise
    return connection


class ReaderPool:
    """A few read-only connections and as many threads. Every read has a time limit.

    Args:
        path: the database, already written by `connect_writer`.
        limit_s: seconds one read may take.
    """

    def __init__(self, path: Path, limit_s: float) -> None:
        self.path = path
        self.limit_s = limit_s
        self._connections: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        self.threads: ThreadPoolExecutor | None = None

    def open(self) -> None:
        """Connect. Raises sqlite3.Error."""
        self.threads = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")
        for _ in range(READERS):
            connection = sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA trusted_schema = OFF")
            self._connections.put(connection)

    def read(self, question: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Answer a question in one consistent view of the file, on the calling thread.

        Raises:
            ReadTimeLimitError: it took too long.
            RetryableError: the file cannot be read.
        """
        connection = self._connections.get()
        deadline = monotonic() + self.limit_s
        connection.set_progress_handler(lambda: monotonic() > deadline, _STEPS_PER_CLOCK_LOOK)
        try:
            connection.execute("BEGIN")
            return question(connection, *args, **kwargs)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "") == "SQLITE_INTERRUPT":
                raise ReadTimeLimitError(
                    f"the read was stopped after {self.limit_s:g} s; ask for a shorter time range, fewer series or a larger step"
                ) from error
            raise RetryableError(f"cannot read {self.path}: {cure_of(error)}") from error
        finally:
            connection.set_progress_handler(None, 0)
            if connection.in_transaction:
                connection.rollback()
            self._connections.put(connection)

    def close(self) -> None:
        """Wait for the reads under way, then disconnect. Twice is harmless."""
        if self.threads is not None:
            self.threads.shutdown(wait=True)
            self.threads = None
        while not self._connections.empty():
            self._connections.get().close()
