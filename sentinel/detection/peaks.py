"""What windows reach by themselves: the largest value of the days before, so that nights and weekends are no news.

The day at hand does not count before its midnight (UTC). What grows slowly within a day is therefore compared with what was usual before
it began, not with itself a window ago; what comes every night is known from the second night on. Peaks fade with a half-life of two
weeks, so a weekend is remembered until the next.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sentinel.core.batch import Bool, Float64, Int64
from sentinel.detection.closing import HOUR, HOUR_NS, Window
from sentinel.detection.columns import Columns, Tables
from sentinel.detection.significance import decay

MEMORY_HOURS: Final = 14 * 24.0
DAY_NS: Final = 24 * HOUR_NS


class Peaks:
    """The peaks of each series, of several things, for windows of both widths.

    Args:
        subjects: how many things of a series have peaks.
    """

    __slots__ = ("_columns",)

    def __init__(self, subjects: int) -> None:
        shape = (subjects, 2)
        self._columns = Columns(before=(np.float64, shape), today=(np.float64, shape), fresh=(np.float64, shape))

    def reserve(self, rows: int) -> None:
        """Make room for at least `rows` series."""
        self._columns.reserve(rows)

    def before(self, rows: Int64, width: int) -> Float64:
        """float64[r, subjects], the peaks of the days before."""
        found: Float64 = self._columns["before"][rows, :, width]
        return found

    def learn(self, window: Window, rows: Int64, value: Float64, calm: Bool, active: Bool) -> None:
        """Take what a window reached in.

        Args:
            window: its last one of a day ends the day.
            rows: int64[r], whose values these are.
            value: float64[r, subjects].
            calm: bool[r, subjects], whether it was nothing to tell.
            active: bool[r, subjects], whether a finding goes on: its peaks count when it is accepted.
        """
        today, fresh = self._columns["today"], self._columns["fresh"]
        today[rows, :, window.width] = np.maximum(today[rows, :, window.width], np.where(calm & ~active, value, 0.0))
        fresh[rows, :, window.width] = np.where(active, np.maximum(fresh[rows, :, window.width], value), 0.0)
        if window.width == HOUR and window.end_ns % DAY_NS == 0:
            np.maximum(decay(24.0, MEMORY_HOURS) * self._columns["before"], today, out=self._columns["before"])
            today[:] = 0.0

    def adopt(self, rows: Int64, subject: int) -> None:
        """What a finding reached is usual from now on."""
        before, fresh = self._columns["before"], self._columns["fresh"]
        before[rows, subject] = np.maximum(before[rows, subject], fresh[rows, subject])
        fresh[rows, subject] = 0.0

    def forget(self, rows: Int64) -> None:
        """These series were never seen."""
        self._columns.forget(rows)

    def tables(self, prefix: str) -> Tables:
        """All of its state."""
        return self._columns.tables(prefix)

    def load(self, tables: Mapping[str, npt.NDArray[Any]], prefix: str) -> None:
        """Become what `tables` was called on."""
        self._columns.load(tables, prefix)
