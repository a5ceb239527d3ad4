"""Z-score: how many standard deviations a value lies from the mean of its window.

Right for roughly normal metrics. Skewed ones (latency, tokens) cross three deviations 9 to 20 times in a thousand without any fault, and
one extreme value widens the band for a whole window.

Source: W. A. Shewhart, Economic Control of Quality of Manufactured Product, 1931 (three-sigma limits).
"""

from sentinel.core.jit import leaf

SENSITIVITY = {"low": 1.33, "medium": 1.0, "high": 0.83}
"""Factor on the threshold."""


@leaf
def score(value: float, mean: float, sd: float, threshold: float, resolution: float) -> float:
    """Distance from the mean over the threshold: 1.0 lies exactly at it.

    Args:
        value: the sample.
        mean: of its window before it, in the metric's unit.
        sd: of that window.
        threshold: standard deviations.
        resolution: the deviation is taken to be at least this, so that a constant window has a band.

    >>> score(130.0, mean=100.0, sd=5.0, threshold=3.0, resolution=1.0)
    2.0
    """
    return abs(value - mean) / (max(sd, resolution) * threshold)


@leaf
def band(mean: float, sd: float, threshold: float, resolution: float) -> tuple[float, float]:
    """Where a score would be exactly 1.0: below and above the mean, which was expected.

    >>> band(mean=100.0, sd=5.0, threshold=3.0, resolution=1.0)
    (85.0, 115.0)
    """
    reach = max(sd, resolution) * threshold
    return mean - reach, mean + reach
