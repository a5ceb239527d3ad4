"""Profiles: a daily or weekly rhythm is learned, foretold once it helps, and left alone where there is none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.core.batch import Float64
from sentinel.detection import profile

STEP_S = 900.0
DAY = int(86_400 / STEP_S)
MONDAY_S = 1_704_067_200.0


def times(days: int) -> Float64:
    """Quarters of an hour from a Monday on."""
    return MONDAY_S + np.arange(days * DAY) * STEP_S


def walked(t_s: Float64, deviations: Float64) -> tuple[np.void, Float64]:
    """A profile that has learned these, and what it expected just before each."""
    rec = np.zeros(1, profile.PROFILE)[0]
    expected = np.empty(len(t_s))
    for i, (t, deviation) in enumerate(zip(t_s.tolist(), deviations.tolist(), strict=True)):
        expected[i] = profile.expected(rec, t)
        profile.learn(rec, t, deviation)
    return rec, expected


def rhythm(t_s: Float64) -> Float64:
    """One wave a day."""
    return 10.0 * np.sin(t_s / 86_400 * 2.0 * np.pi)


def test_a_daily_rhythm_is_foretold_from_the_fourth_day_on() -> None:
    """Two days are learned, one is judged; then most of the rhythm is expected."""
    t_s = times(14)
    _, expected = walked(t_s, rhythm(t_s) + np.random.default_rng(1).normal(size=len(t_s)))
    assert not expected[: 2 * DAY].any()
    late = slice(4 * DAY, None)
    assert np.std(rhythm(t_s)[late] - expected[late]) < 0.2 * np.std(rhythm(t_s)[late])


def test_without_a_rhythm_it_stays_out_of_use() -> None:
    """Pure noise is expected to be nothing, all the time."""
    for seed in range(5):
        t_s = times(40)
        _, expected = walked(t_s, np.random.default_rng(seed).normal(size=len(t_s)))
        assert not expected.any()


def test_weekends_are_learned_after_two_weeks() -> None:
    """Quiet weekends are expected from the fourth weekend on, and weekdays as before."""
    t_s = times(42)
    weekend = (t_s - MONDAY_S) // 86_400 % 7 >= 5
    wave = np.where(weekend, 0.2, 1.0) * (12.0 + rhythm(t_s))
    _, expected = walked(t_s, wave - wave.mean())
    late = np.arange(len(t_s)) >= 28 * DAY
    assert np.mean(np.abs(expected - (wave - wave.mean()))[late & weekend]) < 3.0
    assert np.mean(np.abs(expected - (wave - wave.mean()))[late & ~weekend]) < 1.5


def test_one_bad_day_bends_nothing() -> None:
    """A day a hundred times off moves what is expected the days after by little."""
    t_s = times(21)
    deviations = rhythm(t_s) + np.random.default_rng(1).normal(size=len(t_s))
    _, usual = walked(t_s, deviations)
    spoiled = deviations.copy()
    spoiled[14 * DAY : 15 * DAY] += 1_000.0
    _, expected = walked(t_s, spoiled)
    after = slice(15 * DAY + 4, None)
    assert np.max(np.abs(expected[after] - usual[after])) < 3.0


def test_it_goes_out_of_use_when_the_rhythm_is_gone() -> None:
    """A rhythm that has ended is no longer expected after some days."""
    t_s = times(30)
    _, expected = walked(t_s, np.where(np.arange(len(t_s)) < 12 * DAY, rhythm(t_s), 0.0) + np.random.default_rng(1).normal(size=len(t_s)))
    assert expected[11 * DAY : 12 * DAY].any()
    assert not expected[-DAY:].any()


@pytest.mark.parametrize("t_s", [np.nan, np.inf, -1.0, 1e12])
def test_times_that_are_none_and_values_that_are_not_finite_are_left_out(t_s: float) -> None:
    """They change nothing and nothing is expected of them."""
    rec, _ = walked(times(5), rhythm(times(5)))
    before = rec.tobytes()
    profile.learn(rec, t_s, 1.0)
    profile.learn(rec, MONDAY_S + 5 * 86_400, np.nan)
    assert rec.tobytes() == before
    assert profile.expected(rec, t_s) == 0.0


def test_late_hours_are_left_out() -> None:
    """A value of an hour that has been taken in changes nothing."""
    rec, _ = walked(times(5), rhythm(times(5)))
    before = rec.tobytes()
    profile.learn(rec, MONDAY_S, 1e6)
    assert rec.tobytes() == before


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 1e11), st.floats(-1e100, 1e100)), max_size=60))
def test_any_values_give_finite_expectations(samples: list[tuple[float, float]]) -> None:
    """Whatever comes, in whatever order, what is expected is a number."""
    t_s, deviations = np.array([t for t, _ in samples]), np.array([d for _, d in samples])
    _, expected = walked(t_s, deviations)
    assert np.isfinite(expected).all()
