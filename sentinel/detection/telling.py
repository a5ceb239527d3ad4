"""Who tells once: a finding begins when a score reaches its boundary, goes on with hysteresis, and ends after an hour of calm.

A finding that goes on is told again only when it becomes more severe. Where both five minutes and hours are judged, only hours can end it:
five minutes may be too few events to see what goes on. An hour of calm, because the window of an hour still holds a burst
that ended minutes ago: it must not count as a second one.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sentinel.core.batch import Bool, Float64, Int8, Int64
from sentinel.detection.closing import HOUR_NS, SHORT, Window
from sentinel.detection.columns import Columns, Tables

RELEASE: Final = 0.7
"""A score below this share of the boundary is calm; between both a finding goes on and none begins."""

ALL: Final = slice(None)

CALM_NS: Final = HOUR_NS
"""How long scores stay calm before a finding has ended."""


class Telling:
    """The findings that go on, one entry for each series and subject.

    Args:
        subjects: how many things of a series are told independently.

    >>> from sentinel.detection.closing import NOTHING
    >>> telling = Telling(1)
    >>> telling.reserve(1)
    >>> at = np.array([0])
    >>> calm = np.zeros((1, 1), np.int8)
    >>> [bool(telling.step(at, np.array([[score]]), calm, NOTHING)[0, 0]) for score in (0.9, 1.2, 2.0)]
    [False, True, False]
    """

    __slots__ = ("_columns", "_subjects")

    def __init__(self, subjects: int) -> None:
        shape = (subjects,)
        self._subjects = subjects
        self._columns = Columns(since=(np.int64, shape), high=(np.int64, shape), severity=(np.int8, shape), active=(np.int8, shape))

    def reserve(self, rows: int) -> None:
        """Make room for at least `rows` series."""
        self._columns.reserve(rows)

    def step(
        self, rows: Int64, score: Float64, severity: Int8, window: Window, *, may_begin: Bool | None = None, subjects: slice = ALL
    ) -> Bool:
        """Go one window on; bool[r, k], what is to be told now.

        Args:
            rows: int64[r], series with scores.
            score: float64[r, k], 1.0 at the boundary.
            severity: int8[r, k], index into SEVERITIES.
            window: its start is when a finding begins, its end when one was last seen.
            may_begin: bool[r, k], false where a finding may go on but not begin.
            subjects: of which k things.
        """
        at = rows[:, None], np.arange(self._subjects)[subjects]
        active = self._columns["active"][at] > 0
        beyond = score >= 1.0
        begins = beyond & ~active if may_begin is None else beyond & ~active & may_begin
        tells: Bool = begins | (active & beyond & (severity > self._columns["severity"][at]))
        going_on = active & (score >= RELEASE)
        ends = active & ~going_on & (window.end_ns - self._columns["high"][at] >= CALM_NS) & (window.width != SHORT)
        if not (active.any() or begins.any()):
            return tells
        for name, changed, value in (
            ("since", begins, window.start_ns),
            ("high", begins | going_on, window.end_ns),
            ("severity", tells, severity),
            ("active", begins, 1),
        ):
            self._columns[name][at] = np.where(changed, value, self._columns[name][at])
        for name in ("since", "high", "severity", "active"):
            self._columns[name][at] = np.where(ends, 0, self._columns[name][at])
        return tells

    def active(self, rows: Int64) -> Bool:
        """bool[r, subjects], whether a finding goes on."""
        self._columns.reserve(int(rows.max(initial=-1)) + 1)  # a command may come before the first window has closed
        found: Bool = self._columns["active"][rows] > 0
        return found

    def since_ns(self, rows: Int64) -> Int64:
        """int64[r, subjects], when the finding began that goes on; 0 where none does."""
        since: Int64 = self._columns["since"][rows]
        return since

    def stays(self, rows: Int64, window: Window, hours: float) -> Bool:
        """bool[r, subjects], whether a finding has gone on for so many hours at the end of a window."""
        stays: Bool = self.active(rows) & (window.end_ns - self.since_ns(rows) >= hours * HOUR_NS)
        return stays

    def end(self, rows: Int64, subject: int) -> None:
        """End the findings of these series."""
        for name in ("since", "high", "severity", "active"):
            self._columns[name][rows, subject] = 0

    def forget(self, rows: Int64) -> None:
        """These series were never seen."""
        self._columns.forget(rows)

    def tables(self, prefix: str) -> Tables:
        """Its state as arrays."""
        return self._columns.tables(prefix)

    def load(self, tables: Mapping[str, npt.NDArray[Any]], prefix: str) -> None:
        """Become what `tables` told of another."""
        self._columns.load(tables, prefix)
