"""CUSUM: two-sided cumulative sum of standardised deviations, for drifts too small for any single value to stand out.

Each sample is standardised with its window's mean and deviation before it; what exceeds the drift allowance adds up, what falls short
wears off. A sum beyond the threshold fires and starts again from zero. The window follows the stream, so a drift slower than the
window is learned before it adds up.

Source: E. S. Page, Continuous Inspection Schemes, Biometrika 41, 1954.
"""

from typing import NamedTuple

import numpy as np

from sentinel.core.batch import Float64, Int32, Int64
from sentinel.core.jit import kernel
from sentinel.detection.windows import Stats


@kernel
def accumulate(
    values: Float64,
    rows: Int32,
    n: Int64,
    mean: Float64,
    sd: Float64,
    min_samples: int,
    threshold: float,
    drift: float,
    resolution: float,
    up: Float64,
    down: Float64,
    out: Float64,
) -> None:
    """Walk samples in order: the larger sum over the threshold into `out`; sums that fired start again."""
    for i in range(values.shape[0]):
        if n[i] < min_samples:
            out[i] = np.nan
            continue
        row = rows[i]
        z = (values[i] - mean[i]) / max(sd[i], resolution)
        rising = max(0.0, up[row] + z - drift)
        falling = max(0.0, down[row] - z - drift)
        out[i] = max(rising, falling) / threshold
        up[row] = 0.0 if rising > threshold else rising
        down[row] = 0.0 if falling > threshold else falling


class Parameters(NamedTuple):
    """How a sum is built and when it fires.

    Windows with fewer than `min_samples` are not judged and add nothing; `threshold` and `drift` are in standard deviations; the
    deviation is taken to be at least `resolution`, in the metric's unit.
    """

    min_samples: int
    threshold: float
    drift: float
    resolution: float


class Cusum:
    """The two sums of every series for one metric.

    >>> sums = Cusum()
    >>> sums.reserve(1)
    >>> n, level = np.full(4, 20), np.full(4, 100.0)
    >>> stats = Stats(n, level, np.full(4, 10.0), *[level] * 4)
    >>> shifted = np.full(4, 125.0)
    >>> parameters = Parameters(min_samples=10, threshold=5.0, drift=0.5, resolution=1.0)
    >>> sums.score(parameters, shifted, np.zeros(4, np.int32), stats)
    array([0.4, 0.8, 1.2, 0.4])
    """

    __slots__ = ("down", "up")

    def __init__(self) -> None:
        self.up = np.zeros(0)
        self.down = np.zeros(0)

    def reserve(self, rows: int) -> None:
        """Make room for at least `rows` series."""
        missing = rows - len(self.up)
        if missing > 0:
            self.up = np.concatenate((self.up, np.zeros(missing)))
            self.down = np.concatenate((self.down, np.zeros(missing)))

    def score(self, parameters: Parameters, values: Float64, rows: Int32, stats: Stats) -> Float64:
        """The larger of both sums over the threshold, for samples in arrival order within a row; updates the sums.

        Args:
            parameters: how the sums are built.
            values: float64[n].
            rows: int32[n], the series of each.
            stats: their windows before them; absent samples have n = 0.

        Returns:
            float64[n], NaN where not judged.
        """
        out = np.empty(len(values))
        accumulate(values, rows, stats.n, stats.mean, stats.sd, *parameters, self.up, self.down, out)
        return out


def band(stats: Stats) -> tuple[Float64, Float64, Float64]:
    """What was expected: the mean; a cumulative sum has no band for a single value (NaN)."""
    none = np.full(len(stats.mean), np.nan)
    return stats.mean, none, none
