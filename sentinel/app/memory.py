"""How the process uses memory: collections of garbage, and what the C library gives back to the system."""

import ctypes
import gc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

LARGE_BYTES: Final = 8 * 1024 * 1024
"""Blocks from this size on have pages of their own: tables of a partition and copies for a checkpoint, and no columns of a delivery."""
KEPT_BYTES: Final = 64 * 1024 * 1024
"""Free memory at the end of the heap that is kept: what deliveries need again and again costs faults when it is given back each time."""

LARGE_CODE_BYTES: Final = 8 * 1024 * 1024
"""Code of libraries from this size on is given back after the start: LLVM's, which only compiles and loads kernels, is most of it."""

_M_TRIM_THRESHOLD: Final = -1  # malloc.h
_M_MMAP_THRESHOLD: Final = -3
_MADV_DONTNEED: Final = 4  # sys/mman.h


def separate_large_blocks() -> None:
    """Give large blocks pages of their own, so that what nobody wrote to costs nothing and what is freed is given back at once.

    To be called before anything large is made. Left to itself, glibc takes blocks of up to 32 MiB from its heap once one of that size was
    freed: the tables of a partition, made for many more series than come, were then cleared by hand and so became resident, and the
    copies for a checkpoint stayed. Other C libraries have no such setting.
    """
    _call_c_library("mallopt", _M_MMAP_THRESHOLD, LARGE_BYTES)
    _call_c_library("mallopt", _M_TRIM_THRESHOLD, KEPT_BYTES)


def settle() -> None:
    """After the start: events come and go as columns, so almost all garbage dies young, and full collections only cost.

    What the start took is given back: free memory, and the pages of code that is done with. Such a page is read from its file again when
    it is wanted after all.
    """
    gc.collect()
    gc.freeze()
    _call_c_library("malloc_trim", 0)
    gc.set_threshold(1_000_000, 20, 100)
    smaps = Path("/proc/self/smaps")
    if smaps.exists():
        for start, size in large_code(smaps.read_text(encoding="utf-8", errors="replace").splitlines()):
            _call_c_library("madvise", ctypes.c_void_p(start), ctypes.c_size_t(size), _MADV_DONTNEED)


def large_code(smaps: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Address and bytes of large mappings that hold a file's code exactly as it is in the file.

    Args:
        smaps: the lines that Linux writes of a process.

    >>> list(large_code(["7f00-8100f00 r-xp 00000000 08:01 42    /lib/a.so", "Size:  132065 kB", "Anonymous:    0 kB"]))
    [(32512, 135237632)]
    >>> list(large_code(["7f00-8100f00 r-xp 00000000 08:01 42    /lib/a.so", "Size:  132065 kB", "Anonymous:    4 kB"]))
    []
    """
    start = end = 0
    is_code = False
    for line in smaps:
        first, *rest = line.split()
        if not first.endswith(":"):
            start, end = (int(address, 16) for address in first.split("-"))
            permissions, inode = rest[0], rest[3]
            is_code = permissions == "r-xp" and inode != "0" and end - start >= LARGE_CODE_BYTES
        elif first == "Anonymous:" and is_code and rest[0] == "0":
            yield start, end - start


def _call_c_library(name: str, *arguments: object) -> None:
    """Call a function that not every C library has."""
    function: Any = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*arguments)
