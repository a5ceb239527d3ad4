"""Panes: what came of each series in each few minutes of event time, counted in one pass over the events.

A pane counts lengths of prompts and answers in logarithmic bins, finish reasons, refusals, empty answers, events with personal data, and
for each metric its samples and their sum. Everything is a whole number (sums in millionths, money in billionths of a dollar), so neither
the order of events nor the cut of batches changes a bit of it. Several panes are open at once: one closes when the watermark has passed
its end by the allowed lateness. Events of closed panes come too late and are left out; they are counted.

Wider windows are sums of panes, as in J. Li et al., No Pane, No Gain, SIGMOD Record 34, 2005.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sentinel.core.batch import Bool, Float64, Int8, Int32, Int64
from sentinel.core.jit import leaf
from sentinel.core.metrics import COMPLETION_TOKENS, COST, ERROR, METRICS, PROMPT_TOKENS
from sentinel.detection.columns import Tables
from sentinel.detection.finish import CATEGORIES, REFUSED, TOOL

BINS: Final = 36
"""Half octaves: 0, 1, then two bins for each doubling up to 185,000 and beyond."""

PROMPT_BINS: Final = slice(0, BINS)
COMPLETION_BINS: Final = slice(BINS, 2 * BINS)
FINISH_BINS: Final = slice(2 * BINS, 2 * BINS + len(CATEGORIES))
EVENTS: Final = FINISH_BINS.stop
ANSWERS: Final = EVENTS + 1
"""Events without an error."""
REFUSALS: Final = EVENTS + 2
"""Answers whose finish reason says that they were refused or filtered."""
EMPTY: Final = EVENTS + 3
"""Answers without a token, tool calls and refusals left out."""
PERSONAL: Final = EVENTS + 4
"""Events with personal data or a secret in their texts."""
SAMPLES: Final = slice(EVENTS + 5, EVENTS + 5 + len(METRICS))
"""Samples of each metric."""
COLUMNS: Final = SAMPLES.stop

_FIRST_FINISH: Final = FINISH_BINS.start
_FIRST_SAMPLES: Final = SAMPLES.start

UNITS: Final = np.array([1e9 if index == COST else 1e6 for index in range(len(METRICS))])
"""float64[m], parts of a metric's unit that sums are kept in."""

LARGEST_PART: Final = 1e13
"""A value counts as no more parts than this ($10,000; 2.7 hours): sums of 900,000 such events still fit."""


def bin_of(tokens: float) -> int:
    """The bin of a number of tokens.

    >>> [bin_of(n) for n in (0, 1, 2, 3, 4, 1000, 1e9)]
    [0, 1, 3, 4, 5, 20, 35]
    """
    return int(_bin_of(tokens))


def bin_start(index: int) -> float:
    """The smallest number of tokens of a bin.

    >>> [round(bin_start(i)) for i in (0, 1, 3, 20)]
    [0, 1, 2, 724]
    """
    return 0.0 if index == 0 else float(2.0 ** ((index - 1) / 2))


@leaf
def _bin_of(tokens: float) -> int:
    return 0 if tokens < 1.0 else min(BINS - 1, 1 + int(2.0 * np.log2(tokens)))


@leaf
def count(
    rows: Int32,
    ts_ns: Int64,
    metrics: Float64,
    finish: Int8,
    personal: Bool,
    pane_ns: int,
    first_open: int,
    units: Float64,
    tally: npt.NDArray[np.int32],
    sums: Int64,
    latest: Int64,
) -> int:
    """Count events into their panes; returns how many came too late.

    Args:
        rows: int32[n], of each event's series.
        ts_ns: int64[n], event time.
        metrics: float64[n, m], NaN = absent.
        finish: int8[n], index into CATEGORIES.
        personal: bool[n].
        pane_ns: length of a pane.
        first_open: number of the oldest open pane; no event is newer than the newest.
        units: parts of each metric's unit.
        tally: int32[open panes, rows, COLUMNS].
        sums: int64[open panes, rows, m].
        latest: int64[rows], number of the newest pane with an event, plus one.
    """
    late = 0
    ring = tally.shape[0]
    for i in range(rows.shape[0]):
        pane = ts_ns[i] // pane_ns
        if pane < first_open:
            late += 1
            continue
        row = rows[i]
        latest[row] = max(latest[row], pane + 1)
        own = tally[pane % ring, row]
        total = sums[pane % ring, row]
        own[EVENTS] += 1
        own[PERSONAL] += personal[i]
        for metric in range(metrics.shape[1]):
            value = metrics[i, metric]
            if value >= 0.0:
                own[_FIRST_SAMPLES + metric] += 1
                total[metric] += int(min(value * units[metric], LARGEST_PART) + 0.5)
        prompt = metrics[i, PROMPT_TOKENS]
        if prompt >= 0.0:
            own[_bin_of(prompt)] += 1
        if metrics[i, ERROR] > 0.0:
            continue
        own[ANSWERS] += 1
        own[_FIRST_FINISH + finish[i]] += 1
        answer = metrics[i, COMPLETION_TOKENS]
        if answer >= 0.0:
            own[BINS + _bin_of(answer)] += 1
        if finish[i] == REFUSED:
            own[REFUSALS] += 1
        elif answer == 0.0 and finish[i] != TOOL:
            own[EMPTY] += 1
    return late


