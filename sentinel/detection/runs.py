"""Runs of rare values: rare in a series' own history, and more than chance.

The mean of the last few values tells a run from a single outlier. It is judged twice: it must be rare in its own tail, and so many rare
single values so close together must be no chance in a series without memory. The first alone fires on one in some thousand means of
pure noise, the second alone on every slow swing of a healthy series; together they are quiet on both.

Source: D. V. Zaykin, L. A. Zhivotovsky, P. H. Westfall, B. S. Weir, Truncated Product Method for Combining P-values, Genetic
Epidemiology 22, 2002.
"""

from typing import Final

import numpy as np

from sentinel.core.jit import kernel
from sentinel.detection import tail

RARE: Final = 3.9
"""A mean is rare at a probability of 10**-3.9: one in 8,000, which `tail.MEMORY` has not seen once."""

CHANCE: Final = 5.0
"""A run is no chance at a probability of 10**-5: over both sides and all spans, which overlap, less than .02 in 1,000 values."""

UNSEEN: Final = 0.5
"""No single value counts as rarer in a run than as if so much of one had been seen: history shows no more, and one value is no run."""


@kernel
def evidence(side: np.void, deviation: float) -> float:
    """What a single value adds to a run: -ln of its probability, 0.0 where that is above `tail.SHARE`.

    Args:
        side: the record of `TAIL` of single values, not changed.
        deviation: >= 0, as for `tail.exceedance`.
    """
    probability = tail.exceedance(side, deviation)
    if probability > tail.SHARE:
        return 0.0
    return float(-np.log(max(probability, UNSEEN / min(side["seen"], tail.MEMORY))))


@kernel
def chance(gathered: float, span: int) -> float:
    """Probability that `span` independent values give at least this much evidence.

    The number of values that give any is binomial; beyond -ln(SHARE) each gives an exponential amount, so their sum is a gamma variable.
    """
    if gathered <= 0.0:
        return 1.0
    total = 0.0
    weight = (1.0 - tail.SHARE) ** span
    for count in range(1, span + 1):
        weight *= (span - count + 1) / count * tail.SHARE / (1.0 - tail.SHARE)
        beyond = gathered + count * np.log(tail.SHARE)
        survival = 1.0
        if beyond > 0.0:
            term = np.exp(-beyond)
            survival = term
            for i in range(1, count):
                term *= beyond / i
                survival += term
        total += weight * survival
    return float(min(total, 1.0))


@kernel
def score(side: np.void, deviation: float, gathered: float, span: int) -> float:
    """How far a mean is beyond both boundaries, 1.0 at the nearer one; 0.0 where it is not even in the tail.

    While history is short, what did not happen in all of it is rare.

    Args:
        side: the record of `TAIL` of such means, not changed.
        deviation: >= 0, of the mean.
        gathered: evidence of its values, from `evidence`.
        span: how many values they are.
    """
    probability = tail.exceedance(side, deviation)
    if probability > tail.SHARE:
        return 0.0
    rare = -np.log10(max(probability, 1e-300)) / min(RARE, np.log10(2.0 * side["seen"]))
    return float(min(rare, -np.log10(max(chance(gathered, span), 1e-300)) / CHANCE))
