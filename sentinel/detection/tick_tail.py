"""Tails: is a share of the values far beyond what almost all of them are, while the rest is as ever?

Every fifth request that hangs, one answer in seven that does not stop: the level hardly moves, the tail does. Each event gives its upper
share p, one in how many healthy values is so large, and the gain is the logarithm of a mixture: nothing is wrong with this event, or, with
probability PART, it is one of those whose shares are drawn towards zero (density POWER x p^(POWER - 1)). Healthy shares are uniform, so
the expectation of exp(gain) is 1.

One event alone never decides: its gain is at most a good half of the edge. Two of one in ten thousand within a few minutes do; each of
them is what it looks like, a rarity of its own, and both together are no chance.

Source: mixtures of p-values: T. Sellke, M. J. Bayarri, J. O. Berger, Calibration of p Values, The American Statistician 55, 2001.
"""

from typing import Final

import numpy as np

from sentinel.core.jit import leaf
from sentinel.detection.tick_baseline import MINUTE
from sentinel.detection.tick_evidence import add, edge
from sentinel.detection.tick_level import LEVEL_TESTS
from sentinel.detection.tick_scores import TOP, upper_share

TAIL: Final = LEVEL_TESTS
TESTS: Final = LEVEL_TESTS + 1
PART: Final = 0.2
POWER: Final = 0.1
START: Final = 0.001
"""How easily the sum starts (c of `tick_evidence`), by simulation of 40 million uniform shares."""
ALONE: Final = 1 / 1.9
"""Share of the edge that one event gives at most."""
ORDINARY: Final = 0.2
ORDINARY_GAIN: Final = -0.18
"""Four fifths of the values speak against a change of the tail all the same: the mean of what the formula says there, spared."""
RARE: Final = 0.01
"""Values beyond the highest tracked quantile are the extremes: one in a hundred is healthy."""


@leaf
def tail_gain(share: float) -> float:
    """The gain of an event whose value one in `share` healthy ones reaches.

    >>> [round(tail_gain(share), 2) for share in (0.5, 0.1, 0.01, 1e-4)]
    [-0.18, -0.04, 0.72, 4.39]
    """
    if share > ORDINARY:
        return ORDINARY_GAIN
    return float(np.log(1.0 - PART + PART * POWER * share ** (POWER - 1.0)))


@leaf
def tail_edge(rec: np.void, base: float, strictness: float) -> None:
    """Set the edge of the test; `base` as of `tick_evidence.boundary`."""
    rec["edge"][TAIL] = edge(base, START, strictness)


@leaf
def judge_tail(rec: np.void, residual: float, plain: float, ts: int) -> bool:
    """Add one event to the evidence; whether the test stands at its edge.

    Args:
        rec: the quantity.
        residual: logarithm of the value over what is expected of it.
        plain: the same of the value as it is, whatever its length: what is remembered of extremes, for people.
        ts: its time.
    """
    extreme = residual > rec["grid"][TOP]
    if rec["sum"][TAIL] <= 0.0:
        rec["extremes"] = 0.0
    gain = min(tail_gain(upper_share(rec, residual - rec["reach"][MINUTE])), ALONE * rec["edge"][TAIL])
    at_edge = add(rec, TAIL, gain, plain if extreme else 0.0, ts)
    rec["extremes"] += 1.0 if extreme else 0.0
    return bool(at_edge)
