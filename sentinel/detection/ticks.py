"""Time windows of one partition: events in, by event time; out come the few anomalies that evidence over time supports.

One picture of what happens with an event:

1. It waits until the horizon reaches it, so that the order of arrival does not matter (`tick_order`, `tick_waiting`).
2. The walk takes it and closes ticks in between (`tick_walk`, `tick_series`). It is judged against the baselines just before it:
   did it fail (`tick_failures`); is the level (`tick_level`) or the tail (`tick_tail`) of a quantity another one, on normal scores
   (`tick_scores`), for its length (`tick_tokens`) and its time of day (`tick_hours`), beyond what the baseline (`tick_baseline`) allows?
   Ticks are judged for traffic (`tick_flow`), time marks for silence (`tick_silence`). All evidence adds up in one way (`tick_evidence`).
3. What stands at its edge is told once (`tick_incidents`), and observed until it ends or is normal (`tick_regimes`).
4. A finding becomes an anomaly with a sentence, with who contributed and what to look at (`tick_notes`, `tick_report`).

Everything is a pure function of the events, marks and commands in their order. Verdicts do not depend on how the log was cut into batches,
nor, within the lateness bound, on the order in which events arrived. What arrival does decide: which series come first when there is not
room for all, which of two events with the same nanosecond goes first, and in which order series that are new at the same time add to the
priors of later ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from sentinel.config.schema import Detection
from sentinel.core.anomaly import Anomaly
from sentinel.core.batch import CleanBatch, Float64, Int32, PartitionId, SeriesKey
from sentinel.core.command import AcceptRegime, Command, Marker
from sentinel.core.errors import SnapshotError
from sentinel.core.tell import Kind
from sentinel.detection.tick_bands import TickBand, bands_of
from sentinel.detection.tick_limits import limits_of
from sentinel.detection.tick_markers import Markers
from sentinel.detection.tick_notes import Notes
from sentinel.detection.tick_order import NEVER, SECOND_NS
from sentinel.detection.tick_rates import accept_rates
from sentinel.detection.tick_regimes import accept
from sentinel.detection.tick_report import anomaly_of
from sentinel.detection.tick_rows import MOST_FAMILIES, Rows
from sentinel.detection.tick_state import FINDING, Out, fill, new_state, tables_of
from sentinel.detection.tick_waiting import Waiting
from sentinel.detection.tick_walk import walk

__all__ = ["TickBand", "Ticks"]

FINDINGS_A_SERIES: Final = 4
"""Findings that one closing tick can give of one series at most: traffic, spend, a regime, and one in reserve."""


class Ticks:
    """All time windows of one partition. Not safe for concurrent use: its owner holds one lock around every call.

    Args:
        rules: the detection section.
        source: the partition, for ids.
    """

    def __init__(self, rules: Detection, source: PartitionId) -> None:
        self.rules = rules
        self.source = source
        most = rules.ticks.max_series
        self._limits = limits_of(rules.ticks)
        self._rows = Rows(most)
        self._state = new_state(most + 1, MOST_FAMILIES)
        for name in ("newest_ns", "horizon_ns", "ahead_ns", "tick_ns"):
            self._state.clock[0][name] = NEVER
        self._findings = np.zeros(FINDINGS_A_SERIES * (most + 1), FINDING)
        self._waiting = Waiting()
        self._notes = Notes()
        self._markers = Markers(self._limits.marker_ns)
        self._offset = 0

    @property
    def names(self) -> list[SeriesKey]:
        """The series, by row."""
        return self._rows.names

    @property
    def late(self) -> int:
        """Events that came later than the lateness bound, and were judged at the time they came."""
        return int(self._state.clock[0]["late"])

    @property
    def missed(self) -> int:
        """Events that were so late that they were not judged at all."""
        return int(self._state.clock[0]["missed"])

    def observe(self, batch: CleanBatch, learned: Float64) -> list[Anomaly]:
        """Take a batch in log order.

        Args:
            batch: the events.
            learned: float64[n, len(METRICS)], NaN = absent or not to be learned.

        Returns:
            What has become certain, in order. It belongs to events up to the horizon, which lies `lateness_secs` behind the newest.
        """
        if not self.rules.ticks.enabled or not len(batch):
            return []
        lateness_ns = self.rules.ticks.lateness_secs * SECOND_NS
        rows, new = self._rows.of(batch, self._state.families)
        for row in new:
            self._state.series[row]["marked_ns"] = self._markers.latest_ns(self.names[row])
        return self._walk(self._waiting.arrive(batch, rows, learned, self._state.clock, lateness_ns), 0)

    def mark(self, now_ns: int, offset: int) -> list[Anomaly]:
        """A time mark: nothing older than `now_ns` is still to come. Given only when caught up; `offset` is the next of the log."""
        clock = self._state.clock[0]
        if not self.rules.ticks.enabled or clock["newest_ns"] == NEVER or now_ns <= clock["horizon_ns"]:
            return []
        clock["horizon_ns"] = now_ns
        self._offset = max(self._offset, offset - 1)
        return self._walk(self._waiting.take_until(now_ns), now_ns)

    def command(self, command: Command, offset: int) -> list[Anomaly]:
        """Obey a command. Returns what came of it: the regimes that were accepted."""
        if not self.rules.ticks.enabled:
            return []
        self._offset = max(self._offset, offset - 1)
        if isinstance(command, Marker):
            self._markers.add(command)
            for row, name in enumerate(self.names):
                self._state.series[row]["marked_ns"] = self._markers.latest_ns(name)
            return []
        return self._accept(command)

    def bands(self, rows: Iterable[int] | None = None) -> list[TickBand]:
        """What is expected now, of every quantity that is judged: of all series, or of those in some rows."""
        now_ns, names = int(self._state.clock[0]["horizon_ns"]), self.names
        chosen = range(len(names)) if rows is None else rows
        return list(chain.from_iterable(bands_of(self._state, self._limits, row, names[row], now_ns) for row in chosen))

    def tables(self) -> dict[str, npt.NDArray[Any]]:
        """Everything a checkpoint keeps besides `names`, as copies: arrays of numbers, bytes or records."""
        kept = tables_of(self._state, len(self.names)) | {"offset": np.array([self._offset])}
        return kept | self._rows.tables() | self._waiting.tables() | self._notes.tables() | self._markers.tables()

    def load(self, tables: Mapping[str, npt.NDArray[Any]], names: Sequence[SeriesKey]) -> None:
        """Replace the state with what `tables` and `names` gave.

        Raises SnapshotError, changing nothing, when they do not fit the rules or this version.
        """
        fresh = Ticks(self.rules, self.source)
        try:
            fresh._become(dict(tables), names)
        except (KeyError, ValueError, TypeError, IndexError, msgspec.MsgspecError) as error:
            raise SnapshotError(f"the checkpoint's time windows do not fit: {error}; they start empty and are learned again") from error
        self.__dict__.update(fresh.__dict__)

    def _become(self, tables: dict[str, npt.NDArray[Any]], names: Sequence[SeriesKey]) -> None:
        """Take the state of a checkpoint over, from empty."""
        self._rows.load(tables, names)
        fill(self._state, tables, len(names))
        self._waiting.load(tables, len(names))
        self._notes.load(tables)
        self._markers.load(tables)
        self._offset = int(tables["offset"][0])

    def _walk(self, released: Int32, mark_ns: int) -> list[Anomaly]:
        """Walk released events; every time something is found, say who contributed at that moment."""
        out = Out(self._findings, np.zeros(1, np.int64), np.zeros(len(released), np.int8), np.zeros(len(released)))
        waiting = self._waiting
        columns = (waiting.time, waiting.row, waiting.metrics)
        told: list[Anomaly] = []
        at, done = 0, False
        while not done:
            start = at
            at, done = walk(self._state, self._limits, out, released, start, *columns, mark_ns)
            self._note(released, out, start, at)
            told += self._tell(int(out.used[0]))
            out.used[0] = 0
        waiting.release(released)
        return told

    def _note(self, released: Int32, out: Out, start: int, end: int) -> None:
        """Remember the events worth it."""
        waiting = self._waiting
        for i in (start + np.flatnonzero(out.noted[start:end])).tolist():
            slot = int(released[i])
            row, ts_ns = int(waiting.row[slot]), int(waiting.time[slot])
            self._notes.take(row, ts_ns, int(out.noted[i]), float(out.weight[i]), waiting.words(slot))
        if end > start:
            self._offset = max(self._offset, int(waiting.offset[released[end - 1]]))

    def _tell(self, count: int) -> list[Anomaly]:
        """The findings as anomalies."""
        told = []
        for found in self._findings[:count]:
            row, since_ns = int(found["row"]), int(found["since_ns"])
            series = self.names[row]
            contributors, exemplars = self._notes.about(Kind(int(found["kind"])), row, since_ns)
            markers = self._markers.explaining(series, since_ns, int(found["ts_ns"]))
            tick_secs = self.rules.ticks.tick_secs
            told.append(anomaly_of(found, series, self.source, tick_secs, self._offset, contributors, exemplars, markers))
        return told

    def _accept(self, command: AcceptRegime) -> list[Anomaly]:
        """Take over the shifted levels of some series."""
        out = Out(self._findings, np.zeros(1, np.int64), np.zeros(0, np.int8), np.zeros(0))
        clock = self._state.clock[0]
        ts_ns = int(clock["horizon_ns"])
        for row, name in enumerate(self.names):
            if command.which.covers(name):
                accept(self._state, self._limits, out, row, ts_ns, int(clock["tick_ns"]))
                accept_rates(self._state, row)
        return self._tell(int(out.used[0]))
