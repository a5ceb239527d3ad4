"""Interquartile range: how far a value lies outside the middle half of its window (Tukey's fences).

Makes no assumption of normality and is not moved by a quarter of outliers; on skewed metrics the upper fence is crossed 2 to 11 times in
a hundred without any fault.

A window whose quartiles are equal has no spread to measure with; its range is then taken as two standard deviations, so that the default
multiplier of 1.5 puts the fences three deviations out.

Source: J. W. Tukey, Exploratory Data Analysis, 1977.
"""

import numpy as np

from sentinel.core.batch import Float64
from sentinel.detection.windows import Stats

NORMAL_RANGE = 1.349
"""Interquartile range of a normal distribution in standard deviations."""


def score(values: Float64, stats: Stats, multiplier: float, resolution: float) -> Float64:
    """Distance beyond the nearer quartile over the allowed distance: 1.0 lies exactly at the fence, 0 inside the quartiles.

    Args:
        values: float64[n], the samples.
        stats: their windows before them.
        multiplier: interquartile ranges beyond the quartiles.
        resolution: the smallest deviation that counts, in the metric's unit.

    Returns:
        float64[n], NaN where the window was empty.

    >>> column = np.array
    >>> stats = Stats(column([10]), column([5.0]), column([1.0]), column([5.0]), column([4.0]), column([6.0]), column([1.0]))
    >>> score(column([12.0]), stats, multiplier=1.5, resolution=0.1)
    array([2.])
    """
    beyond = np.maximum(np.maximum(stats.q1 - values, values - stats.q3), 0.0)
    return beyond / (_range(stats, resolution) * multiplier)


def band(stats: Stats, multiplier: float, resolution: float) -> tuple[Float64, Float64, Float64]:
    """What was expected: median, lower and upper fence, float64[n] each."""
    reach = _range(stats, resolution) * multiplier
    return stats.median, stats.q1 - reach, stats.q3 + reach


def _range(stats: Stats, resolution: float) -> Float64:
    spread = stats.q3 - stats.q1
    return np.maximum(np.where(spread > 0, spread, 2.0 * stats.sd), NORMAL_RANGE * resolution)
