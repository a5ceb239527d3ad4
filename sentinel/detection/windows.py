"""Exact sliding windows: a ring in arrival order and the same samples sorted, per series x metric.

All statistics are exact on the window: order statistics equal numpy's, mean and deviation keep 1e-9 of the spread (`windows_learn`). The
result does not depend on how the stream was cut into batches. Memory follows the samples (`windows_pool`): 64 bytes for a window without
any, 320 from the first on, 16,064 for a full one of 1,000.
"""

import ctypes
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from sentinel.core.batch import Float64, Int8, Int32, Int64
from sentinel.core.memory import VALUE_BYTES
from sentinel.detection.windows_learn import WINDOW
from sentinel.detection.windows_pool import Pool, Records
from sentinel.detection.windows_watch import FIRED, FIRST_COUNT, JUDGES, LEARNED, TIER, Limits, watch

INITIAL_ROWS: Final = 64

KEPT = np.dtype([("n", "<i4"), ("head", "<i4"), ("anchor", "<f8"), ("mean", "<f8"), ("m2", "<f8"), ("up", "<f8"), ("down", "<f8")])
"""What a checkpoint keeps of a window besides its samples."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What samples were judged against: columns over n samples, NaN what no detector that watches needs.

    Attributes:
        n: int64[n] samples in the window before this one.
        mean, sd: sd with n - 1 in the denominator; 0 for a single sample.
        median, q1, q3: linear interpolation, as numpy.
        mad: median absolute deviation from the median, unscaled.
    """

    n: Int64
    mean: Float64
    sd: Float64
    median: Float64
    q1: Float64
    q3: Float64
    mad: Float64


class Arrivals(NamedTuple):
    """The samples of one batch in the order they are worked on.

    Attributes:
        metrics: float64[n, m], NaN = absent, in log order.
        order: int64[n], the events sorted by row, in log order within one.
        rows: int32[n], the row of each in that order.
        marks: int8[n], what each event says about its row's past (FORGET_OLD, FORGET_ALL, or 0), in log order.
    """

    metrics: Float64
    order: Int64
    rows: Int32
    marks: Int8

    @classmethod
    def of(cls, metrics: Float64, rows: Int32, marks: Int8) -> "Arrivals":
        """The samples of events whose rows are given in log order."""
        # A stable radix sort on 16 bits keeps log order within a row, which is all the windows ask for.
        order = np.argsort(rows.astype(np.int16) if rows.max(initial=0) < 32_768 else rows, kind="stable")
        return cls(np.ascontiguousarray(metrics), order, rows[order], marks)


