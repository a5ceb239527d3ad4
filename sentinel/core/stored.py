"""Stored rows as the events they were, for who learns from them or judges them anew."""

import numpy as np

from sentinel.core.batch import CleanBatch, Dimensions, Int32, Int64, PartitionId
from sentinel.core.ports import StoredMetrics


def batch_of(source: PartitionId, rows: StoredMetrics) -> CleanBatch:
    """Stored rows as the batch they were, without what only explanations tell: dimensions, users, traces and texts."""
    n = len(rows.offsets)
    zeros = np.zeros(n, np.int32)
    return CleanBatch(
        source=source,
        received_ns=0,
        index=np.arange(n, dtype=np.int32),
        offsets=rows.offsets,
        subs=_subs(rows.offsets),
        ts_ns=rows.ts_ns,
        log_ns=rows.ts_ns,
        names=rows.names,
        series=rows.series,
        metrics=rows.metrics,
        flags=rows.flags,
        dialects=np.zeros(n, np.int8),
        dimension_sets=(Dimensions(),),
        dimensions=zeros,
        users=(None,),
        user=zeros,
        personal=np.zeros(n, np.bool_),
        event_ids=rows.event_ids,
        trace_ids=[None] * n,
        extra=[None] * n,
        findings={},
    )


def _subs(offsets: Int64) -> Int32:
    """The place of each event within its record: those of one record share an offset, and stand side by side.

    >>> _subs(np.array([4, 5, 5, 5, 9])).tolist()
    [0, 0, 1, 2, 0]
    """
    first = np.flatnonzero(np.diff(offsets, prepend=-1))
    return (np.arange(len(offsets)) - np.repeat(first, np.diff(first, append=len(offsets)))).astype(np.int32)
