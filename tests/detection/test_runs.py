"""Runs: their chance is exact, and both boundaries must be crossed."""

from itertools import pairwise

import numpy as np
import pytest

from sentinel.core.jit import JIT_DISABLED
from sentinel.detection import runs, tail


@pytest.mark.parametrize("span", [1, 2, 6, 18])
def test_the_chance_of_evidence_is_exact(span: int) -> None:
    """Simulated runs of independent values give evidence as often as `chance` says."""
    draws = 20_000 if JIT_DISABLED else 400_000
    p = np.random.default_rng(span).random((draws, span))
    gathered = np.where(p <= tail.SHARE, -np.log(p), 0.0).sum(axis=1)
    for limit in (1.0, 5.0, 8.0, 10.0):
        expected = runs.chance(limit, span)
        assert np.mean(gathered >= limit) == pytest.approx(expected, abs=4.0 * np.sqrt(expected / draws) + 1e-9)


def test_no_evidence_is_certain_to_come_by_chance() -> None:
    """Zero evidence has chance 1; more evidence never has a higher chance."""
    assert runs.chance(0.0, 6) == 1.0
    chances = [runs.chance(gathered, 18) for gathered in np.linspace(0.0, 200.0, 400)]
    assert all(later <= sooner for sooner, later in pairwise(chances))


def history(values: int = 6_000) -> np.void:
    """A tail of exponential deviations."""
    rec = np.zeros(1, tail.TAIL)[0]
    for value in np.random.default_rng(1).exponential(size=values).tolist():
        tail.learn(rec, value, 1.0)
    return rec


def test_evidence_is_what_the_tail_says_within_what_history_shows() -> None:
    """Nothing for values in the bulk, -ln p in the tail, and no more than for what memory has not seen."""
    rec = history()
    assert runs.evidence(rec, 1.0) == 0.0
    assert runs.evidence(rec, 5.0) == pytest.approx(-np.log(tail.exceedance(rec, 5.0)))
    assert runs.evidence(rec, 1e9) == pytest.approx(np.log(tail.MEMORY / runs.UNSEEN))
    assert runs.evidence(history(100), 1e9) == pytest.approx(np.log(100 / runs.UNSEEN))


def test_a_run_must_be_rare_and_no_chance() -> None:
    """Either alone stays below 1; both together reach it, and the nearer boundary decides."""
    rec = history()
    rare, usual = tail.deviation_at(rec, 10.0 ** -(runs.RARE + 0.1)), tail.deviation_at(rec, 0.01)
    assert runs.score(rec, rare, 5.0, 6) < 1.0
    assert runs.score(rec, usual, 50.0, 6) < 1.0
    assert runs.score(rec, rare, 50.0, 6) == pytest.approx((runs.RARE + 0.1) / runs.RARE)
    assert runs.score(rec, 0.1, 50.0, 6) == 0.0
