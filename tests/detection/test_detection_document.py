"""What docs/detection.md says of parameters is what they are."""

import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from sentinel.config.schema import Detection

TEXT = (Path(__file__).parents[2] / "docs" / "detection.md").read_text(encoding="utf-8")
PARAMETERS = TEXT[TEXT.index("## Parameters and their reasons") : TEXT.index("## Limits")]
ROWS = re.findall(r"^\| (`[^|]+`) \| ([0-9., ]+) \| ([^|]+) \|$", PARAMETERS, re.MULTILINE)
"""Names, value, reason."""


def numbers(cell: str) -> list[float]:
    """The numbers of a cell."""
    return [float(part) for part in cell.split(", ")]


def test_the_tables_are_read() -> None:
    """Every row of both tables is checked below, and each has a reason."""
    assert len(ROWS) == PARAMETERS.count("\n| `")
    assert len(ROWS) > 25
    assert all(reason.strip() for _, _, reason in ROWS)


@pytest.mark.parametrize(("cell", "value"), [(cell, value) for cell, value, _ in ROWS])
def test_values_are_those_in_force(cell: str, value: str) -> None:
    """A key's default and a constant's value are the ones in the tables."""
    for name in re.findall(r"`([^`]+)`", cell):
        head, _, last = name.rpartition(".")
        if last.isupper():
            found = getattr(import_module(f"sentinel.detection.{head}"), last)
        else:
            found = Detection().ticks
            for part in name.split("."):
                found = getattr(found, part)
        assert np.ravel(found).tolist() == numbers(value), name
