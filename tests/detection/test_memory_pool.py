"""Memory of windows: it follows their samples, comes back, and is never two windows' at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_windows import learn, new, one_row

from sentinel.core.jit import JIT_DISABLED
from sentinel.detection.windows import Arrivals, Windows
from sentinel.detection.windows_learn import FORGET_ALL, FORGET_OLD, KEPT_IDLE
from sentinel.detection.windows_pool import SLACK_BYTES, Pool
from sentinel.detection.windows_watch import FIRED, JUDGES, Limits

ROWS = 12

compiled = pytest.mark.skipif(JIT_DISABLED, reason="a million samples need compiled kernels")


@pytest.mark.parametrize("size", [1, 4, 8, 9, 16, 40, 100, 1000, 1001, 5000, 100_000])
def test_tiers_double(size: int) -> None:
    """Every number of samples up to a full window has a block at most about twice as large, and never less than one line of memory."""
    capacities = Pool(size).tiers["capacity"]
    assert capacities[-1] == -(-size // 8) * 8
    assert capacities[0] <= 24
    assert (np.diff(capacities) > 0).all()
    assert (capacities[1:] <= 2 * capacities[:-1]).all()


def test_a_full_window_costs_what_its_samples_cost() -> None:
    """A record of 64 bytes, and its thousand samples twice."""
    windows = new(1000)
    learn(windows, np.arange(1500.0), one_row(1500))
    assert windows._state.itemsize + 16 * int(windows._state["capacity"][0]) == 16_064


def test_a_window_without_samples_has_no_block() -> None:
    """A series whose events lack a metric costs a record for it and nothing else."""
    windows = new(1000, 2)
    learn(windows, np.full(50, np.nan), one_row(50))
    assert windows._pool.held_bytes == 0
    assert not windows._state["at"].any()


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, ROWS - 1), st.integers(0, 150), st.sampled_from((0, 0, 0, FORGET_OLD, FORGET_ALL))), max_size=40))
def test_windows_never_disturb_each_other(steps: list[tuple[int, int, int]]) -> None:
    """Windows that grow, shrink and vanish in any order: each holds its own last samples, and no two blocks overlap."""
    windows, history = new(100, ROWS), [np.empty(0)] * ROWS
    for step, (row, n, what) in enumerate(steps):
        if what:
            windows.forget(np.array([row], np.int32), what)
            history[row] = history[row][-KEPT_IDLE:] if what == FORGET_OLD else np.empty(0)
        values = step + np.arange(n) / 1000
        learn(windows, values, np.full(n, row, np.int32))
        history[row] = np.concatenate((history[row], values))[-100:]
    for row, window in enumerate(history):
        assert windows.sorted_samples(row).tolist() == sorted(window)
    held = np.flatnonzero(windows._state["at"])
    order = held[np.argsort(windows._state["at"][held])]
    ends = windows._state["at"][order] + 16 * windows._state["capacity"][order].astype(np.int64)
    assert (windows._state["at"][order][1:] >= ends[:-1]).all()


def filled(size: int, rows: int, samples: int) -> Windows:
    """Windows with so many samples each."""
    windows = new(size, rows)
    learn(windows, np.arange(float(rows * samples)), np.tile(np.arange(rows, dtype=np.int32), samples))
    return windows


def test_growing_moves_no_other_window() -> None:
    """A window that grows is copied alone: all others stay where they are."""
    windows = filled(1000, 400, 20)
    before = windows._state["at"].copy()
    learn(windows, np.arange(1000.0), one_row(1000))
    assert (windows._state["at"][1:400] == before[1:400]).all()
    assert windows._state["at"][0] != before[0]


@compiled
def test_memory_that_nobody_needs_is_given_back() -> None:
    """Windows that became idle: what they hold shrinks with them, whole slabs go back, and every window is what it was."""
    rows = 3000
    windows = filled(1000, rows, 300)
    at_most = windows.held_bytes
    kept = [windows.sorted_samples(row) for row in range(rows)]
    windows.forget(np.arange(0, rows, 2, dtype=np.int32), FORGET_OLD)
    windows.forget(np.arange(1, rows - 100, 2, dtype=np.int32), FORGET_OLD)
    assert windows.held_bytes < at_most / 2
    used = (16 * windows._pool.tiers["used"] * windows._pool.tiers["capacity"]).sum()
    assert windows._pool.held_bytes < 2 * used + 2 * SLACK_BYTES
    for row in range(rows):
        idle = row % 2 == 0 or row < rows - 100
        expected = kept[row][-KEPT_IDLE:] if idle else kept[row]
        assert windows.sorted_samples(row).tolist() == expected.tolist()
    learn(windows, np.full(rows, -1.0), np.arange(rows, dtype=np.int32))
    assert all(windows.sorted_samples(row)[0] == -1.0 for row in range(rows))


@compiled
def test_windows_in_lockstep_do_not_leave_their_old_blocks_behind() -> None:
    """All windows grow at the same time through all tiers: blocks that were left are handed out again or given back."""
    windows = filled(1000, 2000, 600)
    used = (16 * windows._pool.tiers["used"] * windows._pool.tiers["capacity"]).sum()
    assert windows._pool.held_bytes < 1.6 * used + 8 * SLACK_BYTES


def test_an_idle_window_goes_on_as_if_it_had_begun_with_its_last_samples() -> None:
    """Whether it is cut at once or with its next sample, and whether its ring had wrapped or not: the same bits as a younger window."""
    values = np.random.default_rng(2).lognormal(5, 1, 900)
    limits = Limits(200, 5, 1.0, zscore=2.0, iqr=1.0, mad=2.0, cusum=2.0, drift=0.5)
    for learned in (65, 150, 200, 333):
        at_once, later, young = new(200), new(200), new(200)
        for windows in (at_once, later):
            learn(windows, values[:learned], one_row(learned))
        learn(young, values[learned - KEPT_IDLE : learned], one_row(KEPT_IDLE))
        at_once.forget(one_row(1), FORGET_OLD)
        room = np.empty((JUDGES, 500), FIRED)
        marks = np.zeros(500, np.int8)
        marks[0] = FORGET_OLD
        _, counts = later.watch(Arrivals.of(values[400:].reshape(-1, 1), one_row(500), marks), 0, limits, room)
        assert sum(counts) > 20
        for detector, found in enumerate(learn(at_once, values[400:], one_row(500), limits)):
            assert found.tobytes() == room[detector, : counts[detector]].tobytes()
        learn(young, values[400:], one_row(500))
        assert at_once.sorted_samples(0).tolist() == later.sorted_samples(0).tolist() == young.sorted_samples(0).tolist()
        assert at_once.moments(0) == later.moments(0) == pytest.approx(young.moments(0), rel=1e-12)


def test_a_row_given_to_another_starts_empty() -> None:
    """FORGET_ALL in the middle of a batch: samples before the mark belong to the old window, the others to a new one."""
    limits = Limits(50, 10, 1.0, zscore=3.0)
    values = np.concatenate((np.tile([99.0, 101.0], 20), [5000.0], np.tile([4999.0, 5001.0], 10)))
    marks = np.zeros(len(values), np.int8)
    marks[40] = FORGET_ALL
    windows, room = new(50), np.empty((JUDGES, len(values)), FIRED)
    _, counts = windows.watch(Arrivals.of(values.reshape(-1, 1), one_row(len(values)), marks), 0, limits, room)
    assert sum(counts) == 0
    assert windows.sorted_samples(0).tolist() == sorted(values[40:])
