"""Exact sliding windows: a ring in arrival order and the same samples sorted, per series x metric.

`Windows.roll` walks samples in order and returns, for each, the statistics of its window *just before* it, then learns it. All
statistics are exact on the window: order statistics equal numpy's, mean and deviation are updated per sample against an anchor near
the bulk and recomputed from scratch whenever the ring wraps or an update has cancelled too many digits, so neither a level of 1e9 nor
a passing spike of 1e12 leaves an error behind. The result does not depend on how the stream was cut into batches.

Cost: O(log W) compares and one memory move of at most W values per sample; 16 bytes x W per window once it has samples.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from sentinel.core.batch import Float64, Int32, Int64
from sentinel.core.jit import kernel, move

Column = TypeVar("Column", Float64, Int32)

COLLAPSE = 1e-6
"""A sum of squares that shrinks below this share of itself in one step has lost more digits than it should: recompute."""

INITIAL_ROWS = 64


@dataclass(frozen=True, slots=True)
class Stats:
    """What each sample was judged against: columns over n samples, NaN where the window was empty.

    Attributes:
        n: int64[n] samples in the window before this one; 0 also where the sample is absent.
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

    def take(self, index: Int64) -> "Stats":
        """The statistics of the chosen samples."""
        columns = (self.mean, self.sd, self.median, self.q1, self.q3, self.mad)
        return Stats(self.n[index], *(column[index] for column in columns))


@kernel
def lower_bound(ordered: Float64, base: int, n: int, value: float) -> int:
    """Position of the first of n sorted values from `base` on that is not below `value`; branch-free."""
    if n == 0:
        return base
    low = base
    while n > 1:
        half = n >> 1
        if ordered[low + half - 1] < value:
            low += half
        n -= half
    if ordered[low] < value:
        low += 1
    return low


@kernel
def quantile(ordered: Float64, base: int, n: int, share: float) -> float:
    """The quantile of n sorted values by linear interpolation, rounded as numpy rounds it."""
    position = (n - 1) * share
    below = int(position)
    low: float = ordered[base + below]
    if below + 1 >= n:
        return low
    high: float = ordered[base + below + 1]
    weight = position - below
    if weight >= 0.5:
        return high - (high - low) * (1.0 - weight)
    return low + (high - low) * weight


@kernel
def middle(ordered: Float64, base: int, n: int) -> float:
    """The median of n sorted values."""
    upper: float = ordered[base + (n >> 1)]
    if n & 1:
        return upper
    lower: float = ordered[base + (n >> 1) - 1]
    return (lower + upper) * 0.5


@kernel
def deviation(ordered: Float64, base: int, n: int, centre: float) -> float:
    """The median absolute deviation of n sorted values from `centre`, without computing the deviations.

    Left of the centre deviations rise to the left, right of it to the right: two sorted runs. A binary search finds how many of the
    smaller half come from the left run.
    """
    left = lower_bound(ordered, base, n, centre) - base
    right = n - left
    take = (n + 1) >> 1
    low = max(0, take - right)
    high = min(take, left)
    while low < high:
        i = (low + high) >> 1
        if centre - ordered[base + left - 1 - i] < ordered[base + left + take - i - 1] - centre:
            low = i + 1
        else:
            high = i
    lower = 0.0
    if low > 0:
        lower = centre - ordered[base + left - low]
    if take - low > 0:
        lower = max(lower, ordered[base + left + take - low - 1] - centre)
    if n & 1:
        return lower
    upper = np.inf
    if low < left:
        upper = centre - ordered[base + left - 1 - low]
    if take - low < right:
        upper = min(upper, ordered[base + left + take - low] - centre)
    return (lower + upper) * 0.5


@kernel
def recompute(ring: Float64, ordered: Float64, base: int, n: int, row: int, anchor: Float64, mean: Float64, m2: Float64) -> None:
    """Mean and sum of squares from scratch, around the median."""
    origin = ordered[base + (n >> 1)]
    total = 0.0
    for i in range(n):
        total += ring[base + i] - origin
    offset = total / n
    squares = 0.0
    for i in range(n):
        distance = (ring[base + i] - origin) - offset
        squares += distance * distance
    anchor[row] = origin
    mean[row] = offset
    m2[row] = squares


@kernel
def append(
    value: float,
    row: int,
    size: int,
    ring: Float64,
    ordered: Float64,
    count: Int32,
    anchor: Float64,
    mean: Float64,
    m2: Float64,
) -> None:
    """Learn a sample in a window that still grows."""
    n = count[row]
    base = row * size
    if n == 0:
        anchor[row] = value
        mean[row] = 0.0
        m2[row] = 0.0
    spot = lower_bound(ordered, base, n, value)
    move(ordered, spot + 1, spot, base + n - spot)
    ordered[spot] = value
    ring[base + n] = value
    distance = value - anchor[row]
    before = distance - mean[row]
    mean[row] += before / (n + 1)
    m2[row] += before * (distance - mean[row])
    count[row] = n + 1
    if n + 1 == size:
        recompute(ring, ordered, base, size, row, anchor, mean, m2)


