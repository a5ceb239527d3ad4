"""What is judged over minutes, hours and days in one partition, as one: it cuts the log into panes and gives closed windows to
detectors.

Panes close by the watermark, the running maximum of event time and time marks in log order, so nothing depends on how the log was cut
into batches; an event that closes a pane is counted after that. Five minutes and hours are sums of panes. Where a log stands still for
more than a day, the panes of one day are closed and the others skipped.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from math import gcd
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sentinel.config.sections_ticks import Ticks
from sentinel.config.sections_usage import Watching
from sentinel.core.anomaly import Anomaly
from sentinel.core.batch import CleanBatch, Float64, Int32, Int64, PartitionId, by_appearance
from sentinel.core.command import AcceptRegime, Command
from sentinel.core.flags import Flag
from sentinel.detection.abuse import UsageAbuse
from sentinel.detection.budgets import Budgets, Spending
from sentinel.detection.closing import HOUR, HOUR_NS, PANE, SECOND_NS, SHORT, SHORT_NS, Window, WindowDetector
from sentinel.detection.columns import Tables
from sentinel.detection.distribution import Distribution
from sentinel.detection.embeddings import EmbeddingDrift
from sentinel.detection.gauges import Gauges
from sentinel.detection.heavy_hitters import HeavyHitters, facts_of
from sentinel.detection.leaks import Shares
from sentinel.detection.multivariate import Multivariate
from sentinel.detection.panes import Panes
from sentinel.detection.rows import Places, Rows
from sentinel.detection.thresholds import Thresholds
from sentinel.detection.watch_events import Events
from sentinel.detection.wider import Wider
from sentinel.detection.zscore import SENSITIVITY

LONGEST_GAP: Final = 24 * HOUR_NS
"""Beyond it, empty panes are skipped: no detector looks further back than a day of nothing."""


class Watch:
    """The windows of one partition and their detectors. Not safe for concurrent use: its owner holds one lock around every call.

    Args:
        rules: what is watched, the detection section.
        ticks: its section of time windows, for lateness and sensitivity.
        source: the partition, for ids.

    Raises:
        StartupError: a detector is enabled whose library is not installed.
    """

    def __init__(self, rules: Watching, ticks: Ticks, source: PartitionId) -> None:
        self._source = source
        self._watermark_ns = 0
        pane_ns = gcd(SHORT_NS, *(rule.window_minutes * 60 * SECOND_NS for rule in rules.thresholds))
        self._panes = Panes(pane_ns, ticks.lateness_secs * SECOND_NS)
        self._places = Places(rules.max_watched_series)
        self._users = [HeavyHitters(rules.abuse.max_users) for _ in range(self._panes.ring)]
        self._counts_users = rules.abuse.enabled or rules.leaks.enabled or any(rule.per == "user" for rule in rules.budgets)
        self._wider = (Wider(SHORT, SHORT_NS, rules.abuse.max_users), Wider(HOUR, HOUR_NS, rules.abuse.max_users))
        self._thresholds = Thresholds(rules.thresholds, pane_ns, self._panes.ring)
        self._budgets = Budgets(rules.budgets, 2 * max(rules.max_watched_series, rules.abuse.max_users))
        self._of_panes: dict[str, WindowDetector] = {"thresholds": self._thresholds, "budgets": self._budgets}
        self._embeddings: EmbeddingDrift | None = None
        if rules.drift.enabled:
            self._embeddings = EmbeddingDrift(rules.drift, pane_ns, self._panes.ring, SENSITIVITY[ticks.sensitivity])
            self._of_panes["embeddings"] = self._embeddings
        self._of_windows = _detectors(rules, SENSITIVITY[ticks.sensitivity])

    @property
    def late(self) -> int:
        """Events that came after their pane had closed."""
        return self._panes.late

    def observe(self, batch: CleanBatch, learned: Float64) -> list[Anomaly]:
        """Take the events of a batch, and tell what the windows that they close bring to light.

        Args:
            batch: the events, in log order.
            learned: float64[n, len(METRICS)], NaN where absent or not to be learned.
        """
        fresh = (batch.flags & Flag.TOO_OLD) == 0
        events = Events.of(batch, learned)
        if not fresh.all():
            events = events.take(fresh)
        if not len(events.ts_ns):
            return []
        found: list[Anomaly] = []
        for start, stop, due in self._segments(events.ts_ns):
            part = events if stop - start == len(events.ts_ns) else events.take(slice(start, stop))
            found += self._advance(due, int(part.offsets[0]))
            self._take(part)
        return found

    def mark(self, now_ns: int, offset: int) -> list[Anomaly]:
        """A time mark: nothing older than `now_ns` is still to come. Given only when caught up."""
        self._watermark_ns = max(self._watermark_ns, now_ns)
        return self._advance(self._panes.due(self._watermark_ns), offset) if self._panes.first_open >= 0 else []

    def command(self, command: Command, offset: int) -> list[Anomaly]:
        """Obey: what accepted series do now is their normal from now on. Markers change nothing here."""
        del offset
        if isinstance(command, AcceptRegime):
            rows, services = (_covered(rows, command) for rows in (self._places.series, self._places.services))
            for _, detector in self._named():
                detector.accept(rows, services)
        return []

    def spending(self) -> list[Spending]:
        """Where the budgets stand, as of the last closed pane of this partition."""
        return self._budgets.spending()

    def tables(self) -> Tables:
        """All of its state as arrays of plain numbers, copies."""
        tables = self._places.tables() | self._panes.tables()
        tables["watermark"] = np.array([self._watermark_ns], np.int64)
        for slot, table in enumerate(self._users):
            tables |= table.tables(f"users.{slot}.")
        for width, wider in enumerate(self._wider):
            tables |= wider.tables(f"wider.{width}.")
        for name, detector in self._named():
            tables |= {f"{name}/{key}": table for key, table in detector.tables().items()}
        return tables

    def load(self, tables: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what `tables` was called on; parts that another configuration had otherwise start empty.

        Raises SnapshotError, and changes nothing, when the names of the series cannot be read or are too many.
        """
        if "watermark" not in tables:
            return
        self._places.load(tables)
        self._watermark_ns = int(tables["watermark"][0])
        if self._panes.load(tables, self._watermark_ns):
            for slot, table in enumerate(self._users):
                table.load(tables, f"users.{slot}.")
        for width, wider in enumerate(self._wider):
            wider.load(tables, f"wider.{width}.")
        for name, detector in self._named():
            prefix = f"{name}/"
            detector.load({key.removeprefix(prefix): table for key, table in tables.items() if key.startswith(prefix)})

    def _named(self) -> Iterator[tuple[str, WindowDetector]]:
        yield from self._of_panes.items()
        yield from self._of_windows.items()

    def _segments(self, ts_ns: Int64) -> Iterator[tuple[int, int, int]]:
        """Runs of events between which panes close: start, stop, and the first pane that is open for them."""
        panes, before = self._panes, self._watermark_ns
        self._watermark_ns = max(before, int(ts_ns.max()))
        if panes.first_open < 0:
            panes.first_open = panes.due(max(before, int(ts_ns[0])))
        if panes.due(self._watermark_ns) <= panes.first_open:
            yield 0, len(ts_ns), panes.first_open
            return
        due = panes.due_at(np.maximum(np.maximum.accumulate(ts_ns), before))
        cuts = [0, *(np.flatnonzero(np.diff(due)) + 1).tolist(), len(ts_ns)]
        for start, stop in pairwise(cuts):
            yield start, stop, int(due[start])

    def _take(self, events: Events) -> None:
        """Count events whose panes are open."""
        names, series = events.names, events.series
        if events.is_part:
            names, series = by_appearance(names, series)
        present = self._places.of(names)
        rows = present[series]
        self._panes.reserve(len(self._places.series))
        if self._counts_users:
            self._count_users(events, rows)
        self._thresholds.observe(self._places.series.names, present, rows, events.ts_ns, events.metrics, self._panes.first_open)
        if events.sketches is not None and self._embeddings is not None:
            self._embeddings.observe(rows, events.ts_ns, events.sketches, self._panes.first_open)
        self._panes.count(rows, events.ts_ns, events.metrics, events.finish, events.personal)

    def _count_users(self, events: Events, rows: Int32) -> None:
        if not events.has_users:
            return
        owners = self._places.service_of[rows].astype(np.int32)
        owners[events.anonymous] = -1
        facts, weights = facts_of(events.metrics, events.personal)
        first, last = (int(ns) // self._panes.pane_ns for ns in (events.ts_ns.min(), events.ts_ns.max()))
        for pane in range(max(first, self._panes.first_open), last + 1):
            inside = owners if first == last else np.where(events.ts_ns // self._panes.pane_ns == pane, owners, np.int32(-1))
            self._users[pane % self._panes.ring].add(inside, events.user_words, events.user, facts, weights)

    def _advance(self, due: int, offset: int) -> list[Anomaly]:
        """Close the panes before number `due`."""
        found: list[Anomaly] = []
        panes = self._panes
        last = panes.first_open + panes.ring + LONGEST_GAP // panes.pane_ns
        while panes.first_open < min(due, last):
            found += self._close(offset)
        panes.first_open = max(panes.first_open, due)
        return found

    def _close(self, offset: int) -> list[Anomaly]:
        """Close the oldest open pane, and the wider windows that end with it."""
        start_ns = self._panes.first_open * self._panes.pane_ns
        users = self._users[self._panes.first_open % self._panes.ring].take()
        rows, tally, sums = self._panes.take()
        places = self._places
        pane = Window(
            source=self._source,
            offset=offset,
            width=PANE,
            start_ns=start_ns,
            end_ns=start_ns + self._panes.pane_ns,
            names=places.series.names,
            services=places.services.names,
            rows=rows,
            tally=tally,
            sums=sums,
            service_of=places.service_of,
            users=users,
        )
        found = [anomaly for detector in self._of_panes.values() for anomaly in detector.close(pane)]
        for wider in self._wider:
            window = wider.add(pane)
            if window is not None:
                found += [anomaly for detector in self._of_windows.values() for anomaly in detector.close(window)]
        if pane.end_ns % HOUR_NS == 0:
            self._make_room()
        return found

    def _make_room(self) -> None:
        """Give idle series' rows back when few are left."""
        surplus = self._places.series.surplus()
        if surplus <= 0:
            return
        before = self._panes.first_open - HOUR_NS // self._panes.pane_ns
        rows = self._panes.idle(self._places.series.used(), before)[:surplus]
        services = self._places.release(rows)
        self._panes.latest[rows] = 0
        for _, detector in self._named():
            detector.forget(rows, services)


def _detectors(rules: Watching, strictness: float) -> dict[str, WindowDetector]:
    """The detectors of five minutes and hours that are enabled, by name."""
    found: dict[str, WindowDetector] = {}
    if rules.drift.enabled:
        found["drift"] = Distribution(rules.drift, strictness)
    if rules.drift.enabled or rules.leaks.enabled:
        found["shares"] = Shares(rules.drift, rules.leaks, strictness)
    if rules.abuse.enabled:
        found["abuse"] = UsageAbuse(rules.abuse, rules.drift, strictness)
    if rules.multivariate.enabled:
        found["multivariate"] = Multivariate(rules.multivariate, strictness)
    if rules.gauges.enabled:
        found["gauges"] = Gauges(rules.gauges, strictness)
    return found


def _covered(rows: Rows, command: AcceptRegime) -> Int64:
    """The rows that a command is about."""
    return np.array([row for row in rows.used().tolist() if command.which.covers(rows.names[row])], np.int64)
