"""Median absolute deviation: the modified z-score, which half of the window may be outliers without moving.

A window more than half of whose samples are equal has a deviation of zero; the standard deviation takes its place, so that a metric
that is mostly zero is judged by how its other values spread and not flooded by every one of them.

Source: B. Iglewicz and D. C. Hoaglin, How to Detect and Handle Outliers, 1993 (0.6745 makes it comparable with a z-score; 3.5 is theirs).
"""

import numpy as np

from sentinel.core.batch import Float64
from sentinel.detection.windows import Stats

NORMAL_MAD = 0.6745
"""Median absolute deviation of a normal distribution in standard deviations."""


def score(values: Float64, stats: Stats, threshold: float, resolution: float) -> Float64:
    """The modified z-score over its threshold: 1.0 lies exactly at it.

    Args:
        values: float64[n], the samples.
        stats: their windows before them.
        threshold: modified z-score.
        resolution: the smallest deviation that counts, in the metric's unit.

    Returns:
        float64[n], NaN where the window was empty.

    >>> column = np.array
    >>> stats = Stats(column([10]), column([5.0]), column([9.0]), column([5.0]), column([4.0]), column([6.0]), column([0.6745]))
    >>> score(column([12.0]), stats, threshold=3.5, resolution=0.1)
    array([2.])
    """
    return np.abs(values - stats.median) / (_deviation(stats, resolution) * threshold)


def band(stats: Stats, threshold: float, resolution: float) -> tuple[Float64, Float64, Float64]:
    """What was expected: median, lower and upper limit, float64[n] each."""
    reach = _deviation(stats, resolution) * threshold
    return stats.median, stats.median - reach, stats.median + reach


def _deviation(stats: Stats, resolution: float) -> Float64:
    return np.maximum(np.where(stats.mad > 0, stats.mad / NORMAL_MAD, stats.sd), resolution)