class Panes:
    """The open panes of a partition. Times in nanoseconds; a pane's number is its start over its length.

    Args:
        pane_ns: length of a pane.
        lateness_ns: how far the watermark must have passed a pane's end.

    Attributes:
        first_open: number of the oldest open pane; -1 before the first event.
        late: events that came too late.
    """

    __slots__ = ("first_open", "late", "lateness_ns", "latest", "pane_ns", "ring", "sums", "tally")

    def __init__(self, pane_ns: int, lateness_ns: int) -> None:
        self.pane_ns = pane_ns
        self.lateness_ns = lateness_ns
        self.ring = -(-lateness_ns // pane_ns) + 1
        self.first_open = -1
        self.late = 0
        self.tally = np.zeros((self.ring, 0, COLUMNS), np.int32)
        self.sums = np.zeros((self.ring, 0, len(METRICS)), np.int64)
        self.latest = np.zeros(0, np.int64)

    def due(self, watermark_ns: int) -> int:
        """The number of the first pane that is still open at a watermark."""
        return (watermark_ns - self.lateness_ns) // self.pane_ns

    def due_at(self, watermarks_ns: Int64) -> Int64:
        """int64[n], the same of many watermarks."""
        due: Int64 = (watermarks_ns - self.lateness_ns) // self.pane_ns
        return due

    def reserve(self, rows: int) -> None:
        """Make room for at least `rows` series."""
        missing = max(rows, 2 * len(self.latest)) - len(self.latest)
        if rows > len(self.latest):
            self.tally = np.concatenate((self.tally, np.zeros((self.ring, missing, COLUMNS), np.int32)), axis=1)
            self.sums = np.concatenate((self.sums, np.zeros((self.ring, missing, len(METRICS)), np.int64)), axis=1)
            self.latest = np.concatenate((self.latest, np.zeros(missing, np.int64)))

    def count(self, rows: Int32, ts_ns: Int64, metrics: Float64, finish: Int8, personal: Bool) -> None:
        """Take events in; all panes that their watermark closes have been closed."""
        self.late += count(rows, ts_ns, metrics, finish, personal, self.pane_ns, self.first_open, UNITS, self.tally, self.sums, self.latest)

    def take(self) -> tuple[Int64, npt.NDArray[np.int32], Int64]:
        """Close the oldest open pane: the rows with events, int64[r] rising, their counts int32[r, COLUMNS] and sums int64[r, m]."""
        slot = self.first_open % self.ring
        rows = np.flatnonzero(self.tally[slot, :, EVENTS])
        tally, sums = self.tally[slot, rows], self.sums[slot, rows]
        self.tally[slot, rows] = 0
        self.sums[slot, rows] = 0
        self.first_open += 1
        return rows, tally, sums

    def idle(self, rows: Int64, before: int) -> Int64:
        """Those of the rows whose newest event lies in a pane before number `before`, the longest idle first."""
        idle = rows[self.latest[rows] <= before]
        return idle[np.lexsort((idle, self.latest[idle]))]

    def tables(self) -> Tables:
        """All of its state."""
        meta = np.array([self.pane_ns, self.ring, self.first_open, self.late], np.int64)
        return {"panes.meta": meta, "panes.tally": self.tally.copy(), "panes.sums": self.sums.copy(), "panes.latest": self.latest.copy()}

    def load(self, tables: Mapping[str, npt.NDArray[Any]], watermark_ns: int) -> bool:
        """Become what `tables` was called on; false when its panes were others: then those that were open are lost."""
        pane_ns, ring, first_open, self.late = tables["panes.meta"].tolist()
        same: bool = (pane_ns, ring) == (self.pane_ns, self.ring) and tables["panes.tally"].shape[2] == COLUMNS
        if same:
            self.first_open = first_open
            self.tally, self.sums, self.latest = (tables[f"panes.{name}"].copy() for name in ("tally", "sums", "latest"))
        elif first_open >= 0:
            self.first_open = self.due(watermark_ns)
        return same
