"""The planted bugs: each still fits the sources, is taken out again, and a patch without its head is refused."""

import shutil
from pathlib import Path

import pytest

from tools.planted import PATCHES, ROOT, Bug, bugs, fits, planted

LEAST = 15
BUGS = bugs()


def test_there_are_enough() -> None:
    """Each mistake breaks a promise of its own."""
    assert len(BUGS) >= LEAST
    assert len({bug.promise for bug in BUGS}) == len(BUGS)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_bug_fits_and_names_its_tests(bug: Bug) -> None:
    """The patch applies to today's sources, and the tests that must fail are there."""
    assert fits(bug, ROOT), f"{bug.name} does not fit the sources any more: make the patch anew"
    assert (ROOT / bug.tests[0]).is_file()


def test_a_bug_is_taken_out_again(tmp_path: Path) -> None:
    """While it is planted the sources differ; afterwards they are as before, and only once can it be planted."""
    bug = next(bug for bug in BUGS if bug.name == "commit-when-read")
    changed = tmp_path / "sentinel" / "ingestion" / "kafka.py"
    changed.parent.mkdir(parents=True)
    shutil.copy2(ROOT / "sentinel" / "ingestion" / "kafka.py", changed)
    before = changed.read_text()
    with planted(bug, tmp_path):
        assert changed.read_text() != before
        with pytest.raises(ValueError, match="does not fit the sources any more"), planted(bug, tmp_path):
            pass
    assert changed.read_text() == before


def test_a_patch_without_its_head_is_refused(tmp_path: Path) -> None:
    """Nobody would know what it is for."""
    (tmp_path / "headless.patch").write_text((PATCHES / "commit-when-read.patch").read_text().split("\n\n", 1)[1])
    with pytest.raises(ValueError, match="must begin with"):
        bugs(tmp_path)
