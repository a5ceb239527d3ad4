"""Where the daemon writes: may it, and is there room."""

import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sentinel.app.doctor.check import Check, Finding, failed, in_thread, ok, warning
from sentinel.app.state import places
from sentinel.config.schema import Config

FULL_BYTES: Final = 100 * 2**20
"""With less than this the store's write-ahead log cannot grow."""
LOW_BYTES: Final = 2 * 2**30
"""A day of a few dozen events per second."""


async def _run(config: Config) -> Sequence[Finding]:
    return await in_thread(lambda: look(config))


def look(config: Config) -> list[Finding]:
    """One finding for the state directory and each one outside it, and one for the room of each file system."""
    where = places(config)
    others = {
        "directory of the database": where.database.parent,
        "directory of the checkpoints": where.checkpoints,
        "directory of the dead letters": where.dead_letters.parent,
    }
    named = {"state directory": where.state} | {subject: path for subject, path in others.items() if not path.is_relative_to(where.state)}
    return [*(_directory(subject, path) for subject, path in named.items()), *_room({_nearest(path) for path in named.values()})]


def _directory(subject: str, path: Path) -> Finding:
    nearest = _nearest(path)
    if not nearest.is_dir():
        return failed(subject, f"{nearest} is not a directory", "Set state_dir to a directory, or move the file away.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        what = f"{nearest} is not writable for user {os.getuid()}"
        return failed(subject, what, "Change its owner, or set state_dir to another directory.")
    if nearest != path:
        return ok(subject, f"{path} does not exist yet; the daemon makes it")
    status = path.stat()
    if status.st_uid != os.getuid():
        what = f"{path} belongs to user {status.st_uid}, and this is user {os.getuid()}"
        return warning(subject, what, "Run the doctor as the daemon's user, so that it meets the same permissions.")
    if status.st_mode & (stat.S_IWGRP | stat.S_IRWXO):
        what = f"{path} is open to other users (mode {stat.S_IMODE(status.st_mode):04o})"
        return warning(subject, what, f"Run `chmod 700 {path}`.")
    return ok(subject, f"{path}, writable, mode {stat.S_IMODE(status.st_mode):04o}")


def _nearest(path: Path) -> Path:
    """The path, or the first above it that exists."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _room(directories: set[Path]) -> list[Finding]:
    devices = {path.stat().st_dev: path for path in sorted(directories, reverse=True)}
    return [_free(path) for path in sorted(devices.values())]


def _free(path: Path) -> Finding:
    usage = shutil.disk_usage(path)
    what = f"{_bytes(usage.free)} free of {_bytes(usage.total)} at {path}"
    if not os.statvfs(path).f_favail and os.statvfs(path).f_files:
        return failed("disk", f"no file can be made at {path}: its file system has no inodes left", "Delete files you do not need.")
    if usage.free < FULL_BYTES:
        return failed("disk", what, "Free space, or shorten storage.embedded.*_retention_hours.")
    if usage.free < LOW_BYTES:
        return warning("disk", what, "Free space: docs/operations.md says how much an event takes.")
    return ok("disk", what)


def _bytes(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


DIRECTORIES: Final = Check("directories", _run)
