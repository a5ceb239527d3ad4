"""The events and anomalies of a batch as rows of the embedded store."""

import sqlite3
from collections.abc import Callable, Iterator
from itertools import chain, islice, repeat
from typing import Any, Final

import numpy as np

from sentinel.core.anomaly import AnomalyBatch
from sentinel.core.batch import CleanBatch, Int64

ROWS_PER_STATEMENT: Final = 100
"""Rows of one INSERT. Every statement gives the interpreter's lock away and waits to get it back: once a row costs more than the row."""


def insert(connection: sqlite3.Connection, statement: Callable[[int], str], rows: Iterator[tuple[Any, ...]]) -> int:
    """Store rows, many with one statement; returns how many were new."""
    stored = 0
    while part := list(islice(rows, ROWS_PER_STATEMENT)):
        stored += connection.execute(statement(len(part)), list(chain.from_iterable(part))).rowcount
    return stored


def event_rows(batch: CleanBatch, series: Int64, dimensions: Int64, part: int) -> Iterator[tuple[Any, ...]]:
    """Rows for EVENT_COLUMNS. SQLite itself makes NULL of NaN and integers of integral counts."""
    return zip(
        repeat(part),
        batch.offsets.tolist(),
        batch.subs.tolist(),
        batch.ts_ns.tolist(),
        series.tolist(),
        *np.ascontiguousarray(batch.metrics.T).tolist(),
        batch.flags.tolist(),
        batch.dialects.tolist(),
        dimensions.tolist(),
        batch.event_ids,
        batch.extra,
        strict=False,  # part repeats for ever
    )


def anomaly_rows(
    found: AnomalyBatch, chosen: Int64, batch: CleanBatch, event: Int64, series: Int64, part: int
) -> Iterator[tuple[Any, ...]]:
    """Rows for ANOMALY_COLUMNS: the anomalies numbered `chosen`, found in the events numbered `event` of the batch."""
    at = event.tolist()
    kinds = (found.metric, found.detector, found.severity)
    numbers = (found.value, found.score, found.expected, found.lower, found.upper, found.mean, found.sd, found.samples)
    return zip(
        [found.ids[i] for i in chosen.tolist()],
        batch.ts_ns[event].tolist(),
        series[event].tolist(),
        *(column[chosen].tolist() for column in (*kinds, *numbers)),
        repeat(found.window),
        repeat(part),
        batch.offsets[event].tolist(),
        batch.subs[event].tolist(),
        [batch.event_ids[i] for i in at],
        [batch.trace_ids[i] for i in at],
        strict=False,  # window and part repeat for ever
    )
