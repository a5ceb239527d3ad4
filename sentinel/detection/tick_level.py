"""Level shifts: has a quantity's level moved, by how little soever, and for certain?

Every event is judged, so a shift of a factor of four is certain after three or four events, and one of a tenth after some hundreds: no
window has to be chosen. Residuals against the baseline become normal scores; what lies within the reach of the baseline's wander is taken
off before. Three tests look for rises of different size (`PULLS`: large, some and small, in deviations of a single event), two for falls.
A test with pull k adds k z - k^2 / 2: the logarithm of how much likelier z is with a shift of k deviations than without.

Trust it when requests are independent given the level. Trains of equal requests (one user's loop) look like a shift, and are one.

Source: E. S. Page, Continuous Inspection Schemes, Biometrika 41, 1954; G. Lorden, Procedures for reacting to a change in distribution,
Annals of Mathematical Statistics 42, 1971 (several pulls at once).
"""

from typing import Final

import numpy as np

from sentinel.core.jit import leaf
from sentinel.detection.tick_baseline import MINUTE, QUARTER
from sentinel.detection.tick_evidence import add, edge, normal_start
from sentinel.detection.tick_scores import highest, score

LEVEL_TESTS: Final = 5
FAST_RISE, RISE, SLOW_RISE, FALL, SLOW_FALL = range(LEVEL_TESTS)
PULLS: Final = np.array([2.0, 0.5, 0.15, 0.5, 0.15])
"""Shifts in deviations of one event that each test is best at. Within a factor of two around them a test loses less than a third."""


@leaf
def level_edges(rec: np.void, base: float, strictness: float) -> None:
    """Set the edges of the five tests; `base` as of `tick_evidence.boundary`."""
    for test in range(LEVEL_TESTS):
        rec["edge"][test] = edge(base, normal_start(PULLS[test]), strictness)


@leaf
def judge_level(rec: np.void, residual: float, ts: int) -> int:
    """Add one event to the evidence.

    Args:
        rec: the quantity.
        residual: logarithm of the value over what is expected.
        ts: its time.

    Returns:
        The tests that stand at their edge, as a bit mask.
    """
    at_edge = 0
    fast = min(score(rec, residual - rec["reach"][MINUTE]), highest(rec))
    rise = score(rec, residual - rec["reach"][QUARTER]) - rec["tilt"]
    fall = rec["tilt"] - score(rec, residual + rec["reach"][QUARTER])
    for test in range(LEVEL_TESTS):
        z = fall
        if test == FAST_RISE:
            z = fast
        elif test <= SLOW_RISE:
            z = rise
        if add(rec, test, PULLS[test] * z - 0.5 * PULLS[test] * PULLS[test], residual, ts):
            at_edge |= 1 << test
    return at_edge
