"""Failures: does a larger share of the requests fail than usual?

Each request is a toss of a coin whose usual share is tracked, a day of requests long and bounded: a burst moves it by a few standard errors
a tick. Two tests look for odds that are a few and many times the usual ones. Small changes never add up to evidence: a test with odds m
times as high starts to grow from about half way between.

Sources: E. S. Page, 1954; M. R. Reynolds, Z. G. Stoumbos, A CUSUM Chart for Monitoring a Proportion When Inspecting Continuously, Journal
of Quality Technology 31, 1999 (the Bernoulli CUSUM).
"""

from typing import Any, Final

import numpy as np

from sentinel.core.jit import leaf
from sentinel.detection.tick_evidence import acquit, add, doubtful, edge, evidence_fields

ODDS: Final = np.array([4.0, 25.0])
"""How many times as high the odds of each test are: a slow burn, and a burst."""
START: Final = 0.3
"""How easily a sum starts, times the share it looks for (c of `tick_evidence`), by simulation for shares from .005 to .2."""
PRIOR_SHARE: Final = 0.01
PRIOR_REQUESTS: Final = 100.0
"""What a new series is taken for, and requests that this counts for."""
LEAST_SHARE: Final = 1e-4
MOST_REQUESTS: Final = 20_000.0
"""Requests that the usual share is averaged over at most."""
UNSURE: Final = 2.0
"""Standard errors that are added to the usual share."""
KNOWN_REQUESTS: Final = 2.0 * PRIOR_REQUESTS
"""From here on the own requests of a series weigh as much as what it was taken for."""
MOST_AT_BIRTH: Final = 0.2
"""A new series that fails for its first minutes is taken for one that always does, up to this share: more is told."""
CLIP: Final = 3.0
"""A tick counts as no more failures than this many deviations above the usual, and one."""

FAILURES: Final[list[Any]] = [
    *evidence_fields(len(ODDS)),
    ("share", "f8"),
    ("n", "f8"),
    ("tick_n", "f8"),
    ("tick_failed", "f8"),
    ("sought", "f8", (len(ODDS),)),
    ("gain_failed", "f8", (len(ODDS),)),
    ("gain_fine", "f8", (len(ODDS),)),
]
"""Usual share and requests behind it; the open tick; the shares the tests look for, and the gains of a request."""


@leaf
def begin_failures(rec: np.void, share: float) -> None:
    """Begin with a borrowed share."""
    rec["share"] = share
    rec["n"] = PRIOR_REQUESTS


@leaf
def arm_failures(rec: np.void, base: float, strictness: float) -> None:
    """Renew gains and edges from the usual share; `base` as of `tick_evidence.boundary`."""
    unsure = UNSURE * np.sqrt(rec["share"] * (1.0 - rec["share"]) / rec["n"])
    usual = min(rec["share"] + unsure, 0.9)
    for test in range(ODDS.shape[0]):
        odds = usual / (1.0 - usual) * ODDS[test]
        sought = odds / (1.0 + odds)
        rec["sought"][test] = sought
        rec["gain_failed"][test] = np.log(sought / usual)
        rec["gain_fine"][test] = np.log((1.0 - sought) / (1.0 - usual))
        rec["edge"][test] = edge(base, START * sought, strictness)


@leaf
def judge_failures(rec: np.void, failed: bool, ts: int) -> int:
    """Add one request to the evidence; returns the test that stands at its edge with this failure, -1 for none.

    >>> rec = np.zeros(1, FAILURES)[0]
    >>> begin_failures(rec, 0.01)
    >>> arm_failures(rec, 16.0, 1.0)
    >>> [judge_failures(rec, True, ts) for ts in range(6)]
    [-1, -1, -1, -1, -1, 1]
    """
    rec["tick_n"] += 1.0
    rec["tick_failed"] += 1.0 if failed else 0.0
    found = -1
    for test in range(ODDS.shape[0]):
        gain = rec["gain_failed"][test] if failed else rec["gain_fine"][test]
        if add(rec, test, gain, 1.0 if failed else 0.0, ts) and failed:
            found = test
    return found


@leaf
def close_failures(rec: np.void, warm: bool, patient: bool) -> None:
    """Learn the tick, unless something may be wrong.

    Where:
        rec: of the series.
        warm: whether the series is known for long enough; until then, and until its share is known, nothing can have changed.
        patient: false when it has been wrong for so long that it is normal now.
    """
    n = rec["tick_n"]
    known = warm and rec["n"] >= KNOWN_REQUESTS
    if not known and rec["share"] < MOST_AT_BIRTH:
        acquit(rec)
    if n > 0.0 and (not doubtful(rec) or not patient):
        usual = rec["share"]
        failed = min(rec["tick_failed"], n * usual + CLIP * np.sqrt(n * usual * (1.0 - usual)) + 1.0)
        rec["n"] = min(rec["n"] + n, MOST_REQUESTS)
        rec["share"] = max(usual + (failed - n * usual) / (n + rec["n"]), LEAST_SHARE)
    rec["tick_n"] = 0.0
    rec["tick_failed"] = 0.0
