"""Reading checkpoints of version 1: windows by series, then by metric, and no tables.

Their payload is, for each series and metric in header order: uint32 n, uint32 head, float64 anchor, mean, m2, up, down, then n float64
samples as they lie in the ring. Nobody writes this any more.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sentinel.core.batch import OVERFLOW, Float64, SeriesKey
from sentinel.core.errors import SnapshotError
from sentinel.detection.roster_order import ACTIVE, APART, PROBATION
from sentinel.detection.windows import KEPT
from sentinel.detection.windows_pool import Records


def windows(payload: memoryview, metrics: Sequence[str], rows: int, size: int) -> tuple[dict[str, tuple[Records, Float64]], int]:
    """The windows by name of the metric, and where the payload ends. Raises SnapshotError when it ends too early."""
    records = {name: np.zeros(rows, KEPT) for name in metrics}
    samples: dict[str, list[Float64]] = {name: [] for name in metrics}
    at = 0
    for row in range(rows):
        for name in metrics:
            if at + KEPT.itemsize > len(payload):
                raise SnapshotError("the checkpoint ends in the middle of a window")
            window = np.frombuffer(payload, KEPT, 1, at)
            check(window, size)
            at += KEPT.itemsize
            n = int(window["n"][0])
            if at + 8 * n > len(payload):
                raise SnapshotError("the checkpoint ends in the middle of a window")
            records[name][row] = window[0]
            samples[name].append(np.frombuffer(payload, "<f8", n, at))
            at += 8 * n
    return {name: (records[name], np.concatenate((*samples[name], np.empty(0)))) for name in metrics}, at


def check(records: Records, size: int) -> None:
    """Raise SnapshotError where a window is larger than windows are."""
    if np.any((records["n"] < 0) | (records["n"] > size) | (records["head"] < 0) | (records["head"] >= size)):
        raise SnapshotError("the checkpoint holds a window larger than it says")


def roster(names: Sequence[SeriesKey], records: Sequence[Records], proven: int) -> dict[str, npt.NDArray[Any]]:
    """The tables of a roster of which nothing is known but how many samples its series have: all were seen in order of their rows."""
    events = np.max([np.zeros(len(names), np.int32), *(of_metric["n"] for of_metric in records)], axis=0).astype(np.int32)
    standing = np.where(events >= proven, ACTIVE, PROBATION).astype(np.int8)
    standing[[row for row, name in enumerate(names) if name == OVERFLOW]] = APART
    nothing = np.empty(0, np.int64)
    order = np.flatnonzero(standing != APART).astype(np.int32)
    return {
        "order": order,
        "standing": standing,
        "events": events,
        "strangers": nothing,
        "shown": nothing,
        "counters": np.zeros(2, np.int64),
    }
