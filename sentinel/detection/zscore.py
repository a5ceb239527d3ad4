"""Z-score: how many standard deviations a value lies from the mean of its window.

Right for roughly normal metrics. Skewed ones (latency, tokens) cross three deviations 9 to 20 times in a thousand without any fault, and
one extreme value widens the band for a whole window.

Source: W. A. Shewhart, Economic Control of Quality of Manufactured Product, 1931 (three-sigma limits).
"""

import numpy as np

from sentinel.core.batch import Float64
from sentinel.detection.windows import Stats

SENSITIVITY = {"low": 1.33, "medium": 1.0, "high": 0.83}
"""Factor on the threshold."""


def score(values: Float64, stats: Stats, threshold: float, resolution: float) -> Float64:
    """Distance from the mean over the threshold: 1.0 lies exactly at it.

    Args:
        values: float64[n], the samples.
        stats: their windows before them.
        threshold: standard deviations.
        resolution: the deviation is taken to be at least this, so that a constant window has a band.

    Returns:
        float64[n], NaN where the window was empty.

    >>> column = np.array
    >>> stats = Stats(column([10]), column([100.0]), column([5.0]), *[column([np.nan])] * 4)
    >>> score(column([130.0]), stats, threshold=3.0, resolution=1.0)
    array([2.])
    """
    return np.abs(values - stats.mean) / (np.maximum(stats.sd, resolution) * threshold)


def band(stats: Stats, threshold: float, resolution: float) -> tuple[Float64, Float64, Float64]:
    """What was expected: centre, lower and upper limit, float64[n] each."""
    reach = np.maximum(stats.sd, resolution) * threshold
    return stats.mean, stats.mean - reach, stats.mean + reach
