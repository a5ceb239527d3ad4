"""The gauge: quiet on healthy streams, finds what is rare and no chance, tells it once, and is not poisoned."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import STREAMS

from sentinel.core.batch import Float64, Int64
from sentinel.core.errors import SnapshotError
from sentinel.core.jit import JIT_DISABLED
from sentinel.detection import gauge
from sentinel.detection.gauge import Gauge, Scores
from sentinel.detection.gauge_state import GAUGE, HOLD_S, REGIME, SETTLE

START_S = 1_704_067_200.0
STEP_S = 60.0
VALUES = 2_000 if JIT_DISABLED else 50_000
SEEDS = 1 if JIT_DISABLED else 4
ALLOWED = 0.02 / 1_000
compiled_only = pytest.mark.skipif(JIT_DISABLED, reason="takes minutes in plain Python, and other tests walk the same lines")
Draw = Callable[[np.random.Generator, int], Float64]

HEALTHY: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(100, 15, n),
    **{f"lognormal {s}": lambda rng, n, s=s: rng.lognormal(6, s, n) for s in (0.25, 0.5, 1.0, 1.5)},
    **{f"gamma {s}": lambda rng, n, s=s: rng.gamma(s, 400, n) for s in (0.5, 1.0, 2.0, 5.0)},
    **{f"errors {p}": lambda rng, n, p=p: (rng.random(n) < p).astype(float) for p in (0.001, 0.01, 0.05, 0.2)},
    "60% zero": lambda rng, n: np.where(rng.random(n) < 0.6, 0.0, rng.normal(100, 10, n)),
    "95% zero, lognormal": lambda rng, n: np.where(rng.random(n) < 0.95, 0.0, rng.lognormal(5, 1, n)),
    "99% zero, lognormal": lambda rng, n: np.where(rng.random(n) < 0.99, 0.0, rng.lognormal(5, 1, n)),
    "counts of 3": lambda rng, n: rng.poisson(3, n).astype(float),
    "counts of .1": lambda rng, n: rng.poisson(0.1, n).astype(float),
    "constant": lambda _rng, n: np.full(n, 45.0),
    "two values": lambda rng, n: rng.choice([10.0, 10.0, 10.0, 12.0], n),
    "level 1e9": lambda rng, n: 1e9 + rng.normal(0, 1, n),
}


def scored(values: Float64, step_s: float = STEP_S, threshold: float = 1.0) -> Scores:
    """One series through a new gauge."""
    watched = Gauge(threshold)
    watched.reserve(1)
    return watched.score(np.zeros(len(values), np.int32), START_S + np.arange(len(values)) * step_s, values)


def told(values: Float64, step_s: float = STEP_S, threshold: float = 1.0) -> Int64:
    """The places of the values that were told."""
    return np.flatnonzero(scored(values, step_s, threshold).score >= 1.0)


def noise(n: int = 10_000, seed: int = 5) -> Float64:
    """A healthy series: 100 with a deviation of 10."""
    return np.random.default_rng(seed).normal(100.0, 10.0, n)


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_streams_are_quiet(name: str) -> None:
    """At most .02 alerts per 1,000 values by default on streams without a fault."""
    alerts = sum(len(told(HEALTHY[name](np.random.default_rng(seed), VALUES))) for seed in range(SEEDS))
    assert alerts <= max(ALLOWED * VALUES * SEEDS, 1)


@pytest.mark.parametrize("name", ["normal", "lognormal 1.5", "gamma 0.5", "errors 0.01", "95% zero, lognormal"])
def test_the_first_thousand_values_are_as_quiet(name: str) -> None:
    """A young series does not alert more often than an old one."""
    count = 5 if JIT_DISABLED else 200
    alerts = sum(len(told(HEALTHY[name](np.random.default_rng(1_000 + seed), 1_000))) for seed in range(count))
    assert alerts <= max(ALLOWED * 1_000 * count, 1)


def test_a_run_and_a_spike_are_found_at_once() -> None:
    """Ten values five deviations off are told by their third, a single one twenty deviations off as it comes, in either direction."""
    for sign in (1.0, -1.0):
        values = noise()
        values[6_000:6_010] += sign * 50.0
        values[9_000] += sign * 200.0
        first, second = told(values)
        assert 6_000 <= first <= 6_002
        assert second == 9_000


@compiled_only
def test_a_level_of_a_billion_loses_nothing() -> None:
    """At 1e9 +- 1 a run of five deviations is found as soon as at 0 +- 1."""
    values = 1e9 + np.random.default_rng(5).normal(0, 1, 10_000)
    values[6_000:6_010] += 5.0
    (found,) = told(values)
    assert 6_000 <= found <= 6_002


@pytest.mark.parametrize("step_s", [10.0] if JIT_DISABLED else [10.0, 60.0, 300.0, 3_600.0])
@pytest.mark.parametrize("shift", [10.0] if JIT_DISABLED else [4.0, 10.0, 100.0])
def test_a_new_level_is_told_once(shift: float, step_s: float) -> None:
    """A level shift is one alert, whatever the pace of the values; after it the new level is normal, and leaving it is news."""
    values = noise(12_000)
    values[4_000:8_000] += 10.0 * shift
    up, down = told(values, step_s)
    assert 4_000 <= up <= 4_003
    assert 8_000 <= down <= 8_003


@compiled_only
def test_what_goes_on_is_held_and_what_returns_is_told_again() -> None:
    """During an anomaly scores stay below 1; after `HOLD_S` of quiet the next one is told."""
    quiet = int(HOLD_S / STEP_S)
    values = noise()
    for start in (5_000, 5_000 + quiet // 2, 5_000 + 4 * quiet):
        values[start : start + 6] += 90.0
    scores = scored(values).score
    assert len(np.flatnonzero(scores >= 1.0)) == 2
    assert scores[5_000 + quiet // 2 : 5_006 + quiet // 2].max() == gauge.HELD


@compiled_only
def test_no_anomaly_goes_on_for_ever() -> None:
    """Values that vary three times as much are told a few times at most, then they are what is normal."""
    values = noise(20_000)
    values[4_000:] = 100.0 + 3.0 * (values[4_000:] - 100.0)
    found = told(values)
    assert 4_000 <= found[0] < 4_100
    assert len(found) <= 5
    assert found[-1] < 8_000


@compiled_only
def test_an_absurd_value_does_not_hide_the_next_anomaly() -> None:
    """After 1e12, also among the first values, runs and spikes are found as before, and the band is nearly the same."""
    for place in (3, 5_000):
        values = noise()
        values[place] = 1e12
        values[7_000:7_006] += 60.0
        values[9_000] += 200.0
        found = told(values)
        assert found[-1] == 9_000
        assert 7_000 <= found[-2] <= 7_003


@compiled_only
def test_a_hundred_outliers_do_not_widen_the_band_much() -> None:
    """Outliers of any size among ten thousand values move level and band by less than half the band's width."""
    watched = Gauge()
    watched.reserve(2)
    clean, dirty = noise(), noise()
    dirty[np.arange(50, 10_000, 100)] = 1e9
    t_s = START_S + np.arange(10_000) * STEP_S
    watched.score(np.zeros(10_000, np.int32), t_s, clean)
    watched.score(np.ones(10_000, np.int32), t_s, dirty)
    (centre, low, high), (spoiled, _, _) = watched.band(0, t_s[-1]), watched.band(1, t_s[-1])
    assert abs(spoiled - centre) < 0.25 * (high - low)
    dirty_spread = watched.tables()["gauges"][1]["spans"][0]["spread"]
    assert dirty_spread < 2.0 * watched.tables()["gauges"][0]["spans"][0]["spread"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
def test_what_is_no_measurement_changes_nothing(value: float) -> None:
    """NaN, infinity and numbers beyond any measurement are scored 0 and not learned; a time that is none likewise."""
    values = noise(3_000)
    with_gaps = np.insert(values, [10, 1_000, 2_999], value)
    t_s = START_S + np.arange(3_000) * STEP_S
    watched = Gauge()
    watched.reserve(2)
    watched.score(np.zeros(3_000, np.int32), t_s, values)
    scores = watched.score(np.ones(3_003, np.int32), np.insert(t_s, [10, 1_000, 2_999], START_S), with_gaps)
    watched.score(np.ones(1, np.int32), np.array([np.nan]), np.array([1e6]))
    records = watched.tables()["gauges"]
    assert records[0].tobytes() == records[1].tobytes()
    assert scores.score[10] == scores.score[1_001] == 0.0


def test_in_a_constant_a_jump_is_news_and_a_single_other_value_is_not() -> None:
    """After thousands of equal values one that differs may be chance, but not two in a row."""
    values = np.full(9_000, 45.0)
    values[5_000] = 46.0
    assert not len(told(values))
    values[7_000:] = 46.0
    (found,) = told(values)
    assert found in {7_000, 7_001}


@compiled_only
def test_a_burst_of_errors_is_found() -> None:
    """Where one in a hundred is 1, twenty ones in a row are told by the sixth."""
    values = (np.random.default_rng(8).random(10_000) < 0.01).astype(float)
    values[9_000:9_020] = 1.0
    (found,) = told(values)
    assert 9_002 <= found <= 9_005


@compiled_only
def test_a_dip_against_the_daily_rhythm_is_found() -> None:
    """At noon a value that is usual at night is news once the rhythm is known."""
    t_s = START_S + np.arange(20 * 288) * 300.0
    values = 100.0 + 50.0 * np.sin(t_s / 86_400 * 2.0 * np.pi) + np.random.default_rng(1).normal(0, 3, len(t_s))
    peak = 15 * 288 + 72
    quiet, values[peak : peak + 12] = told(values, 300.0), 60.0
    found = told(values, 300.0)
    assert not np.any(np.abs(quiet - peak) < 36)
    assert np.any((found >= peak) & (found < peak + 3))


@pytest.mark.parametrize("name", STREAMS)
def test_any_cutting_and_any_restore_give_the_same_bits(name: str) -> None:
    """One batch, many, or a restart from a snapshot after each: scores and state are the same."""
    n = 800
    rng = np.random.default_rng(7)
    values, rows = STREAMS[name](rng, n), rng.integers(0, 3, n).astype(np.int32)
    t_s = START_S + np.arange(n) * 20.0
    whole = Gauge()
    whole.reserve(3)
    expected = whole.score(rows, t_s, values).score
    parts: list[Float64] = []
    cut = Gauge()
    cut.reserve(3)
    for index in np.array_split(np.arange(n), sorted(rng.integers(0, n, 25))):
        restored = Gauge()
        restored.load(cut.tables())
        parts.append(restored.score(rows[index], t_s[index], values[index]).score)
        cut = restored
    assert np.concatenate(parts).tobytes() == expected.tobytes()
    assert cut.tables()["gauges"].tobytes() == whole.tables()["gauges"].tobytes()


def test_series_do_not_touch_each_other() -> None:
    """What one series does, and how many there are, changes nothing for another."""
    values = noise(1_000)
    alone = scored(values).score
    many = Gauge()
    many.reserve(1)
    many.reserve(20)
    rows = np.tile(np.arange(20, dtype=np.int32), 1_000)
    others = np.random.default_rng(2).lognormal(3, 2, 20_000)
    others[rows == 17] = values
    together = many.score(rows, np.repeat(START_S + np.arange(1_000) * STEP_S, 20), others).score
    assert together[rows == 17].tobytes() == alone.tobytes()


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=150), st.floats(-1e300, 1e300))
def test_any_numbers_give_a_score(samples: list[tuple[float, float]], last: float) -> None:
    """Whatever comes, in whatever order of time, scores are numbers from 0 up."""
    values = np.append(np.array([value for value, _ in samples]), [last, last])
    t_s = np.append(np.array([t for _, t in samples]), [0.0, 1.0])
    watched = Gauge()
    watched.reserve(1)
    scores = watched.score(np.zeros(len(values), np.int32), t_s, values).score
    assert np.all(scores >= 0.0)
    assert np.all(np.isfinite(scores))


