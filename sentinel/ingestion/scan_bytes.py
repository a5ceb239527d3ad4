"""What a JSON text is made of, for kernels: words of eight bytes, literals, strings. No Python object per field.

Every record is followed by a NUL, which no JSON text holds: a step is only ever taken over a byte that fitted, so nothing is read beyond
the NUL as part of a record. All positions are those in the joined records, which end in at least PADDING NULs. The functions that read
something return the position after it, or NOT_PLAIN.
"""

from typing import Final

import numpy as np

from sentinel.core.batch import Int32
from sentinel.core.buffers import ABSENT, BACKSLASHES, HIGH, LOW, ONE, ONES, QUOTES, TOP_BYTE, UP_FROM_SPACE, UInt8, UInt64
from sentinel.core.jit import inlined, leaf

PADDING: Final = 40
NOT_PLAIN: Final = -1

FOUR_BYTES = np.uint64(0xFFFFFFFF)
WORD_NULL = np.uint64(0x6C6C756E)
WORD_TRUE = np.uint64(0x65757274)
WORD_ALSE = np.uint64(0x65736C61)


@leaf
def list_specials(words: UInt64, start: int, end: int, specials: Int32) -> None:
    """List the positions of quotes, backslashes, DEL, control and non-ASCII bytes of a record, up to the NUL at `end` and some beyond."""
    count = 0
    for at in range(start, end + 1, 8):
        word = words[at]
        low = word & LOW
        fits = (low + UP_FROM_SPACE) & ((low ^ QUOTES) + LOW) & ((low ^ BACKSLASHES) + LOW) & ~(low + ONES)
        marks = (word | ~fits) & HIGH
        while marks != 0:
            below = ((marks & ~(marks - ONE)) - ONE) & ONES
            specials[count] = at - 1 + np.int64((below * ONES) >> TOP_BYTE)
            count += 1
            marks &= marks - ONE


@inlined
def skip_space(text: UInt8, position: int) -> int:
    """The position of the next byte that is no JSON whitespace."""
    while text[position] <= 32 and text[position] in (32, 10, 13, 9):
        position += 1
    return position


@leaf
def read_literal(text: UInt8, words: UInt64, position: int) -> tuple[int, int]:
    """The position after true, false or null, and 1, 0 or ABSENT."""
    four = words[position] & FOUR_BYTES
    if four == WORD_NULL:
        return position + 4, ABSENT
    if four == WORD_TRUE:
        return position + 4, 1
    if text[position] == 102 and (words[position + 1] & FOUR_BYTES) == WORD_ALSE:
        return position + 5, 0
    return NOT_PLAIN, ABSENT


@leaf
def read_hex(text: UInt8, start: int) -> int:
    """The number of four hexadecimal digits; negative when they are none."""
    value = 0
    for position in range(start, start + 4):
        byte = int(text[position])
        letter = (byte | 32) - 87
        if 48 <= byte <= 57:
            value = value * 16 + byte - 48
        elif 10 <= letter <= 15:
            value = value * 16 + letter
        else:
            return -1
    return value


@leaf
def skip_escape(text: UInt8, start: int) -> int:
    """The position after an escape; surrogates must come in pairs."""
    letter = text[start + 1]
    if letter != 117:
        simple = letter in (34, 92, 47, 98, 102, 110, 114, 116)
        return start + 2 if simple else NOT_PLAIN
    unit = read_hex(text, start + 2)
    if unit < 0 or 0xDC00 <= unit <= 0xDFFF:
        return NOT_PLAIN
    if unit < 0xD800 or unit > 0xDFFF:
        return start + 6
    if text[start + 6] != 92 or text[start + 7] != 117:
        return NOT_PLAIN
    return start + 12 if 0xDC00 <= read_hex(text, start + 8) <= 0xDFFF else NOT_PLAIN


@leaf
def skip_character(text: UInt8, start: int) -> int:
    """The position after one character of two to four bytes of UTF-8 (RFC 3629: no surrogates, nothing longer than it need be)."""
    lead = text[start]
    low = 0x80
    high = 0xBF
    if 0xC2 <= lead <= 0xDF:
        more = 1
    elif 0xE0 <= lead <= 0xEF:
        more = 2
        low = 0xA0 if lead == 0xE0 else 0x80
        high = 0x9F if lead == 0xED else 0xBF
    elif 0xF0 <= lead <= 0xF4:
        more = 3
        low = 0x90 if lead == 0xF0 else 0x80
        high = 0x8F if lead == 0xF4 else 0xBF
    else:
        return NOT_PLAIN
    if not low <= text[start + 1] <= high:
        return NOT_PLAIN
    for position in range(start + 2, start + 1 + more):
        if text[position] & 0xC0 != 0x80:
            return NOT_PLAIN
    return start + 1 + more


@leaf
def find_text_end(text: UInt8, start: int, specials: Int32, at: int) -> tuple[int, bool]:
    """The quote that ends the text from `start` on, and whether there are escapes; special byte `at` is the first from there on."""
    position = start
    escaped = False
    while position >= 0:
        while specials[at] < position:
            at += 1
        position = specials[at]
        byte = text[position]
        if byte == 34:
            return position, escaped
        if byte == 92:
            escaped = True
            position = skip_escape(text, position)
        elif byte >= 0x80:
            position = skip_character(text, position)
        else:
            position = position + 1 if byte == 0x7F else NOT_PLAIN
    return NOT_PLAIN, escaped


@leaf
def has_space(text: UInt8, start: int, end: int) -> bool:
    """Whether a space is among these bytes."""
    found = False
    for position in range(start, end):
        found |= text[position] == 32
    return found
