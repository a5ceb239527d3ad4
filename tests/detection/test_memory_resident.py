"""Resident memory of a process: a hundred thousand windows, and a hundred thousand hostile names."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sentinel.core.jit import JIT_DISABLED

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc"),
    pytest.mark.skipif(JIT_DISABLED, reason="millions of samples need compiled kernels"),
]


def measured(case: str) -> dict[str, Any]:
    """A case of the benchmark, in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "bench.kernel_memory", case], cwd=ROOT, check=True, capture_output=True, timeout=120)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_full_window_is_resident_with_16_kb() -> None:
    """Ring and sorted view of a thousand samples, the record, the name, and what slabs leave over."""
    found = measured("full")
    assert (found["rss_mb"] - found["before_mb"]) * 2**20 / found["windows"] < 17 * 1024


def test_a_hundred_thousand_windows_fit_into_400_mb() -> None:
    """Most of them with few samples, some full; the whole process is counted."""
    found = measured("idle")
    assert found["windows"] >= 100_000
    assert found["rss_mb"] < 400


def test_a_hundred_thousand_hostile_names_cost_less_than_64_mb() -> None:
    """Each comes three times, among the events of real services: these keep their full windows."""
    found = measured("thrice")
    assert found["cost_mb"] < 64
    assert found["watched"] == 200
