"""Bytes as kernels read and write them: eight at a time, from any of them on. Pure.

A text that is read so ends in padding that belongs to none of its values: `as_words` has no word that reaches beyond the text. What is
written so has room for seven bytes more than it needs.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from sentinel.core.jit import leaf

UInt8 = npt.NDArray[np.uint8]
UInt64 = npt.NDArray[np.uint64]

ABSENT: Final = -1
"""Where the slice of a value that is not there starts."""

ONE: Final = np.uint64(1)
TOP_BYTE: Final = np.uint64(56)
ALL_BITS: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
LOW: Final = np.uint64(0x7F7F7F7F7F7F7F7F)
HIGH: Final = np.uint64(0x8080808080808080)
ONES: Final = np.uint64(0x0101010101010101)
UP_FROM_SPACE: Final = np.uint64(0x6060606060606060)
QUOTES: Final = np.uint64(0x2222222222222222)
BACKSLASHES: Final = np.uint64(0x5C5C5C5C5C5C5C5C)


def as_words(text: bytes) -> UInt64:
    """The same memory as little-endian words of eight bytes from every byte on, without a copy.

    >>> [hex(word) for word in as_words(b"abcdefghi")]
    ['0x6867666564636261', '0x6968676665646362']
    """
    return np.ndarray(len(text) - 7, np.uint64, text, strides=(1,))


def make_buffer(size: int) -> tuple[UInt8, UInt64]:
    """Room for that many bytes, and as words from every byte on, the last of which may reach beyond."""
    out = np.empty(size + 8, np.uint8)
    return out, np.ndarray(size + 1, np.uint64, out.data, strides=(1,))


@leaf
def copy(words: UInt64, start: int, size: int, out_words: UInt64, at: int) -> int:
    """Copy bytes, and up to seven more that are written over afterwards; returns the position after them."""
    for i in range(0, size, 8):
        out_words[at + i] = words[start + i]
    return at + size
