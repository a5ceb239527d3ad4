"""Which JSON names the scan knows and what may stand behind each: data for the kernels, taken from `WireEvent` at import.

A name is told from 24 bytes as three words: masked to its length, multiplied and shifted it points at one slot of a table, and that slot
holds the only name it can be.
"""

from typing import Final, NamedTuple

import msgspec
import numpy as np

from sentinel.core.batch import Int64
from sentinel.core.buffers import UInt64
from sentinel.core.jit import inlined
from sentinel.core.metrics import ERROR, METRIC_NAMES
from sentinel.ingestion.wire import WireEvent

STRINGS: Final = (
    *("event_id", "service_name", "model_name", "tenant"),
    *("user_id", "session_id", "request_id", "trace_id", "span_id", "parent_span_id"),
    *("provider", "operation", "environment", "region", "finish_reason", "prompt_version"),
    *("prompt_text", "response_text", "error", "status"),
)
"""The string fields in the order of the rows of `Scanned.start` and `Scanned.end`."""

TEXTS: Final = ("prompt_text", "response_text", "error")
"""The string fields that may hold any text: the rows of `Scanned.escaped`."""

NUMBERS: Final = tuple(name for index, name in enumerate(METRIC_NAMES) if index != ERROR)
"""The number fields in the order of the rows of `Scanned.numbers`."""

MARKS: Final = ("streaming", "success", "error_kind")
"""What is kept of true, false and null."""

# What may stand behind a name. Whole numbers, because a kernel compares them.
NAME: Final = 0
LINK: Final = 1
EVENT_ID: Final = 2
TEXT: Final = 3
ERROR_TEXT: Final = 4
NUMBER: Final = 5
COUNT: Final = 6
TIME: Final = 7
FLAG: Final = 8
NULL: Final = 9
NOTHING: Final = 10

_LINKS = ("user_id", "session_id", "request_id", "trace_id", "span_id", "parent_span_id")
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_KINDS = (
    dict.fromkeys(STRINGS, NAME)
    | dict.fromkeys(_LINKS, LINK)
    | dict.fromkeys(TEXTS, TEXT)
    | dict.fromkeys(NUMBERS, NUMBER)
    | dict.fromkeys(_COUNTS, COUNT)
    | {"event_id": EVENT_ID, "error": ERROR_TEXT, "timestamp": TIME, "streaming": FLAG, "success": FLAG}
    # What spans are made of is raw JSON: null is not the same as nothing there.
    | {"resourceSpans": NOTHING}
)

LONGEST: Final = 24
"""Bytes of the longest name that can be known."""

_SLOTS_LOG2 = 10
SHIFT: Final = np.uint64(64 - _SLOTS_LOG2)
SECOND: Final = np.uint64(0x9E3779B97F4A7C15)
THIRD: Final = np.uint64(0xC2B2AE3D27D4EB4F)


class Keys(NamedTuple):
    """The known names as the kernels look them up.

    Attributes:
        names: uint64[slots, 3], the words of the only name that may be there.
        meanings: int64[slots], what it means: its kind in the lowest byte, then the row in the columns of that kind, then a number that
            no other name has; 0 where no name is.
        masks: uint64[3, LONGEST + 1], which bits of each word belong to a name of so many bytes.
        salt: gives every name a slot of its own.
    """

    names: UInt64
    meanings: Int64
    masks: UInt64
    salt: np.uint64


def make_keys() -> Keys:
    """The table of all field names of `WireEvent`.

    Raises:
        ValueError: a name is longer than LONGEST bytes.
    """
    known = [field.encode_name for field in msgspec.structs.fields(WireEvent)]
    if too_long := [name for name in known if len(name) > LONGEST]:
        raise ValueError(
            f"field names longer than {LONGEST} bytes: {', '.join(too_long)}; raise scan_keys.LONGEST and add a word to a name"
        )
    words = np.array([np.frombuffer(name.encode().ljust(LONGEST, b"\0"), np.uint64) for name in known])
    salt, slots = _without_collision(words)
    names, meanings = np.zeros((1 << _SLOTS_LOG2, 3), np.uint64), np.zeros(1 << _SLOTS_LOG2, np.int64)
    names[slots] = words
    meanings[slots] = [_meaning(number, name) for number, name in enumerate(known)]
    return Keys(names, meanings, _masks(), salt)


def _meaning(number: int, name: str) -> int:
    row = next((table.index(name) for table in (STRINGS, NUMBERS, MARKS) if name in table), 0)
    return number + 1 << 16 | row << 8 | _KINDS.get(name, NULL)


def _masks() -> UInt64:
    bits = [[8 * min(max(length - 8 * word, 0), 8) for length in range(LONGEST + 1)] for word in range(3)]
    return np.array([[(1 << count) - 1 for count in row] for row in bits], np.uint64)


def _without_collision(words: UInt64) -> tuple[np.uint64, UInt64]:
    """A salt that gives every name a slot of its own, found by trying, and these slots."""
    candidate = 1
    while True:
        candidate = candidate * 0xD1342543DE82EF95 + 1442695040888963407 & (1 << 64) - 1
        salt = np.uint64(candidate | 1)
        slots: UInt64 = ((words[:, 0] ^ words[:, 1] * SECOND ^ words[:, 2] * THIRD) * salt) >> SHIFT
        if len(np.unique(slots)) == len(slots):
            return salt, slots


KEYS: Final = make_keys()


@inlined
def find_key(words: UInt64, start: int, length: int, names: UInt64, meanings: Int64, masks: UInt64, salt: np.uint64) -> int:
    """What a name means; 0 when it is not known."""
    if length > LONGEST:
        return 0
    first = words[start] & masks[0, length]
    second = words[start + 8] & masks[1, length]
    third = words[start + 16] & masks[2, length]
    slot = ((first ^ second * SECOND ^ third * THIRD) * salt) >> SHIFT
    if names[slot, 0] != first or names[slot, 1] != second or names[slot, 2] != third:
        return 0
    meaning: int = meanings[slot]
    return meaning
