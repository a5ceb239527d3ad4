"""Dead letters in a file: read and purged while the daemon writes, turns the file over, or has crashed."""

import asyncio
import fcntl
import os
import threading
from pathlib import Path

import pytest
from dead_letter_inputs import DAY_NS, START_NS, plain, write

from sentinel.app.dead_letters.in_file import LetterFile
from sentinel.app.dead_letters.letter import DeadLettersError
from sentinel.core.errors import RetryableError
from sentinel.ingestion.dead_letter import FileDeadLetters, encode


def read(path: Path) -> list[int | None]:
    """The offsets of the letters, None for what is none."""
    return [None if letter is None else letter.offset for letter, _ in LetterFile(path).read(None)]


def older(path: Path) -> Path:
    """What a file was before its last rotation."""
    return path.with_name(path.name + ".1")


def test_both_files_are_read_the_older_first(tmp_path: Path) -> None:
    """In the order of writing, with the share that is read; a line that a crash cut off is told apart."""
    path = write(tmp_path / "dead.jsonl", [plain(2), plain(3)])
    write(older(path), [plain(0), plain(1)])
    with path.open("ab") as file:
        file.write(encode(plain(4))[:30] + b"\n" + encode(plain(5)) + b"\n\n")
    assert read(path) == [0, 1, 2, 3, None, 5]
    shares = [share for _, share in LetterFile(path).read(None)]
    assert shares == sorted(shares)
    assert shares[-1] > 0.99


def test_no_file_is_no_letters(tmp_path: Path) -> None:
    """Nothing was refused yet: that is no error, and nothing is made."""
    assert read(tmp_path / "dead.jsonl") == []
    assert LetterFile(tmp_path / "dead.jsonl").purge(None) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_just_turned_over_is_read_once(tmp_path: Path) -> None:
    """Both names stand for one file while a rotation happens between two looks."""
    path = write(tmp_path / "dead.jsonl", [plain(0)])
    os.link(path, older(path))
    assert read(path) == [0]


def test_what_is_older_goes(tmp_path: Path) -> None:
    """From both files, with its broken lines; what is newer, and the file's mode, stay. Again nothing is left to do."""
    path = write(tmp_path / "dead.jsonl", [plain(2, START_NS - 2 * DAY_NS), plain(3)])
    write(older(path), [plain(0, START_NS - 4 * DAY_NS), plain(1, START_NS - 3 * DAY_NS)])
    path.write_bytes(path.read_bytes().replace(b"\n", b"\nbroken\n", 1))
    path.chmod(0o640)
    assert LetterFile(path).purge(START_NS - DAY_NS) == 3
    assert read(path) == [3]
    assert path.stat().st_mode & 0o777 == 0o640
    before = path.stat().st_ino
    assert LetterFile(path).purge(START_NS - DAY_NS) == 0
    assert path.stat().st_ino == before
    assert LetterFile(path).purge(None) == 1
    assert read(path) == []
    assert sorted(tmp_path.iterdir()) == [path, older(path)]


async def test_the_daemon_goes_on_in_the_new_file(tmp_path: Path) -> None:
    """A sink that is open during a purge writes its next letter where it can be found."""
    path = tmp_path / "dead.jsonl"
    sink = FileDeadLetters(path, 1_000_000)
    await sink.open()
    await sink.write([plain(0), plain(1)])
    assert LetterFile(path).purge(None) == 2
    await sink.write([plain(2)])
    assert read(path) == [2]
    path.unlink()
    await sink.write([plain(3)])
    await sink.close()
    assert read(path) == [3]


async def test_a_write_during_a_purge_is_tried_again(tmp_path: Path) -> None:
    """The file is held: the write fails as retryable, with the reason, instead of waiting without end; then it succeeds."""
    path = tmp_path / "dead.jsonl"
    sink = FileDeadLetters(path, 1_000_000)
    await sink.open()
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RetryableError, match="sentinel dlq purge"):
            await sink.write([plain(0)])
    await sink.write([plain(0)])
    await sink.close()
    assert read(path) == [0]


def test_no_letter_is_lost_or_doubled_between_writer_and_purges(tmp_path: Path) -> None:
    """A writer that turns its file over again and again, and purges of what is old: every new letter is there once, no old one is left."""
    path, written, purged = tmp_path / "dead.jsonl", 200, 0
    done = threading.Event()

    async def write_all() -> None:
        sink = FileDeadLetters(path, 60_000)
        await sink.open()
        for offset in range(written):
            while True:
                try:
                    await sink.write([plain(offset), plain(offset, START_NS - 2 * DAY_NS)])
                except RetryableError:
                    continue
                break
        await sink.close()

    def run() -> None:
        asyncio.run(write_all())
        done.set()

    writer = threading.Thread(target=run)
    writer.start()
    while not done.wait(0.005):
        purged += LetterFile(path).purge(START_NS - DAY_NS)
    writer.join()
    purged += LetterFile(path).purge(START_NS - DAY_NS)
    assert purged == written
    assert read(path) == list(range(written))


def test_a_directory_that_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the file and the setting; the letters are still there, and no half file is left."""
    path = write(tmp_path / "dead.jsonl", [plain(0)])

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DeadLettersError, match=r"dead\.jsonl: no space left on device.*ingestion\.dead_letters\.path"):
        LetterFile(path).purge(None)
    assert read(path) == [0]
    assert list(tmp_path.iterdir()) == [path]
