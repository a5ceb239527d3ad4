"""The kernel: exact statistics before every sample."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import STREAMS

from sentinel.core.batch import Float64, Int32
from sentinel.detection.windows import Stats, Windows

SIZE, ROWS, SAMPLES = 60, 3, 500


def rolled(values: Float64, rows: Int32, size: int = SIZE) -> Stats:
    """One batch through new windows, put back into arrival order."""
    windows = Windows(size)
    windows.reserve(int(rows.max(initial=0)) + 1)
    order = np.argsort(rows, kind="stable")
    stats = windows.roll(values[order], rows[order])
    return stats.take(np.argsort(order))


@pytest.mark.parametrize("name", STREAMS)
def test_statistics_before_each_sample_equal_numpy(name: str) -> None:
    """Order statistics equal numpy's to the bit; mean and deviation to 1e-9 of the spread, whatever passed through before."""
    rng = np.random.default_rng(7)
    values, rows = STREAMS[name](rng, SAMPLES), rng.integers(0, ROWS, SAMPLES).astype(np.int32)
    stats = rolled(values, rows)
    history: list[list[float]] = [[] for _ in range(ROWS)]
    for i, (value, row) in enumerate(zip(values.tolist(), rows.tolist(), strict=True)):
        window = np.array(history[row][-SIZE:])
        if np.isnan(value) or not len(window):
            assert stats.n[i] == 0
        else:
            check(stats, i, window)
        if not np.isnan(value):
            history[row].append(value)


def check(stats: Stats, i: int, window: Float64) -> None:
    """The statistics of sample i against numpy on its window."""
    median = np.median(window)
    assert stats.n[i] == len(window)
    assert stats.median[i] == median
    assert (stats.q1[i], stats.q3[i]) == tuple(np.quantile(window, [0.25, 0.75]))
    assert stats.mad[i] == np.median(np.abs(window - median))
    sd = window.std(ddof=1) if len(window) > 1 else 0.0
    assert stats.mean[i] == pytest.approx(window.mean(), rel=1e-12, abs=1e-9 * sd)
    assert stats.sd[i] == pytest.approx(sd, rel=1e-9, abs=1e-12 * max(1.0, abs(window.mean())))


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(-1e15, 1e15, allow_nan=False).map(float), min_size=1, max_size=80),
    size=st.integers(1, 9),
)
def test_any_values_keep_the_window_sorted_and_exact(values: list[float], size: int) -> None:
    """Whatever comes, the window holds the last samples, sorted, and its median is theirs."""
    windows = Windows(size)
    windows.reserve(1)
    windows.roll(np.array(values), np.zeros(len(values), np.int32))
    assert windows.sorted_samples(0).tolist() == sorted(values[-size:])


def test_any_cutting_gives_the_same_bits() -> None:
    """One batch or many: every statistic has the same bits."""
    rng = np.random.default_rng(3)
    values = rng.lognormal(5, 1, 400)
    whole = Windows(50)
    whole.reserve(1)
    expected = whole.roll(values, np.zeros(400, np.int32))
    cut = Windows(50)
    cut.reserve(1)
    parts = [cut.roll(part, np.zeros(len(part), np.int32)) for part in np.split(values, [1, 2, 49, 50, 51, 333])]
    for column in ("mean", "sd", "median", "q1", "q3", "mad"):
        assert np.concatenate([getattr(part, column) for part in parts]).tobytes() == getattr(expected, column).tobytes()


def test_growth_keeps_what_was_learned() -> None:
    """More rows than were reserved first: the old windows stay as they are."""
    windows = Windows(4)
    windows.reserve(1)
    windows.roll(np.array([1.0, 2.0, 3.0]), np.zeros(3, np.int32))
    windows.reserve(1000)
    assert windows.sorted_samples(0).tolist() == [1.0, 2.0, 3.0]
    assert windows.count(999) == 0


def test_without_ranks_moments_stay_the_same() -> None:
    """Skipping the order statistics changes nothing else."""
    values, rows = np.random.default_rng(1).normal(size=200), np.zeros(200, np.int32)
    with_ranks, without = Windows(30), Windows(30)
    with_ranks.reserve(1)
    without.reserve(1)
    full, short = with_ranks.roll(values, rows), without.roll(values, rows, ranks=False)
    assert full.mean.tobytes() == short.mean.tobytes()
    assert with_ranks.sorted_samples(0).tobytes() == without.sorted_samples(0).tobytes()


def test_moments_of_an_empty_and_a_single_window() -> None:
    """No sample has no mean; one sample has no spread."""
    windows = Windows(4)
    windows.reserve(2)
    windows.roll(np.array([5.0]), np.array([1], np.int32))
    assert np.isnan(windows.moments(0)).all()
    assert windows.moments(1) == (5.0, 0.0)
