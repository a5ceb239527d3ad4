"""Kernels that were compiled with an image: taken over where the daemon may write, and never over newer ones."""

import os
from pathlib import Path

import pytest

from sentinel.cli.run import prepare_numerics, take_over
from sentinel.core.errors import StartupError


def write(path: Path, text: str, age_s: int) -> Path:
    """A file with an age."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (1_700_000_000 - age_s, 1_700_000_000 - age_s))
    return path


def test_missing_and_older_files_are_copied(tmp_path: Path) -> None:
    """An upgraded image brings newer ones; what was compiled on this machine since stays; ages are kept, nothing unfinished is left."""
    image, state = tmp_path / "image", tmp_path / "state"
    for name in ("new", "upgraded", "recompiled"):
        write(image / "windows_1a" / name, "image", age_s=100)
    write(state / "windows_1a" / "upgraded", "old", age_s=200)
    write(state / "windows_1a" / "recompiled", "own", age_s=0)
    for _ in range(2):
        take_over(image, state)
        found = {path.name: path.read_text() for path in (state / "windows_1a").iterdir()}
        assert found == {"new": "image", "upgraded": "image", "recompiled": "own"}
    assert (state / "windows_1a" / "new").stat().st_mtime == 1_700_000_000 - 100


def test_they_are_taken_over_before_numba_is_told_where_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SENTINEL_KERNELS names them; a directory the operator chose himself is left alone."""
    write(tmp_path / "image" / "a", "image", age_s=1)
    monkeypatch.setenv("SENTINEL_KERNELS", str(tmp_path / "image"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/chosen")
    prepare_numerics(tmp_path / "kernels")
    assert not (tmp_path / "kernels").exists()
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    prepare_numerics(tmp_path / "kernels")
    assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path / "kernels")
    assert (tmp_path / "kernels" / "a").read_text() == "image"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="Set state_dir"):
        prepare_numerics(tmp_path / "file" / "kernels")
