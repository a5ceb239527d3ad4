"""The kernel: exact statistics before every sample."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import STREAMS

from sentinel.core.batch import Float64, Int32
from sentinel.detection.windows import Arrivals, Windows
from sentinel.detection.windows_order import deviation, lower_bound, middle, quantile
from sentinel.detection.windows_watch import FIRED, JUDGES, Limits, Seen, seen

SIZE, ROWS, SAMPLES = 60, 3, 500


def learn(windows: Windows, values: Float64, rows: Int32, limits: Limits | None = None) -> list[np.ndarray]:
    """One batch through windows; what each detector fired on."""
    n = len(values)
    arrivals = Arrivals.of(values.reshape(n, 1), rows, np.zeros(n, np.int8))
    room = np.empty((JUDGES, n), FIRED)
    _, counts = windows.watch(arrivals, 0, limits or Limits(windows.size, 1, 1.0), room)
    return [room[detector, :count].copy() for detector, count in enumerate(counts)]


def one_row(n: int) -> Int32:
    """All samples are of the first window."""
    return np.zeros(n, np.int32)


def new(size: int, rows: int = 1) -> Windows:
    """Empty windows."""
    windows = Windows(size)
    windows.reserve(rows)
    return windows


@pytest.mark.parametrize("name", STREAMS)
def test_statistics_before_each_sample_equal_numpy(name: str) -> None:
    """Order statistics equal numpy's to the bit; mean and deviation to 1e-9 of the spread, whatever passed through before."""
    rng = np.random.default_rng(7)
    values, rows = STREAMS[name](rng, SAMPLES), rng.integers(0, ROWS, SAMPLES).astype(np.int32)
    windows = new(SIZE, ROWS)
    history: list[list[float]] = [[] for _ in range(ROWS)]
    for i, row in enumerate(rows.tolist()):
        window = np.array(history[row][-SIZE:])
        assert windows.count(row) == len(window)
        if len(window):
            check(seen(windows._state[row], True), window)
        if not np.isnan(values[i]):
            history[row].append(float(values[i]))
        learn(windows, values[i : i + 1], rows[i : i + 1])


def check(was: Seen, window: Float64) -> None:
    """Statistics against numpy on the window."""
    median = np.median(window)
    assert was.samples == len(window)
    assert was.median == median
    assert (was.q1, was.q3) == tuple(np.quantile(window, [0.25, 0.75]))
    assert was.mad == np.median(np.abs(window - median))
    sd = window.std(ddof=1) if len(window) > 1 else 0.0
    assert was.mean == pytest.approx(window.mean(), rel=1e-12, abs=1e-9 * sd)
    assert was.sd == pytest.approx(sd, rel=1e-9, abs=1e-12 * max(1.0, abs(window.mean())))


@pytest.mark.parametrize(
    ("level", "spread", "spike"),
    [(1e9, 1.0, None), (1e12, 1e-3, None), (0.0, 1.0, 1e12), (5e-5, 1e-5, None), (250.0, 0.0, None), (250.0, 0.0, 1e12)],
)
def test_nothing_drifts_over_a_hundred_wraps(level: float, spread: float, spike: float | None) -> None:
    """A high level, a passing spike, constants and tiny costs: at any time mean and deviation are those of the window."""
    rng = np.random.default_rng(3)
    windows, size = new(50), 50
    values = level + spread * rng.standard_normal(100 * size + 17)
    if spike is not None:
        values[rng.integers(0, len(values) - 3 * size, 40)] = spike
    for cut in range(0, len(values), 501):
        learn(windows, values[cut : cut + 501], one_row(len(values[cut : cut + 501])))
        window = values[: cut + 501][-size:]
        mean, sd = windows.moments(0)
        assert mean == pytest.approx(window.mean(), rel=1e-15, abs=1e-9 * window.std())
        assert sd == pytest.approx(window.std(ddof=1), rel=1e-9, abs=np.spacing(abs(window.mean())))


