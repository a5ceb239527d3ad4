"""One configuration on the events of the past: the live middle, a shard for each log, and the time marks of a daemon that keeps up."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np

from sentinel.config.schema import Config
from sentinel.core.anomaly import Anomaly, AnomalyBatch
from sentinel.core.batch import CleanBatch, Int64, PartitionId
from sentinel.core.delivery import Delivery
from sentinel.detection.over_time import OverTime
from sentinel.pipeline.process import Cleaned, Processed, score
from sentinel.pipeline.shard import Shard

_SECOND_NS: Final = 1_000_000_000
STILL_NS: Final = 60 * _SECOND_NS
"""Time marks are given where event time stands still for longer. After shorter ones the next event closes the same windows."""
LEAP_NS: Final = 3_600 * _SECOND_NS
"""One event that is further ahead of all others may come from a broken clock: it needs another one beside it."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in some events of one log that follow each other.

    Attributes:
        batch: the events, repeats left out.
        anomalies: of single events.
        windows: of time windows that closed.
        over_time: the time windows after them.
        watermark_ns: how far event time has come.
    """

    batch: CleanBatch
    anomalies: AnomalyBatch
    windows: Sequence[Anomaly]
    over_time: OverTime
    watermark_ns: int


class Replay:
    """The state of one configuration, built up from nothing as the events come.

    Args:
        config: what to go by: its limits and its detection.
        every_ns: event time that what is found at once covers at most; None for whatever a batch holds.
    """

    def __init__(self, config: Config, every_ns: int | None = None) -> None:
        self._limits = config.ingestion.validation
        self._dedupe = config.ingestion.dedupe.window_events
        self._detection = config.detection
        self._late_ns = config.detection.ticks.lateness_secs * _SECOND_NS
        self._every_ns = every_ns
        self._shards: dict[PartitionId, Shard] = {}

    def see(self, cleaned: Cleaned, next_offset: int) -> Iterator[Found]:
        """Judge and learn events of one log. Where event time stands still, the log gets the time mark a live one would have got.

        Args:
            cleaned: decoded, validated and sanitized.
            next_offset: the offset after the last of their records.
        """
        shard = self._shard(cleaned.batch.source)
        batch = cleaned.batch
        still = standing_still(batch.ts_ns, shard.watermark_ns)
        marks = set(still.tolist())
        edges = () if self._every_ns is None else (np.flatnonzero(np.diff(batch.ts_ns // self._every_ns)) + 1).tolist()
        for first, end in pairwise(sorted({0, *marks, *edges, len(batch)})):
            if first in marks:
                yield self._marked(shard, int(batch.ts_ns[first:].min()) - self._late_ns)
            yield self._scored(replace(cleaned, batch=_part(batch, first, end)), shard)
        shard.next_offset = next_offset

    def end(self, at_ns: int) -> Iterator[Found]:
        """The past ends at this event time: logs that would have gone on get a last time mark. A file may just have been cut there."""
        for shard in self._shards.values():
            if not shard.source.topic.startswith("file:") and at_ns - shard.watermark_ns > STILL_NS:
                yield self._marked(shard, at_ns - self._late_ns)

    def _scored(self, cleaned: Cleaned, shard: Shard) -> Found:
        processed = score(cleaned, shard, self._limits)
        return Found(processed.batch, processed.anomalies, processed.tick_anomalies, shard.over_time, shard.watermark_ns)

    def _marked(self, shard: Shard, now_ns: int) -> Found:
        told = shard.over_time.mark(now_ns, shard.next_offset)
        marked = Processed.of_mark(Delivery.mark(shard.source, shard.next_offset, now_ns, shard.epoch), shard, told)
        return Found(marked.batch, marked.anomalies, marked.tick_anomalies, shard.over_time, now_ns)

    def _shard(self, source: PartitionId) -> Shard:
        if source not in self._shards:
            self._shards[source] = Shard(source, 0, self._detection, self._dedupe)
        return self._shards[source]


def _part(batch: CleanBatch, first: int, end: int) -> CleanBatch:
    if end - first == len(batch):
        return batch
    keep = np.zeros(len(batch), np.bool_)
    keep[first:end] = True
    return batch.take(keep)


def standing_still(ts_ns: Int64, watermark_ns: int) -> Int64:
    """Where event time has stood still: the events that, like all that follow, come long after everything before them.

    Args:
        ts_ns: int64[n], event times in log order.
        watermark_ns: the highest before them, 0 when there was none.

    >>> (standing_still(np.array([100, 90, 200, 201, 9_000, 202, 203]) * _SECOND_NS, 30 * _SECOND_NS)).tolist()
    [2]
    """
    before = np.maximum.accumulate(np.concatenate((np.array([watermark_ns], np.int64), ts_ns)))[:-1]
    after = np.minimum.accumulate(ts_ns[::-1])[::-1]
    still = (after - before > STILL_NS) & (before > 0)
    if len(ts_ns):
        still[-1] &= ts_ns[-1] - before[-1] <= LEAP_NS
    return np.flatnonzero(still)
