"""Markers: what was changed on purpose, and which series that may have touched."""

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from sentinel.core.batch import SeriesKey
from sentinel.core.command import Marker

MOST_MARKERS: Final = 256
"""Markers remembered; the oldest are forgotten."""
LONGEST_ID: Final = 128
LONGEST_TEXT: Final = 200


class Markers:
    """The latest markers of a partition.

    Args:
        reach_ns: how long before the start of an anomaly a marker may explain it, and how long bands are wider after it.
    """

    __slots__ = ("_kept", "_reach_ns")

    def __init__(self, reach_ns: int) -> None:
        self._reach_ns = reach_ns
        self._kept: deque[Marker] = deque(maxlen=MOST_MARKERS)

    def add(self, marker: Marker) -> None:
        """Remember a marker; the same id again replaces it."""
        short = msgspec.structs.replace(marker, id=marker.id[:LONGEST_ID], text=marker.text[:LONGEST_TEXT])
        others = [one for one in self._kept if one.id != short.id]
        self._kept = deque([*others, short], maxlen=MOST_MARKERS)

    def latest_ns(self, series: SeriesKey) -> int:
        """When something was last changed that may touch a series; 0 for never."""
        return max((marker.ts_ns for marker in self._kept if marker.which.covers(series)), default=0)

    def explaining(self, series: SeriesKey, since_ns: int, ts_ns: int) -> Sequence[str]:
        """Ids of the markers that may explain an anomaly of a series, the newest first."""
        earliest = since_ns - self._reach_ns
        near = [one for one in self._kept if earliest <= one.ts_ns <= ts_ns and one.which.covers(series)]
        return [one.id for one in sorted(near, key=lambda one: (-one.ts_ns, one.id))]

    def tables(self) -> dict[str, npt.NDArray[Any]]:
        """What a checkpoint keeps."""
        return {"markers": np.frombuffer(msgspec.json.encode(list(self._kept)), np.uint8)}

    def load(self, tables: dict[str, npt.NDArray[Any]]) -> None:
        """Become what `tables` was taken of. Raises KeyError or msgspec.MsgspecError when they do not fit."""
        self._kept = deque(msgspec.json.decode(tables["markers"].tobytes(), type=list[Marker]), maxlen=MOST_MARKERS)