@compiled_only
def test_a_higher_threshold_tells_less() -> None:
    """Scores are divided by it: what is told at 1.33 is a part of what is told at 1."""
    values = noise(20_000)
    for i, size in enumerate(np.linspace(30.0, 120.0, 12)):
        values[1_500 * (i + 1) : 1_500 * (i + 1) + 12] += size
    usual, fewer = told(values), told(values, threshold=1.33)
    assert 0 < len(fewer) < len(usual)


@compiled_only
def test_the_band_holds_healthy_values() -> None:
    """Before anything is known there is no band; then single values leave it once in some thousand."""
    watched = Gauge()
    watched.reserve(1)
    assert np.isnan(watched.band(0, START_S)).all()
    values = noise(8_000)
    t_s = START_S + np.arange(8_000) * STEP_S
    watched.score(np.zeros(8_000, np.int32), t_s, values)
    expected, lower, upper = watched.band(0, t_s[-1])
    assert expected == pytest.approx(100.0, abs=3.0)
    assert np.mean((values < lower) | (values > upper)) < 0.002
    assert upper - lower < 120.0


@compiled_only
def test_what_is_told_comes_with_what_was_expected() -> None:
    """Alerts carry centre and band of just before; all other values have none."""
    values = noise()
    values[6_000:6_010] += 90.0
    scores = scored(values)
    alert = scores.score >= 1.0
    assert scores.expected[alert] == pytest.approx(100.0, abs=5.0)
    assert np.all(scores.lower[alert] < scores.expected[alert])
    assert np.all(scores.expected[alert] < scores.upper[alert])
    assert np.isnan(scores.expected[~alert]).all()
    assert np.isnan(scores.upper[~alert]).all()


