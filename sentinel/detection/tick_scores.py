"""Normal scores: where a value lies in the distribution its series usually has, told as if that were a normal one.

Nine quantiles of each quantity are tracked by stochastic approximation, one step an event, each step bounded: an outlier moves a quantile
no further than any other value does. Beyond the highest the tail is taken as exponential, with its own mean excess. A value becomes the
normal score of its share, interpolated between quantiles. So on healthy traffic scores have mean 0 and deviation 1 whether latencies are
log-normal, tokens gamma or answers mostly empty, and tests may assume just that.

Values that lie on one point (a constant, many zeros) get the score of the middle of their share, and what a series' scores still are on
average is taken off by `tilt`.

No value counts as rarer than the events seen so far allow: with n of them, nothing is known about one in more than n.

Sources: H. Robbins, S. Monro, A Stochastic Approximation Method, Annals of Mathematical Statistics 22, 1951; B. L. van der Waerden, Order
tests for the two-sample problem, 1952 (normal scores).
"""

from typing import Any, Final

import numpy as np

from sentinel.core.jit import leaf

NODES: Final = np.array([-2.3263479, -1.6448536, -1.0, -0.5, 0.0, 0.5, 1.0, 1.6448536, 2.3263479])
"""Normal scores of the tracked quantiles: from the 1st to the 99th percentile."""
SHARES: Final = np.array([0.01, 0.05, 0.1586553, 0.3085375, 0.5, 0.6914625, 0.8413447, 0.95, 0.99])
STEPS: Final = np.sqrt(2 * np.pi) * np.exp(NODES * NODES / 2)
"""Size of a step in deviations over count: the inverse of the normal density, which is the best there is for a normal distribution."""
LOW: Final = 2
MIDDLE: Final = 4
HIGH: Final = 6
TOP: Final = 8

TOP_SHARE: Final = 0.01
HIGHEST: Final = 3.5
"""No score is higher: no single event decides."""
LEAST_SHARE: Final = 1e-7
SETTLED: Final = 2_000.0
"""Events that a distribution rests on at least, once they have come; 20 beyond its highest quantile."""
PRIOR_EVENTS: Final = 20.0
"""Events that what was borrowed counts for."""
FINEST: Final = 1e-3
"""Spread below which nothing is told apart, on log scale: a tenth of a per cent."""
TIE: Final = 0.02
"""Values closer than this share of the spread lie on one point."""
FARTHEST: Final = 2.0
"""A value counts as no further from the median than this for the scale, on log scale: a factor of seven."""

SCORES: Final[list[Any]] = [("n", "f8"), ("grid", "f8", (len(NODES),)), ("excess", "f8"), ("scale", "f8"), ("tilt", "f8")]
"""Events learned, quantiles, mean excess beyond the highest, mean distance from the median, mean score."""


@leaf
def begin_scores(rec: np.void, width: float) -> None:
    """Begin with a normal distribution of this spread around zero.

    >>> rec = np.zeros(1, SCORES)[0]
    >>> begin_scores(rec, 0.2)
    >>> for value in np.random.default_rng(1).exponential(1.0, 4_000):
    ...     learn_score(rec, value, 2_000.0)
    >>> bool(abs(rec["grid"][TOP] - np.log(100)) < 0.7), bool(abs(upper_share(rec, np.log(1_000)) - 0.001) < 0.0007)
    (True, True)
    """
    rec["n"] = 0.0
    rec["tilt"] = 0.0
    rec["excess"] = 0.5 * width
    rec["scale"] = 0.8 * width
    for j in range(NODES.shape[0]):
        rec["grid"][j] = NODES[j] * width


@leaf
def spread(rec: np.void) -> float:
    """Half the distance between the 16th and the 84th percentile."""
    return float(max(0.5 * (rec["grid"][HIGH] - rec["grid"][LOW]), FINEST))


