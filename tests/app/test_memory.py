"""What the process does with memory."""

import platform
import subprocess
import sys

import pytest

LARGE_BLOCKS = """
import sys
from pathlib import Path
import numpy as np
from sentinel.app import memory

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

if sys.argv[1] == "separate":
    memory.separate_large_blocks()
large = 24 * 2**20
for _ in range(3):  # each that is freed raises the limit of glibc's own choice
    written = np.ones(large, np.uint8)
    del written
before = resident_mb()
untouched = np.zeros(large, np.uint8)
print(resident_mb() - before, before)
"""


SETTLED = """
from pathlib import Path
from numba import njit
from sentinel.app import memory

def code_mb():
    resident, library = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            library = "r-xp" in line and "llvmlite" in line
        elif library and line.startswith("Rss:"):
            resident += int(line.split()[1])
    return resident / 1024

assert njit(lambda x: x + 1)(1) == 2
before = code_mb()
memory.settle()
after = code_mb()
assert njit(lambda x: x * 3)(2) == 6
print(after, before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has this setting")
def test_large_blocks_have_pages_of_their_own() -> None:
    """What was freed is given back at once, and a table that nobody has written to yet is not resident."""
    grown_mb, before_mb = _run(LARGE_BLOCKS, "separate")
    assert grown_mb < 2
    _, kept_mb = _run(LARGE_BLOCKS, "together")
    assert before_mb < kept_mb - 20, "glibc itself gave the freed block back: the setting is not needed any more"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its mappings")
def test_code_that_is_done_with_is_given_back() -> None:
    """The compiler's pages are not resident after the start, and it works when it is wanted again."""
    after_mb, before_mb = _run(SETTLED)
    assert before_mb > 10
    assert after_mb < 1


def _run(script: str, *arguments: str) -> tuple[float, float]:
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    first, second = done.stdout.split()
    return float(first), float(second)
