"""A SQLite file, looked at without opening it for writing and without leaving anything beside it."""

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

_MAGIC: Final = b"SQLite format 3\0"
_USER_VERSION_AT, _APPLICATION_AT, _HEADER_BYTES = 60, 68, 100


@dataclass(frozen=True, slots=True)
class Header:
    """What a file's first bytes say: `user_version` and `application_id` as PRAGMAs of these names would."""

    user_version: int
    application_id: int


def header(path: Path) -> Header | str | None:
    """The header; None when there is no file yet, or an empty one; else why it is not a database we may use."""
    try:
        with path.open("rb") as file:
            first = file.read(_HEADER_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    if not first:
        return None
    if not first.startswith(_MAGIC) or len(first) < _HEADER_BYTES:
        return f"{path} is not a database"
    if not os.access(path, os.W_OK):
        return f"{path} is not writable for user {os.getuid()}"
    return Header(_number(first, _USER_VERSION_AT), _number(first, _APPLICATION_AT))


def is_behind(path: Path) -> bool:
    """Whether a write-ahead log beside the file may hold more than the file, its header included."""
    beside = path.with_name(path.name + "-wal")
    return beside.exists() and beside.stat().st_size > 0


def ask(path: Path, question: Callable[[sqlite3.Connection], T]) -> T | None:
    """The answer of a file that is whole by itself; None when it is not. Raises sqlite3.Error for a damaged file."""
    if is_behind(path):
        return None
    # Immutable: SQLite makes no companion files, which the daemon's user might not be able to open.
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        return question(connection)
    finally:
        connection.close()


def _number(first: bytes, at: int) -> int:
    return int.from_bytes(first[at : at + 4], "big")
