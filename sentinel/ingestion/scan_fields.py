"""The value behind a known name, for kernels: read as its kind asks, or not plain.

It goes to one place of `spans` int32[2, k, n], `numbers` float64[m, n], `ts_ns` int64[n] or `marks` int8[3 + t, n]: streaming, success,
error_kind, and which texts hold escapes.
"""

from typing import Final

import numpy as np

from sentinel.core.batch import Float64, Int8, Int32, Int64
from sentinel.core.buffers import ABSENT, UInt8, UInt64
from sentinel.core.jit import inlined, leaf
from sentinel.ingestion.scan_bytes import NOT_PLAIN, find_text_end, has_space, read_literal
from sentinel.ingestion.scan_keys import COUNT, ERROR_TEXT, EVENT_ID, FLAG, MARKS, NAME, NOTHING, NUMBER, STRINGS, TEXTS, TIME
from sentinel.ingestion.scan_values import read_number, read_time

MAX_EVENT_ID: Final = 128
ERROR_FALSE: Final = 1
ERROR_STRING: Final = 3
"""Kinds of error: 0 = none, ERROR_FALSE, one more for true, ERROR_STRING."""

ESCAPED: Final = len(MARKS)
"""The first row of `marks` for texts."""

_ERROR_KIND: Final = MARKS.index("error_kind")
_FIRST_TEXT: Final = STRINGS.index(TEXTS[0])


@inlined
def read_value(
    text: UInt8,
    words: UInt64,
    position: int,
    specials: Int32,
    at: int,
    meaning: int,
    event: int,
    spans: Int32,
    numbers: Float64,
    ts_ns: Int64,
    marks: Int8,
) -> int:
    """The position after the value of a known name, which goes to its column."""
    kind, row = meaning & 255, (meaning >> 8) & 255
    quoted = text[position] == 34
    if quoted and kind <= EVENT_ID:
        return read_name(text, position + 1, specials[at + 1], kind, row, event, spans)
    if quoted and kind <= ERROR_TEXT:
        return read_text(text, position + 1, specials, at + 1, kind, row, event, spans, marks)
    if quoted and kind == TIME:
        close: int = specials[at + 1]
        ts_ns[event] = read_time(text, position + 1, close) if text[close] == 34 else 0
        return close + 1 if ts_ns[event] > 0 else NOT_PLAIN
    if kind in (NUMBER, COUNT) and text[position] != 110:
        after, value = read_number(text, position)
        # What needs more than one rounding is left to Python: its place, below zero, stands for it.
        numbers[row, event] = value if value >= 0 else -position
        return after if kind == NUMBER or value == np.floor(value) else NOT_PLAIN
    return read_mark(text, words, position, kind, row, event, marks)


@leaf
def read_mark(text: UInt8, words: UInt64, position: int, kind: int, row: int, event: int, marks: Int8) -> int:
    """The position after true, false or null."""
    after, mark = read_literal(text, words, position)
    if mark == ABSENT:
        return after if kind != NOTHING else NOT_PLAIN
    if kind == FLAG:
        marks[row, event] = mark
    elif kind == ERROR_TEXT:
        marks[_ERROR_KIND, event] = ERROR_FALSE + mark
    else:
        return NOT_PLAIN
    return after


@inlined
def read_name(text: UInt8, start: int, close: int, kind: int, row: int, event: int, spans: Int32) -> int:
    """The position after a string without escapes, of ASCII, that is no text."""
    if text[close] != 34 or (kind != NAME and close == start):
        return NOT_PLAIN
    if kind == EVENT_ID and (close - start > MAX_EVENT_ID or has_space(text, start, close)):
        return NOT_PLAIN
    spans[0, row, event] = start
    spans[1, row, event] = close
    return close + 1


@leaf
def read_text(text: UInt8, start: int, specials: Int32, at: int, kind: int, row: int, event: int, spans: Int32, marks: Int8) -> int:
    """The position after a string of any characters, whose opening quote stands before `start` and before special byte `at`."""
    close, escaped = find_text_end(text, start, specials, at)
    if close < 0:
        return NOT_PLAIN
    marks[ESCAPED + row - _FIRST_TEXT, event] = escaped
    if kind == ERROR_TEXT:
        marks[_ERROR_KIND, event] = ERROR_STRING
    spans[0, row, event] = start
    spans[1, row, event] = close
    return close + 1
