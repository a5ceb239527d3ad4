"""Windows wider than a pane, as sums of panes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sentinel.core.metrics import METRICS
from sentinel.detection.closing import Window
from sentinel.detection.columns import Columns, Tables
from sentinel.detection.heavy_hitters import HeavyHitters
from sentinel.detection.panes import COLUMNS, EVENTS


class Wider:
    """The window of one width that is open, of all series of a partition.

    Args:
        width: SHORT or HOUR.
        length_ns: how long it is; a multiple of a pane's length.
        most_users: users counted in it.
    """

    __slots__ = ("_columns", "_length_ns", "_users", "_width")

    def __init__(self, width: int, length_ns: int, most_users: int) -> None:
        self._width = width
        self._length_ns = length_ns
        self._columns = Columns(tally=(np.int32, (COLUMNS,)), sums=(np.int64, (len(METRICS),)))
        self._users = HeavyHitters(most_users)

    def add(self, pane: Window) -> Window | None:
        """Add a pane; the whole window when the pane ends it."""
        if pane.end_ns - pane.start_ns == self._length_ns:
            return replace(pane, width=self._width)
        self._columns.reserve(len(pane.names))
        self._columns["tally"][pane.rows] += pane.tally
        self._columns["sums"][pane.rows] += pane.sums
        self._users.merge(pane.users)
        return None if pane.end_ns % self._length_ns else self._close(pane)

    def tables(self, prefix: str) -> Tables:
        """All of its state."""
        return self._columns.tables(prefix) | self._users.tables(f"{prefix}users.")

    def load(self, tables: Mapping[str, npt.NDArray[Any]], prefix: str) -> None:
        """Become what `tables` was called on."""
        self._columns.load(tables, prefix)
        self._users.load(tables, f"{prefix}users.")

    def _close(self, pane: Window) -> Window:
        rows = np.flatnonzero(self._columns["tally"][:, EVENTS])
        tally, sums = self._columns["tally"][rows], self._columns["sums"][rows]
        self._columns.forget(rows)
        start_ns = pane.end_ns - self._length_ns
        return replace(pane, width=self._width, start_ns=start_ns, rows=rows, tally=tally, sums=sums, users=self._users.take())
