"""The writing side of the embedded store. Every method runs on the store's one writer thread.

What the writer remembers (log positions, series numbers, rows that wait for the rollups) is only ever a copy of the file. After any
failure it forgets all of it and reads it anew, so that memory cannot contradict what was committed.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from sentinel.core.batch import Bool, Float64, Int64, PartitionId
from sentinel.core.errors import PermanentError
from sentinel.core.metrics import METRIC_NAMES
from sentinel.core.ports import StoreWrite
from sentinel.storage import batch_rows, database, retention, rollup, rollup_rows, schema, tick_table
from sentinel.storage.names import dimension_names, series_names
from sentinel.storage.retention import Table
from sentinel.storage.rollup import MINUTE_NS

FOLD_ROWS: Final = 200_000
"""Rows that may wait for the rollups; a write beyond them folds first."""

_UNFOLDED: Final = (
    f"SELECT off, sub, ts_ns, series, ifnull(dimensions, 0), {', '.join(METRIC_NAMES)} FROM events "  # noqa: S608  names of our own columns
    "WHERE part = ? AND off >= ? AND (off, sub) > (?, ?) ORDER BY off, sub LIMIT ?"
)


@dataclass(slots=True)
class _Log:
    """One log: its number in the tables and the offset after its last stored one."""

    part: int
    position: int


class _Waiting(NamedTuple):
    """Committed rows that are not in the rollups yet: int64[n], int64[n], int64[n], float64[n, m]."""

    ts_ns: Int64
    series: Int64
    dimensions: Int64
    metrics: Float64


class Writer:
    """The one connection that writes.

    Args:
        path: the database file.
        synchronous: `normal` or `full`.
    """

    def __init__(self, path: Path, synchronous: str) -> None:
        self.path = path
        self.synchronous = synchronous
        self.waiting_rows = 0
        self._connection: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._logs: dict[PartitionId, _Log] = {}
        self._series = series_names()
        self._dimensions = dimension_names()
        self._waiting: list[_Waiting] = []
        self._forgotten = True

    def open(self) -> None:
        """Lock and open the file, bring its tables and rollups up to date. Raises StartupError with place and cure."""
        with database.open_errors(self.path):
            self._lock = database.lock(self.path)
            try:
                self._connection = database.connect_writer(self.path, self.synchronous)
                self.fold()
            except BaseException:
                self._disconnect()
                raise

    def write(self, writes: Sequence[StoreWrite]) -> None:
        """Store rows, anomalies and positions in one transaction.

        Raises:
            RetryableError: nothing was stored; the same write may succeed later.
            PermanentError: nothing was stored; these rows contradict themselves or what is stored.
        """
        with self._transaction() as connection:
            for write in writes:
                if self.waiting_rows >= FOLD_ROWS:
                    self._fold(connection)
                self._write(connection, write)

    def fold(self) -> None:
        """Put all committed rows into the rollups. Raises RetryableError."""
        with self._transaction() as connection:
            self._fold(connection)

    def delete_older(self, table: Table, cutoff_ns: int, limit: int) -> int:
        """Delete up to `limit` rows from before a time; their number. Raises RetryableError."""
        with self._transaction() as connection:
            # What is deleted must be in the rollups first: it could not be caught up any more.
            self._fold(connection)
            return retention.delete_older(connection, table, cutoff_ns, limit)

    def forget_series(self, cutoff_ns: int) -> int:
        """Delete series that have no row newer than a time; their number. Raises RetryableError."""
        with self._transaction() as connection:
            self._fold(connection)
            deleted = retention.forget_series(connection, cutoff_ns)
            if deleted:
                self._series.forget()
        return deleted

    def forget_dimensions(self, cutoff_ns: int) -> int:
        """Delete sets of dimensions that no event newer than a time has; their number. Raises RetryableError."""
        with self._transaction() as connection:
            self._fold(connection)
            deleted = retention.forget_dimensions(connection, cutoff_ns)
            if deleted:
                self._dimensions.forget()
        return deleted

    def give_back(self, pages: int) -> bool:
        """Return up to `pages` free pages to the file system while more than a quarter of the file is free; whether there are more.

        Fewer free pages stay: the next writes use them.
        """
        connection = self._open_connection()
        with database.write_errors(self.path):
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            (all_pages,) = connection.execute("PRAGMA page_count").fetchone()
            surplus = free - all_pages // 4
            if surplus <= 0:
                return False
            # As a script: an ordinary statement of this module would free one page and stop.
            connection.executescript(f"PRAGMA incremental_vacuum({min(pages, surplus)})")
        return bool(surplus > pages)

    def close(self) -> None:
        """Finish the rollups, merge the log into the file, disconnect, give the lock back. Twice is harmless.

        Raises RetryableError when the rollups could not be finished; all else is done, and the next open finishes them.
        """
        if self._connection is None:
            return
        try:
            self.fold()
        finally:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        self._forget()

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError(f"the store {self.path} is not open")
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, with what the writer remembers in step with the file."""
        connection = self._open_connection()
        with database.write_errors(self.path):
            try:
                connection.execute("BEGIN IMMEDIATE")
                if self._forgotten:
                    self._catch_up(connection)
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                self._forget()
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _forget(self) -> None:
        """Trust nothing in memory any more."""
        self._logs.clear()
        self._series.forget()
        self._dimensions.forget()
        self._waiting.clear()
        self.waiting_rows = 0
        self._forgotten = True

    def _catch_up(self, connection: sqlite3.Connection) -> None:
        """Fold the rows between each log's rollup position and its position, then remember from here on."""
        behind = connection.execute("SELECT part, rollup_position FROM logs WHERE rollup_position < position").fetchall()
        for part, rollup_position in behind:
            off, sub = rollup_position, -1
            while rows := connection.execute(_UNFOLDED, (part, rollup_position, off, sub, FOLD_ROWS)).fetchall():
                columns = np.array([row[2:5] for row in rows], dtype=np.int64)
                metrics = np.array([row[5:] for row in rows], dtype=np.float64)
                self._fold_rows(connection, _Waiting(columns[:, 0], columns[:, 1], columns[:, 2], metrics))
                off, sub = rows[-1][:2]
        self._folded(connection)
        self._forgotten = False

    def _fold(self, connection: sqlite3.Connection) -> None:
        """Put the waiting rows into the rollups and say so in the same transaction."""
        if self._waiting:
            self._fold_rows(connection, _Waiting(*(np.concatenate(column) for column in zip(*self._waiting, strict=True))))
            self._folded(connection)
            self._waiting.clear()
            self.waiting_rows = 0

    @staticmethod
    def _folded(connection: sqlite3.Connection) -> None:
        """Everything stored is in the rollups now; the ids of its anomalies follow."""
        connection.execute("UPDATE logs SET rollup_position = position WHERE rollup_position < position")
        retention.index_ids(connection)

    def _fold_rows(self, connection: sqlite3.Connection, rows: _Waiting) -> None:
        """Merge rows into the stored rollups and note when each series and set of dimensions was last seen."""
        fresh = rollup.fold(rows.ts_ns // MINUTE_NS, rows.series, rows.metrics)
        rollup_rows.merge_into(connection, rollup.with_everything(fresh))
        newest, counts, series = _seen(rows.ts_ns, rows.series)
        connection.executemany(
            "UPDATE series SET last_ns = max(ifnull(last_ns, ?), ?), events = events + ? WHERE id = ?",
            zip(newest, newest, counts, series, strict=True),
        )
        newest, _, dimensions = _seen(rows.ts_ns, rows.dimensions)
        connection.executemany(
            "UPDATE dimensions SET last_ns = max(ifnull(last_ns, ?), ?) WHERE id = ?", zip(newest, newest, dimensions, strict=True)
        )

    def _write(self, connection: sqlite3.Connection, write: StoreWrite) -> None:
        """One log's rows, anomalies and position; what lies below the stored position is there already."""
        batch = write.batch
        if len(batch) and int(batch.offsets.max()) >= write.next_offset:
            raise PermanentError(
                f"a write of {write.source} holds offset {batch.offsets.max()}, beyond its next offset {write.next_offset}"
            )
        log = self._log(connection, write.source)
        fresh = batch.offsets >= log.position
        if fresh.any():
            self._insert(connection, write, log.part, fresh)
        # Also where the position stays as it is: a time mark closes windows without any event.
        if write.tick_anomalies and write.next_offset >= log.position:
            new = tick_table.insert(connection, write.tick_anomalies)
            connection.execute("UPDATE totals SET anomalies = anomalies + ?", (new,))
        if write.next_offset > log.position:
            connection.execute("UPDATE logs SET position = ? WHERE part = ?", (write.next_offset, log.part))
            log.position = write.next_offset

    def _insert(self, connection: sqlite3.Connection, write: StoreWrite, part: int, fresh: Bool) -> None:
        """Store the fresh events and their anomalies, and let the events wait for the rollups."""
        kept = write.batch if fresh.all() else write.batch.take(fresh)
        series = self._series.numbers(connection, kept.names, kept.series)
        dimensions = self._dimensions.numbers(connection, kept.dimension_sets, kept.dimensions)
        batch_rows.insert(connection, schema.insert_events, batch_rows.event_rows(kept, series, dimensions, part))
        anomalies = 0
        if len(write.anomalies):
            chosen = np.flatnonzero(fresh[write.anomalies.event])
            event = (np.cumsum(fresh) - 1)[write.anomalies.event[chosen]]
            rows = batch_rows.anomaly_rows(write.anomalies, chosen, kept, event, series, part)
            anomalies = batch_rows.insert(connection, schema.insert_anomalies, rows)
        connection.execute("UPDATE totals SET events = events + ?, anomalies = anomalies + ?", (len(kept), anomalies))
        self._waiting.append(_Waiting(kept.ts_ns, series, dimensions, kept.metrics))
        self.waiting_rows += len(kept)

    def _log(self, connection: sqlite3.Connection, source: PartitionId) -> _Log:
        """The log's number and position; a new one starts at 0."""
        log = self._logs.get(source)
        if log is None:
            connection.execute(
                "INSERT INTO logs (cluster, topic, partition, position, rollup_position) VALUES (?, ?, ?, 0, 0) ON CONFLICT DO NOTHING",
                source,
            )
            log = _Log(
                *connection.execute("SELECT part, position FROM logs WHERE cluster = ? AND topic = ? AND partition = ?", source).fetchone()
            )
            self._logs[source] = log
        return log


def _seen(ts_ns: Int64, numbers: Int64) -> tuple[list[int], list[int], list[int]]:
    """Of each distinct number the newest time, how many there are, and itself."""
    distinct, group, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    newest = np.full(len(distinct), np.iinfo(np.int64).min)
    np.maximum.at(newest, group, ts_ns)
    return newest.tolist(), counts.tolist(), distinct.tolist()
