"""Embeddings to sketches, as soon as they are read: vectors can be made texts again, so nothing else may ever see one.

The vector, made as long as 1, is projected on a few axes, each of which adds all its dimensions with random signs. Lengths and angles
survive that roughly (D. Achlioptas, Database-friendly random projections, JCSS 66, 2003), texts do not. The signs are a hash of axis and
dimension, so every machine makes the same sketch of a vector.
"""

from array import array
from base64 import b64decode, b64encode
from typing import Annotated, Final

import msgspec
import numpy as np
import numpy.typing as npt

from sentinel.core.batch import Float64
from sentinel.core.jit import leaf
from sentinel.core.sketches import AXES, UNIT
from sentinel.ingestion.unusable import UNREADABLE

LEAST_DIMENSIONS, MOST_DIMENSIONS = 2, 4_096

MOST_BYTES: Final = 32 * MOST_DIMENSIONS
"""Of a vector as JSON; no number needs more, and a longer one is not even read."""

LONGEST: Final = 2.0
"""Length of a sketch. Those of real vectors are about 1; one that was made to be longer must not weigh more."""

UNUSABLE: Final = ""
"""The sketch of what is no embedding."""

_Vector = Annotated[list[float], msgspec.Meta(min_length=LEAST_DIMENSIONS, max_length=MOST_DIMENSIONS)]
_read = msgspec.json.Decoder(_Vector | None).decode
_BYTES: Final = 2 * (1 + AXES)
_FARTHEST: Final = (LONGEST * UNIT + AXES) ** 2


def _signs() -> npt.NDArray[np.int8]:
    """int8[MOST_DIMENSIONS, AXES], 1 and -1: bits of a counter as G. Steele's splitmix64 mixes them."""
    bits = np.arange(1, MOST_DIMENSIONS + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    bits ^= bits >> np.uint64(31)
    return (2 * ((bits[:, None] >> np.arange(AXES, dtype=np.uint64)) & np.uint64(1)).astype(np.int8) - 1).astype(np.int8)


SIGNS: Final = _signs()


def sketch_of_json(raw: bytes) -> str | None:
    """The sketch of an embedding as a producer wrote it, as text; UNUSABLE when it is none, None when it is absent or null.

    Costs about as much as reading the numbers; what is longer than MOST_BYTES is not read.

    >>> sketch_of_json(b"null") is None, sketch_of_json(b"[1, true]"), sketch_of_json(b"[1]"), sketch_of_json(b"[0, 0]")
    (True, '', '', '')
    """
    if not raw:
        return None
    if len(raw) > MOST_BYTES or raw.count(b",") >= MOST_DIMENSIONS:
        return UNUSABLE
    try:
        vector = _read(raw)
    except UNREADABLE:
        return UNUSABLE
    return None if vector is None else _sketch(vector)


def sketch_of(value: object) -> str:
    """The same of an attribute that has been read already."""
    try:
        return _sketch(msgspec.convert(value, _Vector))
    except UNREADABLE:
        return UNUSABLE


def numbers_of(text: str) -> list[int] | None:
    """The dimensions of the vector and its sketch, AXES numbers; None when the text is no sketch.

    >>> numbers_of(sketch_of([3, 4]))[0], numbers_of("AAAA"), numbers_of("x y")
    (2, None, None)
    """
    try:
        raw = b64decode(text, validate=True)
    except ValueError:
        return None
    if len(raw) != _BYTES:
        return None
    numbers = np.frombuffer(raw, "<i2").tolist()
    usable = LEAST_DIMENSIONS <= numbers[0] <= MOST_DIMENSIONS and sum(number * number for number in numbers[1:]) <= _FARTHEST
    return numbers if usable else None


def text_of(numbers: npt.NDArray[np.int16]) -> str:
    """What `numbers_of` reads: one event's row of one kind."""
    return b64encode(numbers.astype("<i2").tobytes()).decode()


def _sketch(vector: list[float]) -> str:
    sums = np.zeros(AXES)
    if not project(np.frombuffer(array("d", vector)), SIGNS, sums):  # half the time that numpy takes for a list
        return UNUSABLE
    sums /= np.sqrt(AXES)
    length = float(np.sqrt((sums * sums).sum()))
    sums *= UNIT * min(1.0, LONGEST / max(length, 1.0))
    return text_of(np.array([len(vector), *np.rint(sums)], np.int16))


@leaf
def project(vector: Float64, signs: npt.NDArray[np.int8], sums: Float64) -> bool:
    """Add the vector's dimensions, of length 1 together, to `sums` with the signs of each axis; false when it has no direction."""
    largest = 0.0
    for at in range(len(vector)):
        if not np.isfinite(vector[at]):
            return False
        largest = max(largest, abs(vector[at]))
    if largest == 0.0:
        return False
    squares = 0.0
    for at in range(len(vector)):
        squares += (vector[at] / largest) ** 2
    length = np.sqrt(squares)
    for at in range(len(vector)):
        value = vector[at] / largest / length
        for axis in range(len(sums)):
            sums[axis] += value * signs[at, axis]
    return True