@kernel
def replace(
    value: float,
    row: int,
    size: int,
    ring: Float64,
    ordered: Float64,
    head: Int32,
    anchor: Float64,
    mean: Float64,
    m2: Float64,
) -> None:
    """Learn a sample in a full window: the oldest leaves."""
    base = row * size
    slot = base + head[row]
    oldest = ring[slot]
    ring[slot] = value
    gone = lower_bound(ordered, base, size, oldest)
    spot = lower_bound(ordered, base, size, value)
    if gone < spot:
        move(ordered, gone, gone + 1, spot - gone - 1)
        ordered[spot - 1] = value
    else:
        move(ordered, spot + 1, spot, gone - spot)
        ordered[spot] = value
    came = value - anchor[row]
    went = oldest - anchor[row]
    step = came - went
    shifted = mean[row] + step / size
    squares = m2[row] + step * ((came - shifted) + (went - mean[row]))
    lost = squares < COLLAPSE * m2[row]
    mean[row] = shifted
    m2[row] = squares
    head[row] += 1
    if head[row] == size:
        head[row] = 0
        lost = True
    if lost:
        recompute(ring, ordered, base, size, row, anchor, mean, m2)


@kernel
def roll(
    values: Float64,
    rows: Int32,
    size: int,
    ring: Float64,
    ordered: Float64,
    count: Int32,
    head: Int32,
    anchor: Float64,
    mean: Float64,
    m2: Float64,
    ranks: bool,
    out: Float64,
) -> None:
    """For each sample in order: its window's statistics before it into `out` (float64[7, n]), then learn it. NaN samples are absent."""
    for i in range(values.shape[0]):
        value = values[i]
        row = rows[i]
        n = count[row]
        if np.isnan(value) or n == 0:
            out[0, i] = 0.0
            out[1:, i] = np.nan
            if not np.isnan(value):
                append(value, row, size, ring, ordered, count, anchor, mean, m2)
            continue
        base = row * size
        out[0, i] = n
        out[1, i] = anchor[row] + mean[row]
        out[2, i] = np.sqrt(max(m2[row], 0.0) / (n - 1)) if n > 1 else 0.0
        if ranks:
            median = middle(ordered, base, n)
            out[3, i] = median
            out[4, i] = quantile(ordered, base, n, 0.25)
            out[5, i] = quantile(ordered, base, n, 0.75)
            out[6, i] = deviation(ordered, base, n, median)
        if n < size:
            append(value, row, size, ring, ordered, count, anchor, mean, m2)
        else:
            replace(value, row, size, ring, ordered, head, anchor, mean, m2)


class Windows:
    """The windows of one metric, one row a series.

    Args:
        size: samples in a window.
    """

    __slots__ = ("_anchor", "_count", "_head", "_m2", "_mean", "_ordered", "_ring", "rows", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.rows = 0
        self._ring = np.zeros(0)
        self._ordered = np.zeros(0)
        self._count = np.zeros(0, np.int32)
        self._head = np.zeros(0, np.int32)
        self._anchor = np.zeros(0)
        self._mean = np.zeros(0)
        self._m2 = np.zeros(0)

    def reserve(self, rows: int) -> None:
        """Make room for at least `rows` windows. Doubling, so that growth is cheap; untouched memory is not resident."""
        if rows <= self.rows:
            return
        target = max(INITIAL_ROWS, self.rows * 2, rows)
        self._ring = _grown(self._ring, target * self.size)
        self._ordered = _grown(self._ordered, target * self.size)
        self._count = _grown(self._count, target)
        self._head = _grown(self._head, target)
        self._anchor = _grown(self._anchor, target)
        self._mean = _grown(self._mean, target)
        self._m2 = _grown(self._m2, target)
        self.rows = target

    def roll(self, values: Float64, rows: Int32, *, ranks: bool = True) -> Stats:
        """The statistics before each sample; every sample is learned afterwards.

        Args:
            values: float64[n], NaN = absent; in arrival order within a row.
            rows: int32[n], the window of each, all reserved.
            ranks: compute median, quartiles and MAD too; without them these columns are undefined.
        """
        out = np.empty((7, len(values)))
        roll(
            values,
            rows,
            self.size,
            self._ring,
            self._ordered,
            self._count,
            self._head,
            self._anchor,
            self._mean,
            self._m2,
            ranks,
            out,
        )
        return Stats(out[0].astype(np.int64), *out[1:])

    def count(self, row: int) -> int:
        """Samples in a window."""
        return int(self._count[row])

    def sorted_samples(self, row: int) -> Float64:
        """A copy of a window's samples in rising order."""
        base = row * self.size
        return self._ordered[base : base + self.count(row)].copy()

    def moments(self, row: int) -> tuple[float, float]:
        """Mean and standard deviation of a window; NaN and NaN when it is empty."""
        n = self.count(row)
        if n == 0:
            return np.nan, np.nan
        sd = float(np.sqrt(max(self._m2[row], 0.0) / (n - 1))) if n > 1 else 0.0
        return float(self._anchor[row] + self._mean[row]), sd

    def export(self, row: int) -> tuple[Float64, tuple[int, float, float, float]]:
        """What a checkpoint keeps of a window: the ring as it lies in memory, and (head, anchor, mean, m2)."""
        base = row * self.size
        state = (int(self._head[row]), float(self._anchor[row]), float(self._mean[row]), float(self._m2[row]))
        return self._ring[base : base + self.count(row)].copy(), state

    def load(self, row: int, ring: Float64, state: tuple[int, float, float, float]) -> None:
        """Put back what `export` gave; the sorted view is rebuilt."""
        base = row * self.size
        n = len(ring)
        self._ring[base : base + n] = ring
        self._ordered[base : base + n] = np.sort(ring)
        self._count[row] = n
        self._head[row], self._anchor[row], self._mean[row], self._m2[row] = state


def _grown(column: Column, length: int) -> Column:
    grown = np.zeros(length, column.dtype)
    grown[: len(column)] = column
    return grown
