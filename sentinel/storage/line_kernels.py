"""Kernels that write lines: values are found and checked where they lie in one text, and copied once. No object per value. Pure.

All take `words`, the text as `as_words` gives it, and slices of it: int64 start and end, start -1 = absent. The text ends in PADDING
bytes, as words are read from any of its bytes on.
"""

from typing import Final

import numpy as np

from sentinel.core.batch import Bool, Int64
from sentinel.core.buffers import ABSENT, ALL_BITS, BACKSLASHES, HIGH, LOW, ONE, ONES, QUOTES, TOP_BYTE, UP_FROM_SPACE, UInt8, UInt64, copy
from sentinel.core.jit import leaf

PADDING: Final = 8

BYTE: Final = np.uint64(0xFF)
COMMAS: Final = np.uint64(0x2C2C2C2C2C2C2C2C)
BREAKS: Final = np.uint64(0x0A0A0A0A0A0A0A0A)
BACKSLASH: Final = 92
LETTER_N: Final = np.uint64(110)
LEAD_OF_C1: Final = np.uint64(0xC2)
LAST_OF_C1: Final = np.uint64(0x9F)


@leaf
def marks_of(word: np.uint64, wanted: np.uint64) -> np.uint64:
    """The high bit of each byte that is the wanted one: exact (all that repeat it are given in `wanted`)."""
    other = word ^ wanted
    return ~(((other & LOW) + LOW) | other) & HIGH


@leaf
def first_of(marks: np.uint64) -> int:
    """The number of the first marked byte."""
    below = ((marks & (~marks + ONE)) - ONE) & ONES
    return int(np.int64((below * ONES) >> TOP_BYTE)) - 1


@leaf
def within(marks: np.uint64, size: int) -> np.uint64:
    """Only the marks of the first bytes, `size` >= 1 of them."""
    return marks if size >= 8 else marks & (ALL_BITS >> np.uint64(64 - 8 * size))


@leaf
def split_numbers(words: UInt64, low: int, high: int, start: Int64, end: Int64) -> None:
    """Find the k * n numbers between low and high, separated by commas: those of a row after another; `null` is absent."""
    columns = len(start)
    column = row = 0
    first = low
    for at in range(low, high, 8):
        marks = within(marks_of(words[at], COMMAS), high - at)
        while marks != 0:
            comma = at + first_of(marks)
            start[column, row] = ABSENT if words[first] & BYTE == LETTER_N else first
            end[column, row] = comma
            first = comma + 1
            column += 1
            if column == columns:
                column = 0
                row += 1
            marks &= marks - ONE
    start[column, row] = ABSENT if words[first] & BYTE == LETTER_N else first
    end[column, row] = high


@leaf
def split_texts(words: UInt64, size: int, start: Int64, end: Int64) -> bool:
    """Find the texts that line breaks separate; whether there are as many as were asked for, one at least."""
    count = 0
    start[0] = 0
    for at in range(0, size, 8):
        marks = within(marks_of(words[at], BREAKS), size - at)
        while marks != 0:
            if count + 1 == len(start):
                return False
            end[count] = at + first_of(marks)
            start[count + 1] = end[count] + 1
            count += 1
            marks &= marks - ONE
    end[count] = size
    return count + 1 == len(start)


@leaf
def are_fit(words: UInt64, start: Int64, end: Int64, most: int) -> bool:
    """Whether no text is longer than `most` bytes or holds a control character (C0, C1, DEL). The texts are UTF-8."""
    for number in range(len(start)):
        if start[number] < 0:
            continue
        if end[number] - start[number] > most:
            return False
        for at in range(start[number], end[number], 8):
            word = words[at]
            low = word & LOW
            marks = within((word | ~(low + UP_FROM_SPACE) | (low + ONES)) & HIGH, end[number] - at)
            while marks != 0:
                two = words[at + first_of(marks)]
                second = (two >> np.uint64(8)) & BYTE
                if two & BYTE < np.uint64(0x80) or (two & BYTE == LEAD_OF_C1 and second <= LAST_OF_C1):
                    return False
                marks &= marks - ONE
    return True


@leaf
def copy_escaped(words: UInt64, start: int, end: int, out: UInt8, out_words: UInt64, at: int) -> int:
    """The same with a backslash before each quote and backslash."""
    while start < end:
        word = words[start]
        out_words[at] = word
        marks = within(marks_of(word, QUOTES) | marks_of(word, BACKSLASHES), end - start)
        if marks == 0:
            step = min(8, end - start)
            start += step
            at += step
        else:
            step = first_of(marks)
            out[at + step] = BACKSLASH
            out_words[at + step + 1] = words[start + step]
            start += step + 1
            at += step + 2
    return at


@leaf
def write_lines(
    words: UInt64,
    start: Int64,
    end: Int64,
    escaped: Bool,
    keys: Int64,
    key_sizes: Int64,
    tails: UInt64,
    tail_sizes: Int64,
    out: UInt8,
    out_words: UInt64,
    bounds: Int64,
) -> None:
    """Write row after row of all columns: the column's key, the value, and the column's tail of up to eight bytes.

    Args:
        words: see above.
        start: int64[k, n], see above; an absent value leaves key and tail out too.
        end: int64[k, n].
        escaped: bool[k], the columns whose values are texts in quotes.
        keys: int64[k], where each column's key lies.
        key_sizes: int64[k].
        tails: uint64[k].
        tail_sizes: int64[k].
        out: uint8[...], of `make_buffer`, with room for all that is written.
        out_words: the same as words.
        bounds: int64[n + 1], where each row begins and ends.
    """
    at = 0
    bounds[0] = 0
    for row in range(start.shape[1]):
        for column in range(len(start)):
            low: int = start[column, row]
            if low < 0:
                continue
            at = copy(words, keys[column], key_sizes[column], out_words, at)
            if escaped[column]:
                at = copy_escaped(words, low, end[column, row], out, out_words, at)
            else:
                at = copy(words, low, end[column, row] - low, out_words, at)
            out_words[at] = tails[column]
            at += tail_sizes[column]
        bounds[row + 1] = at
