"""Events that wait for their turn: slots for their numbers, and where their names are kept until they are released."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from sentinel.core.batch import CleanBatch, Dimensions, Float64, Int32, Int64
from sentinel.core.metrics import METRICS
from sentinel.detection.tick_order import arrive, pop

FEWEST_SLOTS: Final = 1_024
Words = tuple[str | None, str | None, Dimensions]
"""Trace id, user and dimensions of an event."""


@dataclass(slots=True)
class Origin:
    """What is kept of a batch for its events that wait: their names, and how many of them still do."""

    trace_ids: Sequence[str | None]
    users: Sequence[str | None]
    user: Int32
    dimension_sets: Sequence[Dimensions]
    dimensions: Int32
    left: int

    def words(self, place: int) -> Words:
        """The names of one event."""
        return self.trace_ids[place], self.users[self.user[place]], self.dimension_sets[self.dimensions[place]]


class Waiting:
    """The events of a partition that wait until the horizon reaches them.

    Attributes:
        time, offset: int64[s], the time each slot is judged at, and its place in the log.
        row: int32[s], its series; metrics: float64[s, len(METRICS)].
        count: how many wait.
    """

    __slots__ = ("_arrival", "_batches", "_free", "_heap", "_origin", "_origins", "_place", "count", "metrics", "offset", "row", "time")

    def __init__(self) -> None:
        self.count = 0
        self._batches = 0
        self._origins: dict[int, Origin] = {}
        self._allocate(FEWEST_SLOTS)

    def _allocate(self, slots: int) -> None:
        self.time = np.zeros(slots, np.int64)
        self.row = np.zeros(slots, np.int32)
        self.metrics = np.zeros((slots, len(METRICS)))
        self.offset = np.zeros(slots, np.int64)
        self._arrival = np.zeros(slots, np.int64)
        self._origin = np.zeros(slots, np.int64)
        self._place = np.zeros(slots, np.int32)
        self._heap = np.zeros(slots, np.int32)
        self._free = np.arange(slots, dtype=np.int32)

    def _arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """All that is kept of the slots, but not which are free."""
        return (self.time, self.row, self.metrics, self.offset, self._arrival, self._origin, self._place, self._heap)

    def _reserve(self, more: int) -> None:
        """Make room for so many more events."""
        slots = len(self.time)
        if self.count + more <= slots:
            return
        old = self._arrays()
        self._allocate(max(2 * slots, self.count + more))
        for target, values in zip(self._arrays(), old, strict=True):
            target[:slots] = values
        used = np.zeros(len(self.time), np.bool_)
        used[self._heap[: self.count]] = True
        self._free = np.concatenate((self._heap[: self.count], np.flatnonzero(~used).astype(np.int32)))

    def arrive(self, batch: CleanBatch, rows: Int32, learned: Float64, clock: npt.NDArray[Any], lateness_ns: int) -> Int32:
        """Let a batch in; returns the slots released by it, in order, to be given back by `release`.

        Args:
            batch: the events, in log order.
            rows: int32[n], the series of each.
            learned: float64[n, len(METRICS)].
            clock: one record of `tick_order.CLOCK`, changed.
            lateness_ns: how far behind the watermark the horizon is.
        """
        n = len(rows)
        self._reserve(n)
        held = np.empty(n, np.int32)
        released = np.empty(n + self.count, np.int32)
        columns = (self.time, self._arrival, self.row, self.metrics, self._heap, self._free)
        self.count, out = arrive(batch.ts_ns, rows, batch.flags, learned, clock[0], lateness_ns, *columns, self.count, held, released)
        kept = np.flatnonzero(held >= 0)
        slots = held[kept]
        self._origin[slots] = self._batches
        self._place[slots] = kept
        self.offset[slots] = batch.offsets[kept]
        if len(kept):
            names = (batch.trace_ids, batch.users, batch.user, batch.dimension_sets, batch.dimensions)
            self._origins[self._batches] = Origin(*names, len(kept))
        self._batches += 1
        return released[:out]

    def take_until(self, now_ns: int) -> Int32:
        """The slots of events up to a time mark, in order, to be given back by `release`."""
        released = np.empty(self.count, np.int32)
        out = 0
        while self.count and self.time[self._heap[0]] <= now_ns:
            released[out] = pop(self._heap, self.count, self.time, self._arrival)
            self.count -= 1
            out += 1
        return released[:out]

    def words(self, slot: int) -> Words:
        """The names of the event in a slot."""
        return self._origins[int(self._origin[slot])].words(int(self._place[slot]))

    def release(self, released: Int32) -> None:
        """Give slots back, once their events were walked."""
        self._free[self.count : self.count + len(released)] = released
        if not len(released):
            return
        oldest = next(iter(self._origins))
        left = np.bincount(self._origin[released] - oldest)
        for ahead in np.flatnonzero(left).tolist():
            origin = self._origins[oldest + ahead]
            origin.left -= int(left[ahead])
            if not origin.left:
                del self._origins[oldest + ahead]

    def tables(self) -> dict[str, npt.NDArray[Any]]:
        """What a checkpoint keeps of the events that wait, in order."""
        slots = np.array(sorted(self._heap[: self.count].tolist(), key=lambda s: (self.time[s], self._arrival[s])), np.int32)
        words = msgspec.json.encode([self.words(slot) for slot in slots.tolist()])
        return {
            "waiting_time": self.time[slots],
            "waiting_row": self.row[slots],
            "waiting_offset": self.offset[slots],
            "waiting_metrics": self.metrics[slots],
            "waiting_arrival": self._arrival[slots],
            "waiting_words": np.frombuffer(words, np.uint8),
        }

    def load(self, tables: dict[str, npt.NDArray[Any]], rows: int) -> None:
        """From empty, become what `tables` was taken of. Raises KeyError, ValueError or msgspec.MsgspecError when they do not fit."""
        words = msgspec.json.decode(tables["waiting_words"].tobytes(), type=list[Words])
        time: Int64 = tables["waiting_time"]
        n = len(time)
        if len(words) != n or not np.all((tables["waiting_row"] >= 0) & (tables["waiting_row"] < rows)):
            raise ValueError("names, numbers and series of waiting events do not fit")
        self._reserve(n)
        self.time[:n], self.row[:n], self._arrival[:n] = time, tables["waiting_row"], tables["waiting_arrival"]
        self.metrics[:n], self.offset[:n] = tables["waiting_metrics"], tables["waiting_offset"]
        self._heap[:n] = np.arange(n)
        self._place[:n] = np.arange(n)
        self.count = n
        numbers = np.arange(n, dtype=np.int32)
        traces, users = [one[0] for one in words], [one[1] for one in words]
        self._origins[0] = Origin(traces, users, numbers, [Dimensions(*one[2]) for one in words], numbers, n)
        self._batches = 1
