"""Numbers and times out of JSON texts, for kernels: exact, or not at all."""

from typing import Final

import numpy as np

from sentinel.core.buffers import UInt8
from sentinel.core.jit import inlined, leaf
from sentinel.ingestion.scan_bytes import NOT_PLAIN
from sentinel.ingestion.wire import EARLIEST_NS, LATEST_NS

EXACT_POWERS = np.array([float(f"1e{power}") for power in range(23)])
"""Powers of ten that are floats without rounding."""

EXACT_MANTISSA: Final = 1 << 53
"""Whole numbers up to here are floats without rounding."""

MANY: Final = 1_000_000
"""Stands for every exponent of more than four digits."""

EARLIEST_S: Final = EARLIEST_NS / 1e9
LATEST_S: Final = LATEST_NS / 1e9
DAYS_TO_2000: Final = 10_957
DAYS_BEFORE = np.array([0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334], np.int64)
"""Days of a common year before each month; the month stands at its own number."""

MICROSECONDS = np.array([0, 100_000, 10_000, 1_000, 100, 10, 1], np.int64)
"""What the last of so many decimals of a second is worth."""


@inlined
def read_digits(text: UInt8, position: int, value: int) -> tuple[int, int]:
    """The position after the digits, and the number with them appended; overflows, so count the digits."""
    while 48 <= text[position] <= 57:
        value = value * 10 + int(text[position]) - 48
        position += 1
    return position, value


@inlined
def read_number(text: UInt8, start: int) -> tuple[int, float]:
    """The position after a JSON number without sign, and its value; the value is NaN when it would need more than one rounding.

    Mantissa and power of ten are floats without rounding, so their product or quotient is the nearest float (W. D. Clinger, How to Read
    Floating Point Numbers Accurately, 1990).
    """
    position, mantissa = read_digits(text, start, 0)
    digits = position - start
    if digits == 0 or (digits > 1 and text[start] == 48):
        return NOT_PLAIN, np.nan
    power = 0
    if text[position] == 46:
        point = position + 1
        position, mantissa = read_digits(text, point, mantissa)
        if position == point:
            return NOT_PLAIN, np.nan
        power = point - position
        digits -= power
    if text[position] == 101 or text[position] == 69:
        position, exponent = read_exponent(text, position + 1)
        power += exponent
    if digits > 18 or mantissa > EXACT_MANTISSA or power > 22 or power < -22:
        return position, np.nan
    if power < 0:
        return position, mantissa / EXACT_POWERS[-power]
    return position, mantissa * EXACT_POWERS[power]


@leaf
def read_exponent(text: UInt8, position: int) -> tuple[int, int]:
    """The position after an exponent, and the exponent; one of more than four digits is some large number."""
    negative = text[position] == 45
    if negative or text[position] == 43:
        position += 1
    after, exponent = read_digits(text, position, 0)
    if after == position:
        return NOT_PLAIN, 0
    if after - position > 4:
        return after, MANY
    return after, -exponent if negative else exponent


@leaf
def pair(text: UInt8, position: int) -> int:
    """The number of two digits; negative when they are none."""
    tens = int(text[position]) - 48
    ones = int(text[position + 1]) - 48
    if 0 <= tens <= 9 and 0 <= ones <= 9:
        return tens * 10 + ones
    return -1_000


@leaf
def days_since_1970(text: UInt8, start: int) -> int:
    """The day of a date from 2000-01-01 to 2199-12-31, written YYYY-MM-DD; negative for anything else."""
    year = pair(text, start) * 100 + pair(text, start + 2) - 2_000
    month = pair(text, start + 5)
    day = pair(text, start + 8)
    if not (0 <= year < 200 and 1 <= month <= 12 and text[start + 4] == 45 and text[start + 7] == 45):
        return -1
    leap = year % 4 == 0 and year != 100
    longest = 30 + ((month + (month >> 3)) & 1)
    if month == 2:
        longest = 29 if leap else 28
    if not 1 <= day <= longest:
        return -1
    before = (year + 3) // 4 - (1 if year > 100 else 0) + (1 if leap and month > 2 else 0)
    in_year: int = DAYS_BEFORE[month]
    return DAYS_TO_2000 + year * 365 + before + in_year + day - 1


@leaf
def zone_s(text: UInt8, start: int, end: int) -> int:
    """Seconds east of Greenwich of Z or +HH:MM or -HH:MM; beyond a day for anything else."""
    if end - start == 1 and text[start] == 90:
        return 0
    if end - start == 6 and text[start + 3] == 58 and (text[start] == 43 or text[start] == 45):
        hours = pair(text, start + 1)
        minutes = pair(text, start + 4)
        if 0 <= hours <= 23 and 0 <= minutes <= 59:
            east = hours * 3_600 + minutes * 60
            return east if text[start] == 43 else -east
    return 1_000_000


@leaf
def read_time(text: UInt8, start: int, end: int) -> int:
    """Nanoseconds since the epoch of YYYY-MM-DDTHH:MM:SS[.ffffff] with a zone, rounded as `columns.times` does; 0 for anything else."""
    if end - start < 20 or text[start + 10] != 84 or text[start + 13] != 58 or text[start + 16] != 58:
        return 0
    days = days_since_1970(text, start)
    hour = pair(text, start + 11)
    minute = pair(text, start + 14)
    second = pair(text, start + 17)
    if days < 0 or not (0 <= hour <= 23 and 0 <= minute <= 59 and 0 <= second <= 59):
        return 0
    position = start + 19
    fraction = 0
    if text[position] == 46:
        position, fraction = read_digits(text, start + 20, 0)
        digits = position - (start + 20)
        if not 1 <= digits <= 6:
            return 0
        fraction *= MICROSECONDS[digits]
    east = zone_s(text, position, end)
    if east > 86_400:
        return 0
    seconds = ((days * 86_400 + hour * 3_600 + minute * 60 + second - east) * 1_000_000 + fraction) / 1e6
    if not EARLIEST_S <= seconds < LATEST_S:
        return 0
    return int(np.rint(seconds * 1e6)) * 1_000
