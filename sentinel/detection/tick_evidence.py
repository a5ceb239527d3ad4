"""Evidence that adds up: how every test over time decides, and why a score of 1.0 means the same for all of them.

Each observation gives a **gain**: the logarithm of how much likelier it is if something is wrong than if nothing is. On healthy traffic the
expectation of exp(gain) is at most 1, so a sum of gains that starts again at zero whenever it falls below (Page's CUSUM, as an e-detector)
crosses an edge h at most every exp(h) / c observations, whatever the distribution. c, how easily a sum starts, is known for each kind of
gain. So an edge follows from one wish, how many days of healthy traffic one test may take to be wrong once:

    h = log(observations a day x days x c)

A busy series must be stricter per event than a sparse one to be equally quiet per day, and this makes it so. Nothing else sets a threshold.

Sources: E. S. Page, Continuous Inspection Schemes, Biometrika 41, 1954; D. Siegmund, Sequential Analysis, 1985 (c of normal scores);
J. Shin, A. Ramdas, A. Rinaldo, E-detectors: a nonparametric framework for sequential change detection, NEJSDS 2023.
"""

from typing import Any, Final

import numpy as np

from sentinel.core.jit import leaf

LEAST_EDGE: Final = 3.0
"""No test decides by less, however rare its observations are: e cubed, odds of 20 to 1."""

HALF_WAY: Final = 0.5
"""Share of an edge from which something may be wrong."""


def evidence_fields(tests: int) -> list[Any]:
    """The fields of a record with so many tests: sums and edges, and since when, over what and over how many a sum has grown."""
    return [(name, kind, (tests,)) for name, kind in (("sum", "f8"), ("edge", "f8"), ("since", "i8"), ("total", "f8"), ("count", "f8"))]


@leaf
def add(rec: np.void, test: int, gain: float, value: float, ts: int) -> bool:
    """Add an observation to a sum; whether the sum stands at its edge, where it stays until gains are negative again.

    Args:
        rec: a record with `evidence_fields`.
        test: which sum.
        gain: of this observation.
        value: what to remember of it, for the mean since the sum began to grow.
        ts: its time.

    >>> rec = np.zeros(1, evidence_fields(1))[0]
    >>> rec["edge"][0] = 4.0
    >>> [bool(add(rec, 0, gain, 1.0, ts)) for ts, gain in enumerate([2.5, -3.0, 2.5, 2.5, -1.0])]
    [False, False, False, True, False]
    >>> int(rec["since"][0]), float(rec["sum"][0])
    (2, 3.0)
    """
    if rec["sum"][test] <= 0.0:
        rec["since"][test] = ts
        rec["total"][test] = 0.0
        rec["count"][test] = 0.0
    after = rec["sum"][test] + gain
    if after <= 0.0:
        rec["sum"][test] = 0.0
        return False
    rec["total"][test] += value
    rec["count"][test] += 1.0
    rec["sum"][test] = min(after, rec["edge"][test])
    return bool(after >= rec["edge"][test])


@leaf
def doubtful(rec: np.void) -> bool:
    """Whether any sum is half way to its edge: then something may be wrong, and baselines wait for the outcome."""
    for test in range(rec["sum"].shape[0]):  # noqa: SIM110  a kernel has no generators
        if rec["sum"][test] > HALF_WAY * rec["edge"][test]:
            return True
    return False


@leaf
def acquit(rec: np.void) -> None:
    """Start all sums again."""
    for test in range(rec["sum"].shape[0]):
        rec["sum"][test] = 0.0


@leaf
def boundary(per_day: float, false_days: float) -> float:
    """The edge of a test with c = 1, for a series with so many observations a day; at least a hundred, so that rare ones stay sober.

    >>> round(boundary(43_200.0, 500.0), 2)
    16.89
    """
    return float(np.log(max(per_day, 100.0) * false_days))


@leaf
def edge(base: float, start: float, strictness: float) -> float:
    """The edge of a test: `base` as of `boundary`, `start` its c, `strictness` the factor of the sensitivity."""
    return float(max(LEAST_EDGE, strictness * (base + np.log(start))))


@leaf
def normal_start(pull: float) -> float:
    """C of a test of normal scores z with gains pull x z - pull^2 / 2 (Siegmund's approximation, within 10% of simulations).

    >>> round(normal_start(0.5), 3)
    0.07
    """
    return float(0.5 * pull * pull * np.exp(-1.166 * pull))
