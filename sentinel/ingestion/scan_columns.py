"""What can be done with columns of slices of scanned records without an object per value: number them, gather them, write them as JSON.

All functions take `Scanned.text` and some rows of `Scanned.start` and `Scanned.end`: int32[k, n], start -1 = absent.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from sentinel.core.batch import Bool, Int32, Int64
from sentinel.core.buffers import ABSENT, ALL_BITS, UInt8, UInt64, as_words, copy, make_buffer
from sentinel.core.jit import leaf
from sentinel.ingestion.scan_bytes import PADDING

MAX_PROBES: Final = 8
"""Slots looked at per event, on average, before `group` leaves the work to a dict."""

FACTOR: Final = np.uint64(0x9FB21C651E98DF25)
SEED: Final = np.uint64(0x9E3779B97F4A7C15)
MISSING: Final = np.uint64(0xD6E8FEB86659FD93)
HALF: Final = np.uint64(32)
QUOTE: Final = 34
COMMA: Final = 44
SPACE: Final = 32


# --------------------------------------------------------------------------------------------------------------------------- group


class Groups(NamedTuple):
    """Distinct tuples, numbered in order of first appearance.

    Attributes:
        codes: int32[n], the tuple of each event; -1 where it was not asked for.
        first: int32[g], the first event with each tuple.
    """

    codes: Int32
    first: Int32


def group(text: bytes, start: Int32, end: Int32, use: Bool) -> Groups:
    """Number the distinct tuples of k string fields over the events in `use` (bool[n]); absent differs from empty. Exact.

    The hash has no secret, so a producer could choose values that meet in few slots. Chains are therefore followed no further than
    MAX_PROBES slots an event on average, and not at all behind two different tuples of one hash; after that a dict with the
    interpreter's keyed hash does the same, at some forty times the cost. The time is linear in events and bytes either way.
    """
    n = start.shape[1]
    codes, first, hashes = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.uint64)
    slots = np.full(1 << (2 * n + 1).bit_length(), ABSENT, np.int32)
    with np.errstate(over="ignore"):  # only plain Python minds that words overflow
        count = number_tuples(as_words(text), start, end, use, codes, first, hashes, slots)
    return Groups(codes, first[:count].copy()) if count >= 0 else group_by_dict(text, start, end, use)


def group_by_dict(text: bytes, start: Int32, end: Int32, use: Bool) -> Groups:
    """The same as `group`, whatever the values are."""
    numbers: dict[tuple[bytes | None, ...], int] = {}
    codes = np.full(start.shape[1], ABSENT, np.int32)
    first: list[int] = []
    for event in np.flatnonzero(use).tolist():
        spans = zip(start[:, event].tolist(), end[:, event].tolist(), strict=True)
        values = tuple(text[low:high] if low >= 0 else None for low, high in spans)
        codes[event] = numbers.setdefault(values, len(numbers))
        if codes[event] == len(first):
            first.append(event)
    return Groups(codes, np.array(first, np.int32))


@leaf
def number_tuples(words: UInt64, start: Int32, end: Int32, use: Bool, codes: Int32, first: Int32, hashes: UInt64, slots: Int32) -> int:
    """The number of distinct tuples, in an open-addressed table; -1 when it gave up. `hashes`: one for each tuple found."""
    count = 0
    mask = np.uint64(len(slots) - 1)
    probes = MAX_PROBES * len(codes)
    for event in range(len(codes)):
        codes[event] = ABSENT
        if not use[event]:
            continue
        code = hash_tuple(words, start, end, event)
        slot = code & mask
        while slots[slot] >= 0 and hashes[slots[slot]] != code:
            slot = (slot + np.uint64(1)) & mask
            probes -= 1
            if probes < 0:
                return -1
        if slots[slot] < 0:
            slots[slot] = count
            hashes[count] = code
            first[count] = event
            count += 1
        elif not same(words, start, end, event, first[slots[slot]]):
            return -1
        codes[event] = slots[slot]
    return count


@leaf
def bytes_at(words: UInt64, position: int, end: int) -> np.uint64:
    """Up to eight bytes from a position on, zeros after the end."""
    word: np.uint64 = words[position]
    if end - position < 8:
        word &= ALL_BITS >> np.uint64(64 - 8 * (end - position))
    return word


@leaf
def hash_tuple(words: UInt64, start: Int32, end: Int32, event: int) -> np.uint64:
    """64 bits of the values and their lengths."""
    code = SEED
    for field in range(len(start)):
        position: int = start[field, event]
        stop: int = end[field, event]
        code = (code ^ (MISSING if position < 0 else np.uint64(stop - position))) * FACTOR
        while position < stop:
            code = (code ^ (code >> HALF) ^ bytes_at(words, position, stop)) * FACTOR
            position += 8
    return code ^ (code >> HALF)


@leaf
def same(words: UInt64, start: Int32, end: Int32, one: int, other: int) -> bool:
    """Whether two events have the same values."""
    for field in range(len(start)):
        here: int = start[field, one]
        there: int = start[field, other]
        stop: int = end[field, one]
        if (here < 0) != (there < 0) or stop - here != end[field, other] - there:
            return False
        while here < stop:
            if bytes_at(words, here, stop) != bytes_at(words, there, there + (stop - here)):
                return False
            here += 8
            there += 8
    return True


# -------------------------------------------------------------------------------------------------------------------------- gather


class Gathered(NamedTuple):
    """Values of blocks of events, one space between two of a block.

    Attributes:
        text: uint8[...]; it can be searched as it is.
        bounds: int64[blocks + 1], where each block begins and ends.
        longest: bytes of the longest value, 0 when there is none.
    """

    text: UInt8
    bounds: Int64
    longest: int


def gather(text: bytes, start: Int32, end: Int32, use: Bool, block: int) -> Gathered:
    """The present values of k fields of the events in `use`, `block` >= 1 events after another together, field after field."""
    sizes = np.where((start >= 0) & use, end - start, ABSENT)
    bounds = np.zeros(-(-len(use) // block) + 1, np.int64)
    out, out_words = make_buffer(int(sizes.sum()) + 2 * sizes.size)
    join_blocks(as_words(text), start, sizes, block, out, out_words, bounds)
    return Gathered(out[: bounds[-1]], bounds, max(0, int(sizes.max(initial=0))))


@leaf
def join_blocks(words: UInt64, start: Int32, sizes: Int32, block: int, out: UInt8, out_words: UInt64, bounds: Int64) -> None:
    """Write all blocks one after the other. A size of -1 leaves a value out."""
    at = 0
    n = start.shape[1]
    for number in range(len(bounds) - 1):
        for field in range(len(start)):
            for event in range(number * block, min(n, (number + 1) * block)):
                if sizes[field, event] >= 0:
                    if at > bounds[number]:
                        out[at] = SPACE
                        at += 1
                    at = copy(words, start[field, event], sizes[field, event], out_words, at)
        bounds[number + 1] = at


# ------------------------------------------------------------------------------------------------------------------------- objects


class Strings(NamedTuple):
    """Some byte strings in one: the i-th lies between bounds[i] and bounds[i + 1] (int64[m + 1]) of `text`."""

    text: bytes
    bounds: Int64


class Objects(NamedTuple):
    """JSON objects in one: the i-th lies between bounds[i] and bounds[i + 1] (int64[n + 1]) of `text` (uint8)."""

    text: UInt8
    bounds: Int64


def strings(values: Sequence[bytes]) -> Strings:
    """Byte strings as `objects` takes them."""
    bounds = np.zeros(len(values) + 1, np.int64)
    np.cumsum([len(value) for value in values], out=bounds[1:])
    return Strings(b"".join([*values, bytes(PADDING)]), bounds)


def objects(text: bytes, start: Int32, end: Int32, keys: Strings, names: Strings, codes: Int32) -> Objects:
    """The JSON object of each event's present strings; nothing for an event without any.

    The values must be such that they can be copied into JSON as they are, like all slices of a plain record.

    Args:
        text: what the slices point into.
        start: int32[k, n], see there.
        end: int32[k, n], see there.
        keys: 1 + k names of fields as they stand in JSON, with quotes and colon.
        names: values of the first field.
        codes: int32[n], which of `names` an event has, -1 = none.
    """
    key_sizes = np.diff(keys.bounds)
    written = np.where(start >= 0, end - start + key_sizes[1:, np.newaxis], 0).sum()
    longest_name = key_sizes[0] + np.diff(names.bounds).max(initial=0)
    out, out_words = make_buffer(int(written + len(codes) * (longest_name + 3 * len(key_sizes) + 1)))
    bounds = np.zeros(len(codes) + 1, np.int64)
    tables = as_words(keys.text), keys.bounds, as_words(names.text), names.bounds
    write_objects(as_words(text), start, end, *tables, codes, out, out_words, bounds)
    return Objects(out[: bounds[-1]], bounds)


@leaf
def write_objects(
    words: UInt64,
    start: Int32,
    end: Int32,
    keys: UInt64,
    key_bounds: Int64,
    names: UInt64,
    name_bounds: Int64,
    codes: Int32,
    out: UInt8,
    out_words: UInt64,
    bounds: Int64,
) -> None:
    """Write all objects one after the other."""
    at = 0
    for event in range(len(codes)):
        first = at
        code = codes[event]
        if code >= 0:
            at = copy(keys, key_bounds[0], key_bounds[1] - key_bounds[0], out_words, at + 1)
            at = write_value(names, name_bounds[code], name_bounds[code + 1], out, out_words, at)
        for field in range(len(start)):
            if start[field, event] >= 0:
                key = key_bounds[field + 1]
                out[at] = COMMA
                at = copy(keys, key, key_bounds[field + 2] - key, out_words, at + 1)
                at = write_value(words, start[field, event], end[field, event], out, out_words, at)
        if at > first:
            out[first] = 123
            out[at] = 125
            at += 1
        bounds[event + 1] = at


@leaf
def write_value(words: UInt64, start: int, end: int, out: UInt8, out_words: UInt64, at: int) -> int:
    """Write a value in quotes; returns the position after them."""
    out[at] = QUOTE
    at = copy(words, start, end - start, out_words, at + 1)
    out[at] = QUOTE
    return at + 1
