"""The table of figures that a run ends with."""

import os
from pathlib import Path

import pytest

_MODE = os.environ.get("CHAOS", "")
FULL = _MODE == "full"
"""Whether this is all of `make chaos`; CHAOS=short runs every scenario at a small size."""
by_request = pytest.mark.skipif(not _MODE, reason="make chaos runs it")
"""For scenarios that `make test` has no time for."""
FILE = Path(__file__).parents[2] / "build" / "chaos.txt"
lines: list[str] = []


def report(row: str, figures: str) -> None:
    """Add a line for a row of the table."""
    lines.append(f"{row}: {figures}")
    print(lines[-1])  # noqa: T201  people read it


def count(name: str, short: int, full: int) -> int:
    """How often something is done: as the environment says, else by the length of the run."""
    return int(os.environ.get(f"CHAOS_{name}", full if FULL else short))


def write() -> None:
    """Keep the table of a full run; rows that it did not run stay as they were."""
    if FULL and lines:
        FILE.parent.mkdir(exist_ok=True)
        rows = {_row(line) for line in lines}
        before = FILE.read_text().splitlines() if FILE.exists() else []
        FILE.write_text("\n".join([*(line for line in before if _row(line) not in rows), *lines]) + "\n")


def _row(line: str) -> str:
    return line.partition(":")[0]
