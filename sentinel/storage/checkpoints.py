"""Checkpoints in a directory: one file a blob, whole or not there.

A key becomes a file name by percent-encoding, so no key can leave the directory and every file name can be read back. Names too long for
a file system are cut into directories whose names end in `+`, which no encoded key contains.
"""

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from sentinel.core.errors import RetryableError

_SUFFIX: Final = ".blob"
_UNFINISHED: Final = ".unfinished"
_NAME_LENGTH: Final = 200
_LEFT_OVER_S: Final = 3_600.0
"""An unfinished file of this age belongs to nobody any more; no put takes so long."""


class DirectoryCheckpoints:
    """`CheckpointStore` in one directory, which is made when something is first put.

    Several processes, on several machines, may use one directory at the same time. Files that are not ours, and what a crash left
    unfinished, are never listed; the latter goes after an hour.

    Args:
        path: the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Nobody else writes a file of this name, and our own left-overs are simply written anew.
        self._unfinished = f"{_UNFINISHED}-{secrets.token_hex(8)}"

    def put(self, key: str, blob: bytes) -> None:
        """Keep a blob: written beside, synced, renamed, the directory synced. Raises RetryableError with place and cure."""
        target = self._file(key)
        with self._failures("write"):
            for directory in _missing(target.parent):
                directory.mkdir(mode=0o700, exist_ok=True)
                _sync(directory.parent)
            unfinished = target.parent / self._unfinished
            try:
                _write_synced(unfinished, blob)
                unfinished.replace(target)
            except OSError:
                unfinished.unlink(missing_ok=True)  # half a blob on a full disk would keep it full
                raise
            _sync(target.parent)
            _remove_left_overs(target.parent)

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
            names = [str(file.relative_to(self.path)) for file in self._files(prefix)]
        keys = ((name, _decoded(name)) for name in names)
        return sorted(key for name, key in keys if key.startswith(prefix) and key and _encoded(key) == name)

    def delete(self, key: str) -> None:
        """Remove a blob; a missing key is no error. Raises RetryableError with place and cure."""
        target = self._file(key)
        with self._failures("delete from"):
            try:
                target.unlink()
            except FileNotFoundError:
                return
            _sync(target.parent)

    def _files(self, prefix: str) -> Iterator[Path]:
        """Finished files whose keys may begin so: one directory is looked through, and what lies below its matching ones."""
        above, _, begin = _pieces(prefix).rpartition("/")
        try:
            with os.scandir(self.path / above) as entries:
                found = [Path(entry.path) for entry in entries if entry.name.startswith(begin)]
        except FileNotFoundError:
            return
        for path in found:
            if path.name.endswith("+"):
                yield from (file for file in path.rglob(f"*{_SUFFIX}") if file.is_file())
            elif path.name.endswith(_SUFFIX) and path.is_file():
                yield path

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
    return _pieces(key) + _SUFFIX


def _pieces(key: str) -> str:
    """The same without the suffix; that of a key's beginning is the beginning of the key's."""
    name = quote(key, safe="", errors="surrogatepass")
    pieces = [name[at : at + _NAME_LENGTH] for at in range(0, len(name), _NAME_LENGTH)]
    # A leading dot would hide the file, or be a way up.
    return "+/".join("%2E" + piece[1:] if piece.startswith(".") else piece for piece in pieces)


def _decoded(name: str) -> str:
    """The key of a file; of a foreign one a text that has another name."""
    try:
        return unquote(name.removesuffix(_SUFFIX).replace("+/", ""), errors="surrogatepass")
    except UnicodeDecodeError:
        return ""


def _remove_left_overs(directory: Path) -> None:
    """Delete what crashes left unfinished, of whichever process."""
    for file in directory.glob(f"{_UNFINISHED}*"):
        try:
            if time.time() - file.stat().st_mtime > _LEFT_OVER_S:
                file.unlink()
        except FileNotFoundError:
            continue  # another process was quicker


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
