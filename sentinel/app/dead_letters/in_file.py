"""Dead letters in a file and its one predecessor. The daemon may write meanwhile."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sentinel.app.dead_letters.letter import DeadLettersError, Letter, read_letter


class LetterFile:
    """The letters of a daemon without Kafka.

    Args:
        path: the file; `<name>.1` beside it is what it was before the last rotation.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._older = path.with_name(path.name + ".1")
        self.name = str(path)

    def read(self, start_ns: int | None) -> Iterator[tuple[Letter | None, float]]:  # noqa: ARG002  a file is read whole
        """The letters of both files, the older ones first."""
        with ExitStack() as opened, _told(self._path):
            # The newer first: a rotation in between then shows one file twice, which its number tells, and never none.
            newer = opened.enter_context(_readable(self._path))
            older = opened.enter_context(_readable(self._older))
            files = [file for file in (older, newer) if file is not None]
            if older is not None and newer is not None and os.path.sameopenfile(older.fileno(), newer.fileno()):
                files = [newer]
            total, done = max(sum(os.fstat(file.fileno()).st_size for file in files), 1), 0
            for file in files:
                for line in file:
                    done += len(line)
                    if line.strip():
                        yield read_letter(line), min(done / total, 1.0)

    def purge(self, before_ns: int | None) -> int:
        """Put files in place that hold only what was received later. What is no letter goes with the letter before it.

        The writer waits meanwhile: it locks the file for each write, and looks whether the name still stands for it.
        """
        with _told(self._path), _locked(self._path) as file:
            if file is None:
                return 0
            with _readable(self._older) as older:
                gone = 0 if older is None else _rewrite(self._older, older, before_ns)
            return gone + _rewrite(self._path, file, before_ns)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what the system refuses into an error with its cure."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DeadLettersError(
            f"cannot use the dead letters in {path}: {reason}. Check ingestion.dead_letters.path, its permissions and the disk."
        ) from error


@contextmanager
def _readable(path: Path) -> Iterator[BinaryIO | None]:
    """The open file; None when there is none."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        yield file


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO | None]:
    """The file that bears the name, held against writers and rotation; None when there is none."""
    while True:
        with _readable(path) as file:
            if file is None:
                yield None
                return
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
            if _is_at(file, path):
                yield file
                return


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Whether the name still stands for this file: it may have been rotated while we waited for the lock."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def _rewrite(path: Path, file: BinaryIO, before_ns: int | None) -> int:
    """Replace a file by what is to stay of it, all or nothing; how many letters went."""
    unfinished, gone, stays = path.with_name(path.name + ".new"), 0, before_ns is not None
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as left:
            os.fchmod(descriptor, os.fstat(file.fileno()).st_mode & 0o777)
            for line in file:
                letter = read_letter(line)
                if letter is not None and before_ns is not None:
                    stays = letter.received_ns >= before_ns
                gone += letter is not None and not stays
                if stays:
                    left.write(line)
            left.flush()
            os.fsync(descriptor)
        if gone or before_ns is None:
            unfinished.replace(path)
            _sync(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)
    return gone


def _sync(directory: Path) -> None:
    """Make a rename last."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
