"""Detectors of others in one partition, with the same face as the detectors of our own.

They see the same events in the same order and tell anomalies of the same kind. What is different is trust: see
`sentinel.detection.plugin_run` for what happens when one fails.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy.typing as npt

from sentinel.config.plugins import Plugin
from sentinel.core.anomaly import Anomaly
from sentinel.core.batch import CleanBatch, Float64, PartitionId
from sentinel.detection.plugin_anomalies import anomaly_at_mark, anomaly_of_event
from sentinel.detection.plugin_run import Failure, PluginRun, Tables
from sentinel.detection.plugin_stream import PluginStream


class Plugins:
    """All detectors of others in one partition. Not safe for concurrent use: its owner holds one lock around every call.

    Args:
        chosen: the detectors, as `sentinel.config.plugins.configured` gives them.
        source: the partition.
        max_series: series told apart; further ones share `__other__`.
    """

    def __init__(self, chosen: Sequence[Plugin], source: PartitionId, max_series: int) -> None:
        self._source = source
        self._stream = PluginStream(max_series)
        self._runs = [PluginRun(plugin) for plugin in chosen]
        self._offset = 0
        self._told: set[tuple[str, str]] = set()

    def observe(self, batch: CleanBatch, learned: Float64) -> list[Anomaly]:
        """What the detectors find in a batch, by event, then by detector.

        Args:
            batch: the events in log order.
            learned: float64[n, len(METRICS)], NaN where absent or not to be learned (`sentinel.core.flags.learnable`).
        """
        if not self._runs or not len(batch):
            return []
        self._offset = int(batch.offsets[-1])
        first = self._stream.events
        seen = self._stream.batch(batch, learned)
        found = [
            (finding.event, anomaly_of_event(finding, run.name, batch, seen.names, self._source))
            for run in self._runs
            for finding in run.observe(seen, self._offset, first)
        ]
        found.sort(key=itemgetter(0))
        return [anomaly for _, anomaly in found]

    def mark(self, now_ns: int, offset: int) -> list[Anomaly]:
        """What they find at a time mark: nothing older than `now_ns` is still to come, and `offset` is the next of the log."""
        if not self._runs:
            return []
        self._offset = offset
        self._stream.mark(now_ns)
        names, seen = self._stream.names, self._stream.events
        return [
            anomaly_at_mark(finding, run.name, names, self._source, offset)
            for run in self._runs
            for finding in run.mark(now_ns, offset, len(names), seen)
        ]

    def tables(self) -> Tables:
        """Everything the checkpoint keeps, by name. Detectors that are switched off keep nothing."""
        if not self._runs:
            return {}
        tables = self._stream.export()
        for run in self._runs:
            tables |= run.export(self._offset)
        return tables

    def load(self, tables: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from what `tables` gave. A detector that has nothing there, or cannot use it, starts anew.

        Raises SnapshotError when the tables are no such tables.
        """
        try:
            there = self._stream.load(tables)
        except ValueError as error:
            for run in self._runs:
                run.fail("restore", f"starts anew: {error}", 0)
            return
        if there:
            for run in self._runs:
                run.load(tables)

    def failures(self) -> list[Failure]:
        """Everything that has gone wrong, one a detector and kind."""
        return [failure for run in self._runs for failure in run.failures.values()]

    def news(self) -> list[Failure]:
        """The failures of a kind that has not been told before, for the log."""
        fresh = [failure for failure in self.failures() if (failure.plugin, failure.kind) not in self._told]
        self._told |= {(failure.plugin, failure.kind) for failure in fresh}
        return fresh
