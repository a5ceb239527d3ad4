"""How sure a difference is, in standard deviations of a normal distribution, so that tests of different kinds have one scale.

Sources: E. B. Wilson, M. M. Hilferty, The Distribution of Chi-Square, PNAS 17, 1931; the signed root of the deviance: P. McCullagh,
J. A. Nelder, Generalized Linear Models, 1989, section 12.6, whose dispersion also stands for counts that come in clumps.
"""

from typing import Final

import numpy as np

from sentinel.core.batch import Float64

SURE: Final = 4.75
"""Standard deviations from which a difference is sure: one in a million by chance, so that a fleet of thousands of series stays quiet."""


def chi_square(statistic: Float64, freedom: Float64) -> Float64:
    """Standard deviations of a normal distribution that are as unlikely as chi-square `statistic` with `freedom` degrees.

    Args:
        statistic: float64[n], >= 0.
        freedom: float64[n]; where it is 0 there is nothing to compare: 0.

    >>> chi_square(np.array([18.31, 5.0]), np.array([10.0, 0.0])).round(2).tolist()
    [1.65, 0.0]
    """
    degrees = np.maximum(freedom, 1.0)
    spread = 2.0 / (9.0 * degrees)
    z = (np.cbrt(statistic / degrees) - (1.0 - spread)) / np.sqrt(spread)
    return np.where(freedom > 0, z, 0.0)


def binomial(hits: Float64, trials: Float64, rate: Float64) -> Float64:
    """Standard deviations by which `hits` of `trials` are more (less: negative) than a rate, 0 < rate < 1, makes likely.

    >>> binomial(np.array([30.0, 10.0]), np.array([1000.0, 1000.0]), np.array([0.01, 0.01])).round(2).tolist()
    [5.13, 0.0]
    """
    share = np.clip(hits / np.maximum(trials, 1.0), 0.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        hit = np.where(share > 0, share * np.log(share / rate), 0.0)
        miss = np.where(share < 1, (1 - share) * np.log((1 - share) / (1 - rate)), 0.0)
    z: Float64 = np.sign(share - rate) * np.sqrt(np.maximum(2.0 * trials * (hit + miss), 0.0))
    return z


def decay(hours: float, half_life_hours: float) -> float:
    """What is left of a count after some hours.

    >>> decay(24, 48)
    0.7071067811865476
    """
    return float(0.5 ** (hours / half_life_hours))