class Windows:
    """The windows of one metric, one row a series.

    Args:
        size: samples in a full window.

    Attributes:
        rows: reserved ones.
        address: of the first window's record.
    """

    __slots__ = ("_pool", "_state", "address", "rows", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.rows = 0
        self._pool = Pool(size)
        self._state: Records = np.zeros(0, WINDOW)
        self.address = 0

    def reserve(self, rows: int) -> None:
        """Make room for at least `rows` windows; only their records are copied, their samples stay where they are."""
        if rows <= self.rows:
            return
        grown = _aligned(max(INITIAL_ROWS, self.rows * 2, rows))
        grown[: self.rows] = self._state
        self._state, self.rows, self.address = grown, len(grown), grown.ctypes.data

    def watch(self, arrivals: Arrivals, metric: int, limits: Limits, fired: Records) -> tuple[int, list[int]]:
        """Judge every sample against its window just before it, then learn it.

        Args:
            arrivals: the batch; all rows are reserved.
            metric: the column that these windows are of.
            limits: by what is judged.
            fired: records [4, n] for what fires, by detector.

        Returns:
            How many samples were learned, and how many each detector fired on.
        """
        progress = np.zeros(FIRST_COUNT + JUDGES, np.int64)
        where = self._state, self.address, self._pool.tiers
        grown = False
        while not watch(arrivals.metrics, metric, arrivals.order, arrivals.rows, arrivals.marks, *where, limits, fired, progress):
            self._pool.extend(int(progress[TIER]))
            grown = True
        if grown:
            self._pool.squeeze(self._state)
        return int(progress[LEARNED]), progress[FIRST_COUNT:].tolist()

    def forget(self, rows: Int32, what: int) -> None:
        """Obey FORGET_OLD or FORGET_ALL in the given windows now rather than with their next sample."""
        n = len(rows)
        absent = Arrivals(np.full((n, 1), np.nan), np.arange(n), rows, np.full(n, what, np.int8))
        self.watch(absent, 0, Limits(self.size, 0, 0.0), np.empty((JUDGES, 0), FIRED))
        self._pool.squeeze(self._state)

    def restart_sums(self) -> None:
        """Let the cumulative sums begin at zero."""
        self._state["up"], self._state["down"] = 0.0, 0.0

    @property
    def held_bytes(self) -> int:
        """Memory of records and samples, what was never written to included."""
        return self._state.nbytes + self._pool.held_bytes

    def count(self, row: int) -> int:
        """Samples in a window."""
        return int(self._state["n"][row])

    def sorted_samples(self, row: int) -> Float64:
        """A copy of a window's samples in rising order."""
        window = self._state[row]
        return _copied(int(window["at"]) + VALUE_BYTES * int(window["capacity"]), int(window["n"]))

    def moments(self, row: int) -> tuple[float, float]:
        """Mean and standard deviation of a window; NaN and NaN when it is empty."""
        window, n = self._state[row], self.count(row)
        if n == 0:
            return np.nan, np.nan
        return float(window["anchor"] + window["mean"]), float(np.sqrt(max(window["m2"], 0.0) / (n - 1))) if n > 1 else 0.0

    def export(self, rows: int) -> tuple[Records, Float64]:
        """What a checkpoint keeps of the first windows: a record each, and their rings as they lie in memory, one after the other."""
        records = np.empty(rows, KEPT)
        for name in KEPT.names or ():
            records[name] = self._state[name][:rows]
        samples = np.empty(int(records["n"].sum(dtype=np.int64)))
        at = samples.ctypes.data
        for origin, n in zip(self._state["at"][:rows].tolist(), records["n"].tolist(), strict=True):
            ctypes.memmove(at, origin, VALUE_BYTES * n)
            at += VALUE_BYTES * n
        return records, samples

    def load(self, records: Records, samples: Float64, first: int = 0) -> None:
        """Put back what `export` gave into windows that are empty, from row `first` on; the sorted views are made anew."""
        self.reserve(first + len(records))
        for name in KEPT.names or ():
            self._state[name][first : first + len(records)] = records[name]
        rows, counts = np.flatnonzero(records["n"]), records["n"][records["n"] > 0].tolist()
        rings, views = np.ascontiguousarray(samples, np.float64), np.array(samples, np.float64)
        ring, view, end = rings.ctypes.data, views.ctypes.data, 0
        blocks = [self._pool.allocated(n) for n in counts]
        for (at, capacity), n in zip(blocks, counts, strict=True):
            begin, end = end, end + n
            views[begin:end].sort()
            ctypes.memmove(at, ring + VALUE_BYTES * begin, VALUE_BYTES * n)
            ctypes.memmove(at + VALUE_BYTES * capacity, view + VALUE_BYTES * begin, VALUE_BYTES * n)
        places = np.array(blocks, np.int64).reshape(-1, 2)
        self._state["at"][first + rows], self._state["capacity"][first + rows] = places[:, 0], places[:, 1]


def _aligned(rows: int) -> Records:
    """Empty records, each in a cache line of its own."""
    raw = np.zeros((rows + 1) * WINDOW.itemsize, np.uint8)
    start = -raw.ctypes.data % WINDOW.itemsize
    return raw[start : start + rows * WINDOW.itemsize].view(WINDOW)


def _copied(address: int, n: int) -> Float64:
    values = np.empty(n)
    ctypes.memmove(values.ctypes.data, address, VALUE_BYTES * n)
    return values
