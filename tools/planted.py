"""Do the tests bite? Plants known bugs, one after the other, in a copy of the sources, and runs the tests that must find each.

    python -m tools.planted [NAME...]

A bug is a patch in tests/simulation/planted whose head says which promise it breaks and which tests must fail. The exit code is 1 when
a bug was not caught, when a test fails without any bug, or when a patch does not fit the sources any more.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PATCHES: Final = ROOT / "tests" / "simulation" / "planted"
COPY: Final = ROOT / "build" / "planted"
"""The copy has a fixed place: kernels are compiled once for a path."""
COPIED: Final = ("sentinel", "tests", "tools", "config", "docs", "examples", "pyproject.toml", "README.md", "Makefile")
SEEDS: Final = "100"
"""Seeds in which the simulation must meet a bug."""
WITHIN_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Bug:
    """A planted bug: the promise that it breaks, the arguments of pytest that must fail, and the patch."""

    name: str
    promise: str
    tests: Sequence[str]
    patch: Path


def bugs(folder: Path = PATCHES) -> list[Bug]:
    """All of them, by name. Raises ValueError for a patch without its head."""
    return [_bug(path) for path in sorted(folder.glob("*.patch"))]


def _bug(path: Path) -> Bug:
    head = dict(line.split(": ", 1) for line in path.read_text().splitlines()[:2] if ": " in line)
    if not {"Promise", "Test"} <= head.keys():
        raise ValueError(f"{path} must begin with the lines `Promise: ...` and `Test: ...`")
    return Bug(path.stem, head["Promise"], head["Test"].split(), path)


def fits(bug: Bug, root: Path) -> bool:
    """Whether a patch can be applied to the sources under `root`; nothing is changed."""
    return _patch(bug, root, "--dry-run").returncode == 0


@contextmanager
def planted(bug: Bug, root: Path) -> Iterator[None]:
    """The bug is in the sources under `root`. Raises ValueError when the patch does not fit them."""
    done = _patch(bug, root)
    if done.returncode:
        raise ValueError(f"{bug.patch.relative_to(ROOT)} does not fit the sources any more, make it anew:\n{done.stdout}")
    try:
        yield
    finally:
        _patch(bug, root, "--reverse").check_returncode()


def _patch(bug: Bug, root: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = ["patch", "-p1", "--force", "--fuzz=0", "--no-backup-if-mismatch", "--reject-file=-", *options, "--input", str(bug.patch)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def _copied() -> None:
    """A fresh copy, with the files' times: they are part of the compiled kernels' cache."""
    shutil.rmtree(COPY, ignore_errors=True)
    COPY.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, COPY / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, COPY / name)


def _passes(tests: Sequence[str]) -> bool:
    """Whether tests pass in the copy. Raises RuntimeError when they could not be run at all."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(COPY),
        "PYTHONDONTWRITEBYTECODE": "1",  # a patch and its reverse within a second would leave the wrong one
        "SIMULATION_SEEDS": SEEDS,
        "NUMBA_CACHE_DIR": str(COPY.parent / "planted-kernels"),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:randomly", *tests]
    done = subprocess.run(command, cwd=COPY, env=environment, capture_output=True, text=True, check=False, timeout=WITHIN_S)
    if done.returncode not in {0, 1}:
        raise RuntimeError(f"{' '.join(tests)} could not be run:\n{done.stdout[-3_000:]}{done.stderr[-3_000:]}")
    return done.returncode == 0


def main(names: Sequence[str]) -> int:
    """Plant the named bugs, all without a name. Returns the exit code."""
    chosen = [bug for bug in bugs() if not names or bug.name in names]
    _copied()
    for tests in sorted({tuple(bug.tests) for bug in chosen}):
        if not _passes(tests):
            print(f"{' '.join(tests)} fails without any bug: mend that first")
            return 1
    print(f"{'bug':34} {'result':10} {'seconds':>7}  promise")
    missed = 0
    for bug in chosen:
        started = time.monotonic()
        with planted(bug, COPY):
            caught = not _passes(bug.tests)
        missed += not caught
        print(f"{bug.name:34} {'caught' if caught else 'NOT CAUGHT':10} {time.monotonic() - started:7.1f}  {bug.promise}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} caught")
    return 1 if missed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
