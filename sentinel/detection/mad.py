"""Median absolute deviation: the modified z-score, which half of the window may be outliers without moving.

A window more than half of whose samples are equal has a deviation of zero; the standard deviation takes its place, so that a metric
that is mostly zero is judged by how its other values spread and not flooded by every one of them.

Source: B. Iglewicz and D. C. Hoaglin, How to Detect and Handle Outliers, 1993 (0.6745 makes it comparable with a z-score; 3.5 is theirs).
"""

from typing import Final

from sentinel.core.jit import leaf

NORMAL_MAD: Final = 0.6745
"""Median absolute deviation of a normal distribution in standard deviations."""


@leaf
def spread(mad: float, sd: float, resolution: float) -> float:
    """The deviation that a distance is measured in, comparable with a standard deviation.

    >>> spread(0.6745, sd=9.0, resolution=0.1), spread(0.0, sd=9.0, resolution=0.1)
    (1.0, 9.0)
    """
    return max(mad / NORMAL_MAD if mad > 0.0 else sd, resolution)


@leaf
def score(value: float, median: float, mad: float, sd: float, threshold: float, resolution: float) -> float:
    """The modified z-score over its threshold: 1.0 lies exactly at it.

    Args:
        value: the sample.
        median: of its window before it, in the metric's unit.
        mad: median absolute deviation from the median, unscaled.
        sd: standard deviation of that window.
        threshold: modified z-score.
        resolution: the smallest deviation that counts, in the metric's unit.

    >>> score(12.0, median=5.0, mad=0.6745, sd=9.0, threshold=3.5, resolution=0.1)
    2.0
    """
    return abs(value - median) / (spread(mad, sd, resolution) * threshold)


@leaf
def band(median: float, mad: float, sd: float, threshold: float, resolution: float) -> tuple[float, float]:
    """Where a score would be exactly 1.0: below and above the median, which was expected.

    >>> band(median=5.0, mad=0.6745, sd=9.0, threshold=3.5, resolution=0.1)
    (1.5, 8.5)
    """
    reach = spread(mad, sd, resolution) * threshold
    return median - reach, median + reach
