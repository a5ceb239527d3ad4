"""Tails: calibrated on any distribution, bounded in influence, never sharper than what was seen."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.core.batch import Float64
from sentinel.core.jit import JIT_DISABLED
from sentinel.detection import tail

N = 2_000 if JIT_DISABLED else 60_000
Draw = Callable[[np.random.Generator, int], Float64]
DRAWS: dict[str, Draw] = {
    "normal, both sides": lambda rng, n: np.abs(rng.normal(size=n)),
    "normal, one side": lambda rng, n: np.maximum(rng.normal(size=n), 0.0),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "gamma .5": lambda rng, n: rng.gamma(0.5, size=n),
    "lognormal 1.5": lambda rng, n: rng.lognormal(0.0, 1.5, n),
    "t, 3 degrees": lambda rng, n: np.abs(rng.standard_t(3, n)),
}


def empty() -> np.void:
    """A tail that has seen nothing."""
    return np.zeros(1, tail.TAIL)[0]


def filled(values: Float64) -> np.void:
    """A tail that has learned these values."""
    rec = empty()
    for value in values.tolist():
        tail.learn(rec, value, 1.0)
    return rec


@pytest.mark.parametrize("name", DRAWS)
def test_probabilities_are_calibrated_from_the_bulk_into_the_tail(name: str) -> None:
    """What has probability p happens in about p of all cases, or more rarely: p is accurate or mild, whatever the distribution."""
    rec = empty()
    values = DRAWS[name](np.random.default_rng(1), N)
    p = np.array([tail.score_then_learn(rec, value) for value in values.tolist()])
    for wanted, low, high in ((0.3, 0.85, 1.1), (0.1, 0.85, 1.1), (0.02, 0.6, 1.2), (0.001, 0.2, 1.8)):
        if wanted * N >= (500 if JIT_DISABLED else 50):
            assert low < np.mean(p <= wanted) / wanted < high, wanted


@pytest.mark.parametrize("name", DRAWS)
def test_the_far_tail_is_extrapolated_not_guessed(name: str) -> None:
    """The deviation of probability 1e-5, from a memory's worth of values, is in the median not exceeded ten times as often."""
    draw = DRAWS[name]
    limits = [tail.deviation_at(filled(draw(np.random.default_rng(seed), 4_000)), 1e-5) for seed in range(5)]
    assert np.mean(draw(np.random.default_rng(99), 2_000_000) > np.median(limits)) < 1e-4


def test_nothing_is_judged_during_warm_up() -> None:
    """Before `WARM_UP` values every probability is 1, and no deviation is known."""
    rec = filled(np.ones(tail.WARM_UP - 1))
    assert tail.exceedance(rec, 1e6) == 1.0
    assert tail.deviation_at(rec, 0.01) == np.inf
    tail.learn(rec, 1.0, 1.0)
    assert tail.exceedance(rec, 1e6) < 0.1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.0])
def test_what_is_no_deviation_is_left_out(value: float) -> None:
    """NaN, infinity and negative values change nothing, and are nothing unusual where they are not above zero."""
    rec = filled(np.random.default_rng(1).exponential(size=200))
    before = rec.tobytes()
    tail.learn(rec, value, 1.0)
    assert rec.tobytes() == before
    if not value > 0:
        assert tail.exceedance(rec, value) == 1.0


@settings(max_examples=50)
@given(
    values=st.lists(st.floats(0, 1e300), min_size=40, max_size=200),
    first=st.floats(0, 1e300),
    second=st.floats(0, 1e300),
)
def test_further_is_never_more_probable(values: list[float], first: float, second: float) -> None:
    """Whatever was learned, probabilities are within 0 and 1 and fall with the deviation."""
    rec = filled(np.array(values))
    near, far = sorted((first, second))
    assert 0.0 <= tail.exceedance(rec, far) <= tail.exceedance(rec, near) + 1e-12 <= 1.0 + 1e-12


def test_deviation_at_is_the_inverse() -> None:
    """Beyond all values exactly, within them to a bin."""
    rec = filled(np.random.default_rng(1).exponential(size=4_000))
    assert tail.exceedance(rec, tail.deviation_at(rec, 1e-6)) == pytest.approx(1e-6, rel=1e-9)
    for probability in (0.5, 0.1, 0.01):
        assert tail.exceedance(rec, tail.deviation_at(rec, probability)) == pytest.approx(probability, rel=0.2)


def test_an_absurd_value_has_bounded_influence() -> None:
    """One value of 1e12 moves the limit of one in ten thousand by less than a fifth; it does not hide the next."""
    values = np.random.default_rng(1).exponential(size=4_000)
    before = tail.deviation_at(filled(values), 1e-4)
    rec = filled(np.append(values, [1e12] * 1 + [1.0] * tail.REFIT))
    assert tail.deviation_at(rec, 1e-4) < 1.2 * before
    assert tail.exceedance(rec, 2.0 * before) < 1e-4


def test_the_first_values_do_not_poison() -> None:
    """An absurd value among the first, before there is any tail, is as good as forgotten after a thousand values."""
    values = np.random.default_rng(1).exponential(size=1_000)
    clean, absurd = filled(values), filled(np.append([1e12], values))
    assert tail.deviation_at(absurd, 1e-3) < 1.3 * tail.deviation_at(clean, 1e-3)


def test_lattices_are_never_rarer_than_counted() -> None:
    """Where one value in fifty is 1 and the others are 0, a 1 has probability .02, and a 2, never seen, is not one in a million."""
    rec = filled((np.arange(5_000) % 50 == 7).astype(float))
    assert tail.exceedance(rec, 1.0) == pytest.approx(0.02, rel=0.1)
    rare = filled((np.arange(5_000) % 1_000 == 7).astype(float))
    assert tail.exceedance(rare, 2.0) >= 0.5 / 5_001
    assert tail.onward(rare, 1.0, 100.0) == 1.0


def test_a_constant_has_no_tail_to_extrapolate() -> None:
    """After n zeros anything that is more than rounding has probability 1 / 2n, no matter how far away it is."""
    rec = filled(np.zeros(1_000))
    assert tail.exceedance(rec, tail.LOWEST) == tail.exceedance(rec, 1e6) == pytest.approx(0.5 / 1_001)


def test_the_past_is_forgotten() -> None:
    """After a few memories of values ten times larger, their limits hold."""
    rng = np.random.default_rng(1)
    rec = filled(np.append(rng.exponential(size=2_000), 10.0 * rng.exponential(size=int(3 * tail.MEMORY))))
    assert tail.deviation_at(rec, 0.02) == pytest.approx(-10.0 * np.log(0.02), rel=0.15)


def test_weights_and_fading_count() -> None:
    """Ten values of weight .1 count as one; what was faded to a tenth counts as a tenth."""
    rec = filled(np.zeros(990))
    for _ in range(10):
        tail.learn(rec, 5.0, 0.1)
    assert tail.exceedance(rec, 5.0) == pytest.approx(1.5 / 992, rel=1e-3)
    tail.fade(rec, 0.1)
    assert rec["total"] == pytest.approx(99.1)


def test_onward_errs_to_the_safe_side() -> None:
    """The chance to go on from a far value to one twice as far is above the true one, and 1 where nothing is known."""
    rec = filled(np.random.default_rng(1).exponential(size=4_000))
    assert np.exp(-6.0) < tail.onward(rec, 6.0, 12.0) < 0.2
    assert tail.onward(rec, 6.0, 6.0) == tail.onward(empty(), 6.0, 12.0) == 1.0
