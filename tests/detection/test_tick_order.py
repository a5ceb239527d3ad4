"""The order in which time windows see events: that of their own time, whatever the log did to them within the lateness bound."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.core.batch import CleanBatch, Dimensions, Int64, PartitionId, SeriesKey
from sentinel.core.flags import Flag
from sentinel.core.metrics import METRICS
from sentinel.detection import tick_order
from sentinel.detection.tick_order import CLOCK, LATE_LIMIT_NS, LEAP_NS, NEVER, SECOND_NS
from sentinel.detection.tick_waiting import Waiting

BOUND_NS = 5 * SECOND_NS
START_NS = 1_700_000_000 * SECOND_NS


def batch(ts_ns: Int64, first: int = 0) -> CleanBatch:
    """Events of one series at these times, named by their offset."""
    n = len(ts_ns)
    offsets = np.arange(first, first + n, dtype=np.int64)
    return replace(
        CleanBatch.empty(PartitionId("c", "t", 0), 0),
        offsets=offsets,
        ts_ns=ts_ns,
        names=(SeriesKey("default", "chat", "m"),),
        series=np.zeros(n, np.int32),
        flags=np.zeros(n, np.int32),
        dimension_sets=(Dimensions(provider="p"),),
        dimensions=np.zeros(n, np.int32),
        users=("u",),
        user=np.zeros(n, np.int32),
        trace_ids=[f"trace-{offset}" for offset in offsets.tolist()],
        extra=(None,) * n,
    )


class Reader:
    """A waiting room with its clock, read as a partition would."""

    def __init__(self) -> None:
        self.clock = np.zeros(1, CLOCK)
        for name in ("newest_ns", "horizon_ns", "ahead_ns", "tick_ns"):
            self.clock[0][name] = NEVER
        self.waiting = Waiting()
        self.seen: list[tuple[int, str]] = []

    def read(self, events: CleanBatch) -> None:
        """Let a batch in, and take what is released."""
        n = len(events)
        learned = np.zeros((n, len(METRICS)))
        self._take(self.waiting.arrive(events, np.zeros(n, np.int32), learned, self.clock, BOUND_NS))

    def mark(self, now_ns: int) -> None:
        """A time mark."""
        self.clock[0]["horizon_ns"] = now_ns
        self._take(self.waiting.take_until(now_ns))

    def _take(self, released: np.ndarray) -> None:
        self.seen += [(int(self.waiting.time[slot]), str(self.waiting.words(slot)[0])) for slot in released.tolist()]
        self.waiting.release(released)


def seconds(*at: float) -> Int64:
    """Times since the start."""
    return START_NS + (np.array(at) * SECOND_NS).astype(np.int64)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 60 * SECOND_NS), min_size=2, max_size=60, unique=True), st.randoms(), st.data())
def test_any_order_within_the_bound_and_any_cut_give_the_same(times: list[int], chance: object, data: st.DataObject) -> None:
    """Released in order of event time, each once, whatever the order of arrival within the bound, the cuts, and restarts in between."""
    ordered = START_NS + np.sort(np.array(times))
    delays = np.array([data.draw(st.integers(0, BOUND_NS)) for _ in times])
    shuffled = ordered[np.argsort(ordered + delays, kind="stable")]
    cuts = sorted({0, len(times), *data.draw(st.lists(st.integers(0, len(times)), max_size=5))})
    reader = Reader()
    for first, last in pairwise(cuts):
        reader.read(batch(shuffled[first:last], first))
        kept = reader.waiting.tables()
        reader.waiting = Waiting()
        reader.waiting.load(kept, 1)
    reader.mark(int(ordered[-1]) + 1)
    assert [time for time, _ in reader.seen] == ordered.tolist()
    names = {int(time): f"trace-{offset}" for offset, time in enumerate(shuffled.tolist())}
    assert [name for _, name in reader.seen] == [names[time] for time, _ in reader.seen]
    assert reader.clock[0]["late"] == 0


def test_a_late_event_is_judged_at_the_horizon_and_counted() -> None:
    """Nothing is lost that says something about now: it comes next, with the time of the horizon."""
    reader = Reader()
    reader.read(batch(seconds(0, 100, 20)))
    assert [time for time, _ in reader.seen] == [*seconds(0).tolist(), *seconds(95).tolist()]
    assert reader.clock[0]["late"] == 1


def test_what_is_far_too_late_or_flagged_is_missed() -> None:
    """An event of long ago is a backfill, not traffic of now."""
    reader = Reader()
    events = batch(seconds(0, 1_000, 1_000 - LATE_LIMIT_NS / SECOND_NS - 6, 1_001))
    flags = np.array([0, 0, 0, int(Flag.TOO_OLD)], np.int32)
    reader.read(replace(events, flags=flags))
    reader.mark(START_NS + 2_000 * SECOND_NS)
    assert len(reader.seen) == 2
    assert reader.clock[0]["missed"] == 2


def test_one_broken_clock_does_not_make_all_others_late() -> None:
    """A leap ahead counts only once a second event confirms it."""
    leap = LEAP_NS / SECOND_NS + 100
    reader = Reader()
    reader.read(batch(seconds(0, leap, 1, 2, 10)))
    assert reader.clock[0]["late"] == 0
    assert reader.clock[0]["newest_ns"] == seconds(10)[0]
    reader.read(batch(seconds(leap + 1, leap + 2, leap + 20), 5))
    assert reader.clock[0]["newest_ns"] == seconds(leap + 20)[0]


def test_the_waiting_room_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """More events than fit: the oldest go first, early, and in order; memory does not follow the traffic."""
    if not hasattr(tick_order.arrive, "py_func"):
        monkeypatch.setattr(tick_order, "MOST_WAITING", 50)
    n = 3 * tick_order.MOST_WAITING
    reader = Reader()
    ts_ns = START_NS + np.arange(n, dtype=np.int64)
    for first in range(0, n, 40_000):
        reader.read(batch(ts_ns[first : first + 40_000], first))
    assert reader.waiting.count == tick_order.MOST_WAITING
    assert [time for time, _ in reader.seen] == ts_ns[: n - tick_order.MOST_WAITING].tolist()
