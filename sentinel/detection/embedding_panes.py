"""Sums of sketches of embeddings: what came of each series and kind in the open panes, five minutes and hour.

Prompts and answers of a series have a slot each, from their first embedding on: 1.4 kB with what is learned of it, twice that while there
is room to grow. Who sends no embeddings has none.

Sums are whole numbers, so the order of events does not matter, but for one thing: a slot takes vectors of one number of dimensions, that
of its first one. Vectors of another model wait until an hour has passed in which only they came; then the slot starts from nothing with
them.
"""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sentinel.core.batch import Bool, Int32, Int64
from sentinel.core.jit import leaf
from sentinel.core.sketches import AXES, KINDS, Sketches
from sentinel.detection.closing import HOUR, HOUR_NS, SHORT, SHORT_NS, Window
from sentinel.detection.columns import Columns, Tables

SUMS: Final = slice(1, 1 + AXES)
SQUARES: Final = slice(1 + AXES, 1 + 2 * AXES)
COLUMNS: Final = SQUARES.stop
"""How many vectors, then the sums of their sketches and of the squares, by axis."""

_NO_TALLY: Final = np.empty((0, 0), np.int32)


@leaf
def add(slots: Int64, panes: Int64, sketches: npt.NDArray[np.int16], dimensions: Int32, others: Int32, sums: npt.NDArray[np.int64]) -> None:
    """Add sketches to their slots.

    Args:
        slots: int64[n].
        panes: int64[n], index of each one's pane.
        sketches: int16[n, 1 + AXES].
        dimensions: int32[slots], of the vectors that a slot takes; 0 = not known yet.
        others: int32[slots], of the last vector that it did not take.
        sums: int64[slots, panes, COLUMNS].
    """
    axes = sketches.shape[1] - 1
    for i in range(slots.shape[0]):
        slot = slots[i]
        if dimensions[slot] == 0:
            dimensions[slot] = sketches[i, 0]
        if dimensions[slot] != sketches[i, 0]:
            others[slot] = sketches[i, 0]
            continue
        own = sums[slot, panes[i]]
        own[0] += 1
        for axis in range(axes):
            value = np.int64(sketches[i, 1 + axis])
            own[1 + axis] += value
            own[1 + axes + axis] += value * value


class EmbeddingPanes:
    """The slots of a partition and their sums.

    Args:
        pane_ns: length of a pane.
        ring: panes that are open at once.
    """

    __slots__ = ("_columns", "_free", "_pane_ns", "_ring", "_slot_of")

    def __init__(self, pane_ns: int, ring: int) -> None:
        self._pane_ns = pane_ns
        self._ring = ring
        self._slot_of: dict[int, int] = {}
        self._free: list[int] = []
        self._columns = Columns(
            owner=(np.int64, ()),
            dimensions=(np.int32, ()),
            others=(np.int32, ()),
            panes=(np.int64, (ring, COLUMNS)),
            short=(np.int64, (COLUMNS,)),
            hour=(np.int64, (COLUMNS,)),
        )

    def observe(self, rows: Int32, ts_ns: Int64, sketches: Sketches, first_open: int) -> None:
        """Take the embeddings of events: int32[n] rows of their series, int64[n] times; `first_open` as in `Panes`."""
        panes = ts_ns // self._pane_ns
        events, kinds = np.nonzero((sketches[:, :, 0] > 0) & (panes >= first_open)[:, None])
        if len(events):
            slots = self._slots((rows[events].astype(np.int64) * KINDS + kinds).tolist())
            columns = self._columns
            add(slots, panes[events] % self._ring, sketches[events, kinds], columns["dimensions"], columns["others"], columns["panes"])

    def close(self, pane: Window) -> Iterator[Window]:
        """Add a pane to the five minutes and the hour it belongs to; those that end with it.

        Their rows are slots, their names those of the slots' series, and their sums int64[r, COLUMNS].
        """
        if not self._slot_of:
            return
        came = self._columns["panes"][:, (pane.start_ns // self._pane_ns) % self._ring]
        for name in ("short", "hour"):
            self._columns[name][:] += came
        came[:] = 0
        used = len(self._slot_of) + len(self._free)
        names = [pane.names[code // KINDS] for code in (self._columns["owner"][:used] - 1).tolist()]
        for width, length_ns, name in ((SHORT, SHORT_NS, "short"), (HOUR, HOUR_NS, "hour")):
            if pane.end_ns % length_ns == 0:
                slots = np.flatnonzero(self._columns[name][:, 0])
                sums = self._columns[name][slots]
                self._columns[name][:] = 0
                yield replace(pane, width=width, start_ns=pane.end_ns - length_ns, names=names, rows=slots, tally=_NO_TALLY, sums=sums)

    def outdated(self, came: Int64) -> Int64:
        """The slots to which, in the hour that ended and since, only vectors of another length came; they take those from now on.

        Args:
            came: slots that took any in it.
        """
        others = self._columns["others"]
        silent: Bool = np.logical_not(self._columns["panes"][:, :, 0].any(axis=1))
        silent[came] = False
        outdated = np.flatnonzero(silent & (others > 0))
        self._columns["dimensions"][outdated] = 0
        others[:] = 0
        return outdated

    def kinds(self, slots: Int64) -> Int64:
        """int64[r], whose embeddings these slots hold: PROMPT or RESPONSE."""
        kinds: Int64 = (self._columns["owner"][slots] - 1) % KINDS
        return kinds

    def slots_of(self, rows: Int64) -> Int64:
        """The slots that some series have."""
        codes = [row * KINDS + kind for row in rows.tolist() for kind in range(KINDS)]
        return np.array([self._slot_of[code] for code in codes if code in self._slot_of], np.int64)

    def release(self, slots: Int64) -> None:
        """These slots belong to nobody any more."""
        for owner in self._columns["owner"][slots].tolist():
            heapq.heappush(self._free, self._slot_of.pop(owner - 1))
        self._columns.forget(slots)

    def tables(self, prefix: str) -> Tables:
        """All of its state."""
        meta = np.array([self._pane_ns, self._ring], np.int64)
        return self._columns.tables(prefix) | {f"{prefix}meta": meta}

    def load(self, tables: Mapping[str, npt.NDArray[Any]], prefix: str) -> None:
        """Become what `tables` was called on; when its panes were others, those that were open are lost."""
        same = tables.get(f"{prefix}meta", np.empty(0)).tolist() == [self._pane_ns, self._ring]
        self._columns.load({name: table for name, table in tables.items() if same or name != f"{prefix}panes"}, prefix)
        owners = tables.get(f"{prefix}owner", np.empty(0)).tolist()
        self._slot_of = {owner - 1: slot for slot, owner in enumerate(owners) if owner}
        self._free = [slot for slot, owner in enumerate(owners) if not owner]

    def _slots(self, codes: list[int]) -> Int64:
        """The slot of each series and kind, given now to those that have none: the first that is free."""
        for code in codes:
            if code not in self._slot_of:
                slot = heapq.heappop(self._free) if self._free else len(self._slot_of)
                self._slot_of[code] = slot
                self._columns.reserve(slot + 1)
                self._columns["owner"][slot] = code + 1
        return np.array([self._slot_of[code] for code in codes], np.int64)