@settings(max_examples=60)
@given(
    values=st.lists(st.floats(-1e15, 1e15, allow_nan=False).map(float), min_size=1, max_size=80),
    size=st.integers(1, 70),
)
def test_any_values_keep_the_window_sorted_and_exact(values: list[float], size: int) -> None:
    """Whatever comes, the window holds the last samples, sorted."""
    windows = new(size)
    learn(windows, np.array(values), one_row(len(values)))
    assert windows.sorted_samples(0).tolist() == sorted(values[-size:])


@settings(max_examples=200)
@given(values=st.lists(st.integers(-5, 30).map(float), min_size=1, max_size=60), guess=st.integers(0, 70))
def test_order_statistics_of_any_values(values: list[float], guess: int) -> None:
    """Median, quartiles and deviation equal numpy's, ties or not, from wherever the search for the deviation starts."""
    ordered = np.sort(values)
    address, n = ordered.ctypes.data, len(ordered)
    median = float(np.median(ordered))
    assert middle(address, n) == median
    assert [quantile(address, n, share) for share in (0.0, 0.25, 0.75, 1.0)] == np.quantile(ordered, [0, 0.25, 0.75, 1]).tolist()
    assert deviation(address, n, median, guess)[0] == np.median(np.abs(ordered - median))
    assert lower_bound(address, n, values[0]) == np.searchsorted(ordered, values[0])


def test_any_cutting_gives_the_same_bits() -> None:
    """One batch or many: whatever fires has the same bits, and the same is learned."""
    values = np.random.default_rng(3).lognormal(5, 1, 400)
    limits = Limits(50, 2, 1.0, zscore=1.0, iqr=0.1, mad=0.5, cusum=1.0, drift=0.1)
    whole, cut = new(50), new(50)
    expected = learn(whole, values, one_row(400), limits)
    parts = [learn(cut, part, one_row(len(part)), limits) for part in np.split(values, [1, 2, 49, 50, 51, 333])]
    assert min(map(len, expected)) > 20
    for detector, found in enumerate(expected):
        together = np.concatenate([part[detector] for part in parts])
        for name in set(FIRED.names or ()) - {"event"}:
            assert together[name].tobytes() == found[name].tobytes()
    assert whole.export(1)[0].tobytes() == cut.export(1)[0].tobytes()


def test_only_what_is_watched_is_computed() -> None:
    """Without detectors of ranks there are no ranks in what is written down, and the moments are the same."""
    values = np.random.default_rng(1).normal(size=200)
    with_ranks, without = new(30), new(30)
    full = learn(with_ranks, values, one_row(200), Limits(30, 2, 0.1, zscore=1.0, mad=3.0))[0]
    short = learn(without, values, one_row(200), Limits(30, 2, 0.1, zscore=1.0))[0]
    assert len(full)
    assert full["mean"].tobytes() == short["mean"].tobytes()
    assert np.isnan(short["median"]).all()
    assert not np.isnan(full["median"]).any()


def test_growth_keeps_what_was_learned() -> None:
    """More rows than were reserved first: the old windows stay as they are."""
    windows = new(4)
    learn(windows, np.array([1.0, 2.0, 3.0]), one_row(3))
    windows.reserve(1000)
    assert windows.sorted_samples(0).tolist() == [1.0, 2.0, 3.0]
    assert windows.count(999) == 0


def test_moments_of_an_empty_and_a_single_window() -> None:
    """No sample has no mean; one sample has no spread."""
    windows = new(4, 2)
    learn(windows, np.array([5.0]), np.array([1], np.int32))
    assert np.isnan(windows.moments(0)).all()
    assert windows.moments(1) == (5.0, 0.0)


def test_sums_restart() -> None:
    """Cumulative sums begin at zero when they are told to."""
    windows, limits = new(30), Limits(30, 5, 1.0, cusum=100.0, drift=0.0)
    learn(windows, np.arange(30.0), one_row(30), limits)
    assert windows.export(1)[0]["up"][0] > 0
    windows.restart_sums()
    assert windows.export(1)[0]["up"][0] == 0
