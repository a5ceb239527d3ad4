"""What detectors share that compare windows with a reference of the days before: when it is judged, learned, and replaced by a change.

The reference learns whole hours, and none in which a finding went on. What came since a finding began is kept beside it, and becomes the
reference when somebody accepts the change, or when it has stayed for long enough.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sentinel.config.sections_usage import Drift
from sentinel.core.anomaly import Anomaly
from sentinel.core.batch import Bool, Float64, Int64
from sentinel.detection.closing import HOUR, Window
from sentinel.detection.columns import Columns, Tables
from sentinel.detection.peaks import Peaks
from sentinel.detection.telling import Telling

BEYOND_USUAL: Final = 1.5
"""How much larger than what a series' windows reach by themselves a change must be."""

CLUMPS_MEMORY: Final = 100.0
"""Windows that the clumping of events is averaged over."""


class Compared(ABC):
    """A `WindowDetector` of several subjects of each series, each with its reference.

    Args:
        subjects: how many.
        rules: how long things take.
        strictness: scales all limits; 1.0 at medium sensitivity.
        columns: the references, and what came since a finding began.
    """

    def __init__(self, subjects: int, rules: Drift, strictness: float, **columns: tuple[type[Any], tuple[int, ...]]) -> None:
        self._subjects = subjects
        self._rules = rules
        self._strictness = strictness
        self._columns = Columns(**columns, hours=(np.int32, ()), clumps=(np.float64, (subjects, 2)))
        self._peaks = Peaks(subjects)
        self._telling = Telling(subjects)

    def close(self, window: Window) -> list[Anomaly]:
        """Judge each subject of each series against its reference; at the end of an hour, learn it."""
        for part in (self._columns, self._peaks, self._telling):
            part.reserve(len(window.names))
        found = self._judge(window)
        if window.width == HOUR:
            self._learn(window, self._telling.active(window.rows))
            self._adopt_where(self._telling.stays(window.rows, window, self._rules.accept_hours), window.rows)
            self._columns["hours"][window.rows] += 1
        return found

    def forget(self, rows: Int64, services: Int64) -> None:
        """These series were never seen."""
        del services
        for part in (self._columns, self._peaks, self._telling):
            part.forget(rows)

    def accept(self, rows: Int64, services: Int64) -> None:
        """What came since a change was told is the reference from now on."""
        del services
        self._adopt_where(self._telling.active(rows), rows)

    def tables(self) -> Tables:
        """All of its state."""
        return self._columns.tables() | self._peaks.tables("peaks.") | self._telling.tables("telling.")

    def load(self, tables: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what `tables` was called on."""
        self._columns.load(tables)
        self._peaks.load(tables, "peaks.")
        self._telling.load(tables, "telling.")

    @abstractmethod
    def _judge(self, window: Window) -> list[Anomaly]:
        """What is to be told now."""

    @abstractmethod
    def _learn(self, window: Window, active: Bool) -> None:
        """Add an hour to the references or, where a finding goes on (bool[r, subjects]), to what may become them."""

    @abstractmethod
    def _adopt(self, rows: Int64, subject: int) -> None:
        """What came since the finding began is the reference."""

    def _adopt_where(self, chosen: Bool, rows: Int64) -> None:
        """Replace the references of the chosen (bool[r, subjects]), and end their findings."""
        for subject in range(self._subjects):
            self._adopt(rows[chosen[:, subject]], subject)
            self._telling.end(rows[chosen[:, subject]], subject)

    def _is_warm(self, rows: Int64) -> Bool:
        """bool[r, 1], whether the reference is long enough to judge by."""
        warm: Bool = self._columns["hours"][rows] >= self._rules.warm_up_hours
        return warm[:, None]

    def _clumps(self, window: Window) -> Float64:
        """float64[r, subjects], by how much more than chance the counts of these windows vary, at least 1."""
        clumps: Float64 = np.maximum(self._columns["clumps"][window.rows, :, window.width], 1.0)
        return clumps

    def _learn_chance(self, window: Window, calm: Bool, reached: Float64, varied: Float64) -> Bool:
        """Learn from windows without a finding (bool[r, subjects]) what they reach by themselves, and how much they vary beside chance.

        Returns bool[r, subjects], which of them were learned from.
        """
        rows, width = window.rows, window.width
        known = self._columns["hours"][rows] >= self._rules.warm_up_hours / 4
        active = self._telling.active(rows)
        calm = calm & known[:, None] & ~active
        self._peaks.learn(window, rows, reached, calm, active)
        before = self._clumps(window)
        self._columns["clumps"][rows, :, width] = before + np.where(calm, np.minimum(varied, 4.0 * before) - before, 0.0) / CLUMPS_MEMORY
        return calm