def test_accepting_makes_the_present_level_normal() -> None:
    """After `accept` the values of an anomaly that goes on are expected at once, without waiting for `REGIME` values."""
    values = noise(5_000 + REGIME)
    values[5_000:] += 100.0
    watched = Gauge()
    watched.reserve(1)
    watched.accept(0)
    t_s = START_S + np.arange(len(values)) * STEP_S
    first = 5_000 + SETTLE
    watched.score(np.zeros(first, np.int32), t_s[:first], values[:first])
    assert watched.band(0, t_s[first])[0] < 120.0
    watched.accept(0)
    assert watched.band(0, t_s[first])[0] == pytest.approx(200.0, abs=10.0)


def test_a_restarted_row_is_as_new() -> None:
    """Rows given to other series know nothing of those before."""
    watched = Gauge()
    watched.reserve(1)
    watched.score(np.zeros(500, np.int32), START_S + np.arange(500.0), noise(500))
    watched.restart(np.zeros(1, np.int32))
    assert not any(watched.tables()["gauges"][0].tobytes())


@pytest.mark.parametrize("tables", [{}, {"gauges": np.zeros(3)}, {"gauges": np.zeros((1, 1), GAUGE)}])
def test_foreign_state_is_refused(tables: dict[str, Float64]) -> None:
    """State of another format raises and changes nothing."""
    watched = Gauge()
    watched.reserve(1)
    before = watched.tables()["gauges"].tobytes()
    with pytest.raises(SnapshotError, match="learned again"):
        watched.load(tables)
    assert watched.tables()["gauges"].tobytes() == before


@pytest.mark.parametrize("row", [-1, 16, 2**31 - 1])
def test_rows_that_are_not_reserved_are_refused(row: int) -> None:
    """A row outside the gauge raises and touches no memory."""
    watched = Gauge()
    watched.reserve(1)
    assert len(watched) == 16
    with pytest.raises(IndexError, match="not all reserved"):
        watched.score(np.array([0, row], np.int32), np.zeros(2), np.zeros(2))
    assert not any(watched.tables()["gauges"].tobytes())
