"""The embedded store's file: whether it is ours, of a format this version knows, and readable; a running daemon may hold it."""

import fcntl
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sentinel.app.doctor import sqlite_file
from sentinel.app.doctor.check import Check, Finding, failed, in_thread, ok
from sentinel.app.state import places
from sentinel.config.schema import Config
from sentinel.storage.schema import APPLICATION_ID, FORMAT

SUBJECT: Final = "store"
_OTHER_FILE: Final = "Point storage.embedded.path at another file, or move this one away."


async def _run(config: Config) -> Sequence[Finding]:
    return [await in_thread(lambda: look(places(config).database))]


def look(path: Path) -> Finding:
    """Whether the daemon could open the file."""
    header = sqlite_file.header(path)
    if header is None:
        return ok(SUBJECT, f"{path} does not exist yet; the daemon makes it")
    if isinstance(header, str):
        return failed(SUBJECT, header, f"Give the daemon's user access to it. {_OTHER_FILE}")
    about = f"{path}, {path.stat().st_size / 2**20:.1f} MiB"
    if (holder := _holder(path)) is not None:
        return ok(SUBJECT, f"{about}, in use by process {holder}")
    if sqlite_file.is_behind(path):
        return ok(SUBJECT, f"{about}; its write-ahead log holds more, which the next start takes in")
    return _at_rest(path, about, header)


def _at_rest(path: Path, about: str, header: sqlite_file.Header) -> Finding:
    """A file that is whole by itself, so that its header can be believed."""
    if header.application_id != APPLICATION_ID:
        return failed(SUBJECT, f"{path} is a database of another program", _OTHER_FILE)
    version = header.user_version
    if version > FORMAT:
        what = f"{path} has format {version}, and this version knows formats up to {FORMAT}"
        return failed(SUBJECT, what, "Run the version that wrote it, or a newer one.")
    try:
        sqlite_file.ask(path, _first_rows)
    except sqlite3.Error as error:
        return failed(SUBJECT, f"{path} is damaged: {error}", "Restore it from a backup, or move it away to start empty.")
    return ok(SUBJECT, f"{about}, format {version}" + ("" if version == FORMAT else f", will become {FORMAT}"))


def _first_rows(connection: sqlite3.Connection) -> None:
    connection.execute("SELECT count(*) FROM logs").fetchone()
    connection.execute("SELECT * FROM events LIMIT 1").fetchone()


def _holder(path: Path) -> str | None:
    """The process that holds the store's lock; None when nobody does. The lock is tried and given back at once."""
    try:
        descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
    finally:
        os.close(descriptor)
    return None


STORE: Final = Check("store", _run, lambda config: config.storage.influxdb is None)
