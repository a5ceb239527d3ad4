"""Sketches of embeddings: the little that is kept of a vector that must not be kept, because texts can be made of it again.

A sketch says how many dimensions the vector had, so that those of two models are never compared, and where it points to on a few axes
(`sentinel.ingestion.sketch`). Whole numbers, so that sums of them do not depend on the order of events. Sketches are never stored.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

AXES: Final = 16
"""Distances come out right to a third: enough for means of many events, and too little to tell what a single text said."""

UNIT: Final = 16_000.0
"""Parts of a vector's length that sketches are counted in."""

PROMPT, RESPONSE = 0, 1
KINDS: Final = 2
SKETCH_FIELDS: Final = ("prompt_sketch", "response_sketch")
"""By kind, where records of our own carry them as text."""

Sketches = npt.NDArray[np.int16]
"""int16[n, KINDS, 1 + AXES]: of each event's prompt and response the vector's number of dimensions, 0 = not given, and its sketch."""


def joined(parts: Sequence[tuple[int, Sketches | None]]) -> Sketches | None:
    """The sketches of several runs of events, each with its length, one after the other; None when none has any.

    >>> joined([(2, None), (3, None)]) is None
    True
    >>> joined([(2, None), (1, np.ones((1, KINDS, 1 + AXES), np.int16))])[:, 0, 0].tolist()
    [0, 0, 1]
    """
    if all(sketches is None for _, sketches in parts):
        return None
    return np.concatenate([np.zeros((n, KINDS, 1 + AXES), np.int16) if sketches is None else sketches for n, sketches in parts])