@leaf
def middle_of_point(first: int, last: int) -> float:
    """The normal score of the middle of the share that lies on one point, which holds these nodes."""
    share = 0.5 * ((0.0 if first == 0 else SHARES[first]) + (1.0 if last == TOP else SHARES[last]))
    for j in range(1, NODES.shape[0]):
        if share <= SHARES[j]:
            within = (share - SHARES[j - 1]) / (SHARES[j] - SHARES[j - 1])
            return float(NODES[j - 1] + max(within, 0.0) * (NODES[j] - NODES[j - 1]))
    return float(NODES[TOP])


@leaf
def score(rec: np.void, value: float) -> float:
    """The normal score of a value, -2.33 to HIGHEST."""
    grid = rec["grid"]
    tie = TIE * max(spread(rec), rec["scale"])
    if value <= grid[0] - tie:
        return float(NODES[0])
    if value > grid[TOP] + tie:
        # The upper tail of a normal distribution, turned around (Laplace's expansion; within 0.01 from one per cent on).
        t = -2.0 * np.log(TOP_SHARE) + 2.0 * (value - grid[TOP]) / rec["excess"]
        return float(min(HIGHEST, np.sqrt(t - np.log(t) - 1.8379) + 0.056))
    first = 0
    last = -1
    for j in range(NODES.shape[0]):
        if grid[j] < value - tie:
            first = j + 1
        if grid[j] <= value + tie:
            last = j
    if last == first:
        return float(NODES[first])
    if last > first:
        return middle_of_point(first, last)
    low = grid[first - 1]
    return float(NODES[first - 1] + (value - low) / max(grid[first] - low, 1e-12) * (NODES[first] - NODES[first - 1]))


@leaf
def rarest(rec: np.void) -> float:
    """The smallest share that the events seen so far can vouch for."""
    return float(max(LEAST_SHARE, 1.0 / (rec["n"] + 1.0)))


@leaf
def highest(rec: np.void) -> float:
    """The highest score that the events seen so far can vouch for."""
    return float(np.sqrt(max(2.0 * np.log(0.4 * max(rec["n"], 10.0)), 1.0)) - 0.3)


@leaf
def upper_share(rec: np.void, value: float) -> float:
    """The share of healthy values that are at least this large; exact in the tail, between quantiles linear."""
    grid = rec["grid"]
    if value > grid[TOP]:
        return float(max(rarest(rec), TOP_SHARE * np.exp(-(value - grid[TOP]) / rec["excess"])))
    for j in range(TOP, 0, -1):
        if value > grid[j - 1]:
            within = (value - grid[j - 1]) / max(grid[j] - grid[j - 1], 1e-12)
            return float(1.0 - (SHARES[j - 1] + within * (SHARES[j] - SHARES[j - 1])))
    return 1.0


@leaf
def learn_score(rec: np.void, value: float, memory: float) -> None:
    """Learn one value; `memory` is how many events are remembered."""
    grid = rec["grid"]
    n = min(rec["n"] + PRIOR_EVENTS, max(memory, SETTLED))
    rec["n"] += 1.0
    wide = spread(rec)
    rec["tilt"] += (score(rec, value) - rec["tilt"]) / n
    rec["scale"] += (min(abs(value - grid[MIDDLE]), FARTHEST) - rec["scale"]) / n
    if value > grid[TOP]:
        beyond = min(value - grid[TOP], 8.0 * rec["excess"])
        rec["excess"] = max(rec["excess"] + (beyond - rec["excess"]) / (TOP_SHARE * n + 10.0), TIE * wide)
    size = max(wide, rec["scale"])
    for j in range(NODES.shape[0]):
        step = STEPS[j] * size / n
        if value > grid[j]:
            grid[j] += min(step * SHARES[j], 0.5 * size)
        else:
            grid[j] -= min(step * (1.0 - SHARES[j]), 0.5 * size)
    for j in range(1, NODES.shape[0]):
        grid[j] = max(grid[j], grid[j - 1])
