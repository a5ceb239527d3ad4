"""Checkpoints in a directory are whole or not there, whatever the key."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.core.errors import RetryableError
from sentinel.storage.checkpoints import DirectoryCheckpoints

KEY = "llm.telemetry/0/00000000000000000042-3f2a.ckpt"


def test_put_get_list_delete(tmp_path: Path) -> None:
    """What was put is got, listed by prefix in order, and gone after delete."""
    store = DirectoryCheckpoints(tmp_path / "deep" / "checkpoints")
    assert store.get(KEY) is None
    assert store.list("") == []
    store.delete(KEY)
    for key in (KEY, "b/1", "b/0", "c"):
        store.put(key, key.encode())
    assert store.get(KEY) == KEY.encode()
    assert store.list("b/") == ["b/0", "b/1"]
    assert store.list("") == sorted([KEY, "b/0", "b/1", "c"])
    store.delete("b/0")
    store.delete("b/0")
    assert store.list("b/") == ["b/1"]
    store.put("c", b"again")
    assert store.get("c") == b"again"


@given(st.text(min_size=1, max_size=700))
def test_any_key_stays_inside(tmp_path_factory: pytest.TempPathFactory, key: str) -> None:
    """No key leaves the directory, collides or is too long for a file system."""
    root = tmp_path_factory.mktemp("keys")
    store = DirectoryCheckpoints(root / "in")
    for each in (key, key + "/x", "../" + key, "/" + key, key + "x"):
        store.put(each, each.encode("utf-8", "surrogatepass"))
    for each in (key, key + "/x", "../" + key, "/" + key, key + "x"):
        assert store.get(each) == each.encode("utf-8", "surrogatepass")
    assert set(store.list("")) == {key, key + "/x", "../" + key, "/" + key, key + "x"}
    assert [child.name for child in root.iterdir()] == ["in"]


def test_foreign_and_unfinished_files_are_ignored(tmp_path: Path) -> None:
    """Only files that a put finished are listed."""
    store = DirectoryCheckpoints(tmp_path)
    store.put(KEY, b"1")
    for name in ("README", ".unfinished", "not canonical.blob", "%zz.blob", ".hidden.blob"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "directory.blob").mkdir()
    assert store.list("") == [KEY]


def test_crash_before_the_rename_leaves_the_old_blob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A put that dies before its rename changes nothing; the next one works."""
    store = DirectoryCheckpoints(tmp_path)
    store.put(KEY, b"old")

    def die(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            store.put(KEY, b"new and longer")
    assert store.get(KEY) == b"old"
    assert store.list("") == [KEY]
    store.put(KEY, b"new")
    assert store.get(KEY) == b"new"


def test_blob_is_synced_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order is: sync the file, rename it, sync the directory."""
    steps: list[str] = []
    sync, rename = os.fsync, Path.replace

    def noted_sync(descriptor: int) -> None:
        steps.append("directory" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file")
        sync(descriptor)

    def noted_rename(file: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(file, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "replace", noted_rename)
    DirectoryCheckpoints(tmp_path).put(KEY, b"blob")
    assert steps == ["file", "rename", "directory"]


def test_failures_name_place_and_cure(tmp_path: Path) -> None:
    """An unusable directory is retryable and says which."""
    (tmp_path / "file").write_text("in the way")
    store = DirectoryCheckpoints(tmp_path / "file" / "checkpoints")
    attempts: list[Callable[[], object]] = [lambda: store.put(KEY, b""), lambda: store.delete(KEY), lambda: store.get(KEY)]
    for attempt in attempts:
        with pytest.raises(RetryableError, match=r"checkpoint directory .*file/checkpoints: Not a directory"):
            attempt()


def test_empty_key_is_refused(tmp_path: Path) -> None:
    """A blob without a name could never be listed."""
    with pytest.raises(ValueError, match="needs a key"):
        DirectoryCheckpoints(tmp_path).put("", b"")


def test_what_a_crash_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    """An unfinished file of another process stays while it may be written, and goes after an hour."""
    store = DirectoryCheckpoints(tmp_path)
    fresh, old = tmp_path / ".unfinished-1", tmp_path / ".unfinished-2"
    for file in (fresh, old):
        file.write_bytes(b"half")
    os.utime(old, (1, 1))
    store.put(KEY, b"1")
    assert (fresh.exists(), old.exists()) == (True, False)


def test_a_full_disk_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing unfinished keeps the disk full, and what was there is still whole."""
    store = DirectoryCheckpoints(tmp_path)
    store.put(KEY, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RetryableError, match="No space left on device; see that its disk has room"):
            store.put(KEY, b"new")
    assert [file.name for file in tmp_path.iterdir()] == [file.name for file in tmp_path.glob("*.blob")]
    assert store.get(KEY) == b"old"
