"""Traffic over time: evidence against ordinary sway, and what a rate is learned from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.core.batch import Float64
from sentinel.core.jit import JIT_DISABLED, kernel
from sentinel.detection.profile import PROFILE
from sentinel.detection.tick_evidence import boundary, edge
from sentinel.detection.tick_flow import (
    DROP,
    FLOW,
    PRIOR_SWAY,
    START,
    SURGE,
    begin_flow,
    beyond_sway,
    expected_rate,
    judge_flow,
    learn_flow,
    remember_former,
    sway_over,
    wake,
)
from sentinel.detection.tick_silence import judged, missing, unheard

TICK_S, TICK_NS = 10.0, 10_000_000_000
FACTOR = 2.0


@kernel
def excursions(counts: Float64, rec: np.void, profile: np.void, at: float, found: Float64) -> None:
    """Judge and learn ticks one after the other; `found` gets what each brought to light."""
    for i in range(counts.shape[0]):
        if i >= 60:
            found[i] = judge_flow(rec, profile, counts[i], i * TICK_NS, TICK_S, FACTOR, at)
        learn_flow(rec, profile, counts[i], (i + 1) * TICK_NS, TICK_S)


def run(counts: Float64, false_days: float = 500.0) -> tuple[Float64, np.void]:
    """What is found in ticks of a new series, and its state afterwards."""
    rec: np.void = np.zeros(1, np.dtype(FLOW))[0]
    profile: np.void = np.zeros(1, PROFILE)[0]
    begin_flow(rec, PRIOR_SWAY)
    found = np.zeros(len(counts))
    excursions(counts.astype(np.float64), rec, profile, edge(boundary(8_640.0, false_days), START, 1.0), found)
    return found, rec


def swaying(rng: np.random.Generator, n: int, rate: float, deviation: float) -> Float64:
    """Counts of ticks of a Poisson process whose rate sways over two minutes."""
    noise = np.convolve(rng.standard_normal(n + 60), np.exp(-np.arange(60) / 12), "valid")[:n]
    return rng.poisson(rate * TICK_S * np.exp(deviation * noise / noise.std())).astype(np.float64)


@settings(max_examples=60)
@given(st.integers(0, 300), st.floats(0.5, 100), st.sampled_from([2.5, 0.2]), st.floats(0.01, 0.6))
def test_evidence_is_against_the_sway_that_explains_a_count_best(n: int, mean: float, ratio: float, sway: float) -> None:
    """The same as trying every sway in small steps."""
    seen = max(ratio, n / mean) if ratio > 1 else min(ratio, n / mean)
    best = mean * (1 - seen) + (n * np.log(seen) if n else 0.0)
    side = 1.0 if ratio > 1 else -1.0
    c = np.linspace(0, 80, 200_001)
    usual = max(0.0, float((n * side * c * sway - mean * np.expm1(np.minimum(side * c * sway, 300)) - 0.5 * c * c).max()))
    assert beyond_sway(float(n), mean, ratio, sway) == pytest.approx(best - usual, abs=1e-3)


@pytest.mark.skipif(JIT_DISABLED, reason="weeks of ticks are for compiled kernels")
@pytest.mark.parametrize("rate", [0.02, 0.2, 2.0])
@pytest.mark.parametrize("deviation", [0.0, 0.25])
def test_ordinary_traffic_is_no_excursion(rate: float, deviation: float) -> None:
    """Eight weeks of a swaying Poisson process: what is asked for is one false alarm in 500 days, and there is at most one."""
    found, _ = run(swaying(np.random.default_rng(7), 8 * 60_480, rate, deviation))
    starts = np.flatnonzero(np.diff((found > 0).astype(int)) == 1)
    assert len(starts) <= 1


@pytest.mark.parametrize(("factor", "side"), [(5.0, SURGE), (0.1, DROP)])
def test_five_times_as_many_and_a_tenth_are_found(factor: float, side: int) -> None:
    """Within five minutes, on the right side."""
    rng = np.random.default_rng(8)
    counts = swaying(rng, 500, 1.0, 0.2)
    counts[400:] = rng.poisson(factor * TICK_S, 100)
    found, _ = run(counts)
    assert not found[:400].any()
    assert (found[400:430] == 1 << side).any()


def test_twice_as_many_is_not_worth_telling_before_it_is_reached() -> None:
    """Growth by half is certain soon, and never told."""
    counts = np.concatenate([np.full(400, 50.0), np.full(400, 75.0)])
    found, _ = run(counts)
    assert not found.any()


def test_one_absurd_tick_hardly_moves_the_rate() -> None:
    """A tick counts as no more than a few deviations above the usual."""
    counts = np.full(400, 20.0)
    counts[-1] = 1e9
    _, rec = run(counts)
    assert rec["rate"] < 2.5
    assert rec["clump"] < 15.0


def test_sway_and_clumps_are_told_apart() -> None:
    """A rate that sways over minutes has sway; requests in pairs have clumps of two."""
    _, swayed = run(swaying(np.random.default_rng(9), 4_000, 2.0, 0.3))
    _, paired = run(2.0 * np.random.default_rng(9).poisson(10.0, 4_000))
    assert 0.15 < np.sqrt(swayed["sway"][0]) < 0.45
    assert swayed["clump"] < 1.3
    assert 1.7 < paired["clump"] < 2.3
    assert paired["sway"][0] < 0.02
    assert sway_over(swayed, 900 * 10**9) <= sway_over(swayed, 60 * 10**9)


def test_silence_needs_more_patience_with_irregular_series() -> None:
    """The same gap is more evidence in a steady series than in a swaying one; no series is judged before its rate is known."""
    steady, swaying_one = run(np.full(400, 10.0))[1], run(swaying(np.random.default_rng(10), 4_000, 1.0, 0.4))[1]
    gap = 40 * 10**9
    assert missing(steady, 1.0, 0, gap) > missing(swaying_one, 1.0, 0, gap) > 0
    assert judged(steady, 400.0)
    assert not judged(run(np.full(30, 10.0))[1], 300.0)
    assert unheard(steady, 0, gap, 15.0)
    assert not unheard(steady, 0, 5 * 10**9, 15.0)


def test_what_was_usual_before_an_oddity_is_remembered_for_a_while() -> None:
    """After a surge, traffic falling back to what it was is no drop; two hours later that is forgotten, and so it is on waking."""
    rec = run(np.full(400, 10.0))[1]
    profile: np.void = np.zeros(1, PROFILE)[0]
    now = 4_000 * 10**9
    rec["usual"][SURGE] = 10.0
    remember_former(rec, SURGE, now, TICK_S)
    rec["rate"] = 4.0
    assert expected_rate(rec, profile, DROP, now + 10**9) == pytest.approx(1.0)
    assert expected_rate(rec, profile, DROP, now + 7_201 * 10**9) == pytest.approx(4.0)
    wake(rec)
    assert expected_rate(rec, profile, DROP, now + 10**9) == pytest.approx(4.0)
