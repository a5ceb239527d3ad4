"""Checkpoints in a directory: one file a blob, whole or not there.

A key becomes a file name by percent-encoding, so no key can leave the directory and every file name can be read back. Names too long for
a file system are cut into directories whose names end in `+`, which no encoded key contains.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from sentinel.core.errors import RetryableError

_SUFFIX: Final = ".blob"
_UNFINISHED: Final = ".unfinished"
_NAME_LENGTH: Final = 200


class DirectoryCheckpoints:
    """`CheckpointStore` in one directory, which is made when something is first put.

    Files that are not ours, and what a crash left unfinished, are never listed.

    Args:
        path: the directory; no other process may put into it at the same time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, key: str, blob: bytes) -> None:
        """Keep a blob: written beside, synced, renamed, the directory synced. Raises RetryableError with place and cure."""
        target = self._file(key)
        with self._failures("write"):
            for directory in _missing(target.parent):
                directory.mkdir(mode=0o700)
                _sync(directory.parent)
            # One name is enough: puts come one at a time, and a left-over is simply written anew.
            unfinished = target.parent / _UNFINISHED
            _write_synced(unfinished, blob)
            unfinished.replace(target)
            _sync(target.parent)

    def get(self, key: str) -> bytes | None:
        """The blob; None when there is none of this key. Raises RetryableError with place and cure."""
        with self._failures("read"):
            try:
                return self._file(key).read_bytes()
            except FileNotFoundError:
                return None

    def list(self, prefix: str) -> Sequence[str]:
        """Keys that start with `prefix`, sorted. Raises RetryableError with place and cure."""
        with self._failures("list"):
            names = [str(file.relative_to(self.path)) for file in self.path.rglob(f"*{_SUFFIX}") if file.is_file()]
        keys = ((name, unquote(name.removesuffix(_SUFFIX).replace("+/", ""), errors="replace")) for name in names)
        return sorted(key for name, key in keys if key.startswith(prefix) and _encoded(key) == name)

    def delete(self, key: str) -> None:
        """Remove a blob; a missing key is no error. Raises RetryableError with place and cure."""
        target = self._file(key)
        with self._failures("delete from"):
            try:
                target.unlink()
            except FileNotFoundError:
                return
            _sync(target.parent)

    def _file(self, key: str) -> Path:
        if not key:
            raise ValueError("a checkpoint needs a key")
        return self.path / _encoded(key)

    @contextmanager
    def _failures(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RetryableError(
                f"cannot {doing} the checkpoint directory {self.path}: {error.strerror}; "
                "see that its disk has room and the daemon's user may write there"
            ) from error


def _encoded(key: str) -> str:
    """The relative path of a key's file.

    >>> _encoded("llm.telemetry/0/00042-3f2a.ckpt")
    'llm.telemetry%2F0%2F00042-3f2a.ckpt.blob'
    >>> _encoded("../../etc/passwd")
    '%2E.%2F..%2Fetc%2Fpasswd.blob'
    """
    name = quote(key, safe="", errors="surrogatepass")
    pieces = [name[at : at + _NAME_LENGTH] for at in range(0, len(name), _NAME_LENGTH)]
    # A leading dot would hide the file, or be a way up.
    return "+/".join("%2E" + piece[1:] if piece.startswith(".") else piece for piece in pieces) + _SUFFIX


def _missing(directory: Path) -> Sequence[Path]:
    """Directories to make, outermost first."""
    return [above for above in reversed([directory, *directory.parents]) if not above.exists()]


def _write_synced(file: Path, blob: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(blob)
        out.flush()
        os.fsync(out.fileno())


def _sync(directory: Path) -> None:
    """Make a directory's entries survive a loss of power."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
