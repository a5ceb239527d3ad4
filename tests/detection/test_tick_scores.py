"""Normal scores and the evidence made of them: calibrated on any distribution, and no outlier has more than one say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.core.batch import Float64
from sentinel.core.jit import JIT_DISABLED, kernel
from sentinel.detection.tick_evidence import add, boundary, edge, evidence_fields, normal_start
from sentinel.detection.tick_failures import FAILURES, arm_failures, begin_failures, judge_failures
from sentinel.detection.tick_level import PULLS
from sentinel.detection.tick_scores import HIGHEST, NODES, begin_scores, learn_score, score, upper_share
from sentinel.detection.tick_state import LEVEL
from sentinel.detection.tick_tail import START, tail_gain

compiled = pytest.mark.skipif(JIT_DISABLED, reason="hundreds of thousands of events are for compiled kernels")
RNG = np.random.default_rng(3)
N = 200_000
DISTRIBUTIONS: dict[str, Float64] = {
    "normal": 0.2 * RNG.standard_normal(N),
    "lognormal 1.5": 1.5 * RNG.standard_normal(N),
    "gamma .5": np.log(RNG.gamma(0.5, 1.0, N)),
    "gamma 5": np.log(RNG.gamma(5.0, 1.0, N)),
    "exponential": RNG.exponential(1.0, N),
    "constant": np.zeros(N),
    "half zeros": np.where(RNG.random(N) < 0.5, -4.0, 1.0 + 0.75 * RNG.standard_normal(N)),
    "almost all zeros": np.where(RNG.random(N) < 0.95, -4.0, 1.0 + 0.75 * RNG.standard_normal(N)),
    "one in a hundred far out": 0.15 * RNG.standard_normal(N) + np.where(RNG.random(N) < 0.01, np.abs(RNG.standard_normal(N)), 0.0),
}


@kernel
def judged(values: Float64, rec: np.void, scores: Float64, shares: Float64) -> None:
    """Score each value against those before it, then learn it."""
    for i in range(values.shape[0]):
        scores[i] = score(rec, values[i]) - rec["tilt"]
        shares[i] = upper_share(rec, values[i])
        learn_score(rec, values[i], 10_000.0)


@kernel
def crossings(gains: Float64, rec: np.void) -> int:
    """How often a sum of gains reaches its edge, beginning anew each time."""
    count = 0
    for i in range(gains.shape[0]):
        if add(rec, 0, gains[i], 0.0, i):
            count += 1
            rec["sum"][0] = 0.0
    return count


@kernel
def told(failed: Float64, rec: np.void) -> int:
    """How often a test of failures reaches its edge, beginning anew each time."""
    count = 0
    for i in range(failed.shape[0]):
        if judge_failures(rec, failed[i] > 0.5, i) >= 0:
            count += 1
            rec["sum"][:] = 0.0
    return count


def fresh(width: float = 0.5) -> np.void:
    """A new distribution."""
    rec: np.void = np.zeros(1, LEVEL)[0]
    begin_scores(rec, width)
    return rec


def sums(at: float) -> np.void:
    """One empty sum with its edge."""
    rec: np.void = np.zeros(1, np.dtype(evidence_fields(1)))[0]
    rec["edge"][0] = at
    return rec


@compiled
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_scores_are_calibrated_whatever_the_distribution(name: str) -> None:
    """Mean 0, no more in the tail than its share says, and gains whose exponentials are 1 on average, or less: no test drifts."""
    values = DISTRIBUTIONS[name]
    scores, shares = np.empty(N), np.empty(N)
    rec = fresh()
    judged(values, rec, scores, shares)
    scores, shares = scores[N // 4 :], shares[N // 4 :]
    assert abs(scores.mean()) < 0.03
    for share in (0.01, 0.001):
        assert np.mean(shares <= share) <= 1.5 * share
    assert np.mean(np.exp(2.0 * (scores + rec["tilt"]) - 2.0)) < 1.1
    for pull in (0.5, 0.15):
        for side in (1.0, -1.0):
            assert np.mean(np.exp(side * pull * scores - 0.5 * pull * pull)) < 1.06


@settings(max_examples=40)
@given(st.floats(-1e6, 1e6), st.floats(0.01, 2.0))
def test_an_outlier_moves_what_is_usual_no_further_than_any_other_value(outlier: float, width: float) -> None:
    """However absurd a value is, quantiles move by one bounded step."""
    one, other = fresh(width), fresh(width)
    for rec in (one, other):
        rec["n"] = 1_000.0
    learn_score(one, outlier, 2_000.0)
    learn_score(other, 3.0 * width if outlier > 0 else -3.0 * width, 2_000.0)
    assert np.abs(one["grid"] - other["grid"]).max() <= 1e-12 + 0.05 * width
    assert abs(one["scale"] - other["scale"]) <= 2.0 / 1_000
    assert np.all(np.diff(one["grid"]) >= 0)


@given(st.floats(-50, 50))
def test_scores_are_bounded_and_rise_with_the_value(value: float) -> None:
    """From the lowest node to HIGHEST, never falling."""
    rec = fresh()
    rec["n"] = 10_000.0
    here, above = score(rec, value), score(rec, value + 0.1)
    assert NODES[0] <= here <= above + 1e-9
    assert above <= HIGHEST
    assert upper_share(rec, value) >= upper_share(rec, value + 0.1) > 0


@compiled
@pytest.mark.parametrize("pull", PULLS[:3])
def test_level_tests_are_wrong_as_rarely_as_asked(pull: float) -> None:
    """On normal scores, a test with a wish of one false alarm in so many events has about that, at most half as many again."""
    n, wanted = 4_000_000, 2_000.0
    z = np.random.default_rng(4).standard_normal(n)
    at = edge(np.log(wanted), normal_start(float(pull)), 1.0)
    count = crossings(pull * z - 0.5 * pull * pull, sums(at))
    assert count <= 1.5 * n / wanted


@compiled
def test_the_tail_test_is_wrong_as_rarely_as_asked() -> None:
    """On uniform shares, no more than twice as often as asked for: two rare events are few to count."""
    n, wanted = 4_000_000, 50_000.0
    shares = np.random.default_rng(5).random(n)
    at = edge(np.log(wanted), START, 1.0)
    gains = np.minimum([tail_gain(share) for share in shares], at / 1.9)
    assert crossings(gains, sums(at)) <= 2 * n / wanted


@compiled
@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.2])
def test_failure_tests_are_wrong_as_rarely_as_asked(share: float) -> None:
    """Of a share that does not change, at most two false alarms where two tests may have one each."""
    n, wanted = 4_000_000, 20_000.0
    rec: np.void = np.zeros(1, np.dtype(FAILURES))[0]
    begin_failures(rec, share)
    rec["n"] = 20_000.0
    arm_failures(rec, float(np.log(wanted)), 1.0)
    failed = (np.random.default_rng(6).random(n) < share).astype(np.float64)
    assert told(failed, rec) <= 2 * 1.5 * n / wanted


def test_an_edge_follows_from_how_busy_a_series_is() -> None:
    """Ten times the traffic needs more evidence per event, so that alarms per day stay as rare; sensitivity scales it."""
    sparse, busy = boundary(4_320.0, 500.0), boundary(43_200.0, 500.0)
    assert busy - sparse == pytest.approx(np.log(10))
    assert edge(busy, 0.1, 1.33) == pytest.approx(1.33 * edge(busy, 0.1, 1.0))
    assert boundary(0.0, 500.0) == boundary(100.0, 500.0)
