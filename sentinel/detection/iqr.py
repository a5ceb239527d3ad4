"""Interquartile range: how far a value lies outside the middle half of its window (Tukey's fences).

Makes no assumption of normality and is not moved by a quarter of outliers; on skewed metrics the upper fence is crossed 2 to 11 times in
a hundred without any fault.

A window whose quartiles are equal has no spread to measure with; its range is then taken as two standard deviations, so that the default
multiplier of 1.5 puts the fences three deviations out.

Source: J. W. Tukey, Exploratory Data Analysis, 1977.
"""

from typing import Final

from sentinel.core.jit import leaf

NORMAL_RANGE: Final = 1.349
"""Interquartile range of a normal distribution in standard deviations."""


@leaf
def spread(q1: float, q3: float, sd: float, resolution: float) -> float:
    """The range that a distance is measured in.

    >>> spread(4.0, 6.0, sd=1.0, resolution=0.1), spread(5.0, 5.0, sd=1.0, resolution=0.1), spread(5.0, 5.0, sd=0.0, resolution=1.0)
    (2.0, 2.0, 1.349)
    """
    between = q3 - q1
    return max(between if between > 0.0 else 2.0 * sd, NORMAL_RANGE * resolution)


@leaf
def score(value: float, q1: float, q3: float, sd: float, multiplier: float, resolution: float) -> float:
    """Distance beyond the nearer quartile over the allowed distance: 1.0 lies exactly at the fence, 0 inside the quartiles.

    Args:
        value: the sample.
        q1: lower quartile of its window before it, in the metric's unit.
        q3: upper quartile.
        sd: standard deviation of that window.
        multiplier: interquartile ranges beyond the quartiles.
        resolution: the smallest deviation that counts, in the metric's unit.

    >>> score(12.0, q1=4.0, q3=6.0, sd=1.0, multiplier=1.5, resolution=0.1)
    2.0
    """
    beyond = max(q1 - value, value - q3, 0.0)
    return beyond / (spread(q1, q3, sd, resolution) * multiplier)


@leaf
def band(q1: float, q3: float, sd: float, multiplier: float, resolution: float) -> tuple[float, float]:
    """The fences; the median was expected.

    >>> band(q1=4.0, q3=6.0, sd=1.0, multiplier=1.5, resolution=0.1)
    (1.0, 9.0)
    """
    reach = spread(q1, q3, sd, resolution) * multiplier
    return q1 - reach, q3 + reach
