"""Deleting what is older than its retention, and what only that referred to. Every function works on one connection, in a transaction."""

import sqlite3
from typing import Final, Literal

from sentinel.storage import tick_table
from sentinel.storage.rollup import MINUTE_NS

Table = Literal["events", "anomalies", "tick_anomalies", "rollups"]

_DELETE_EVENTS: Final = (
    "DELETE FROM events WHERE (part, off, sub) IN (SELECT part, off, sub FROM events WHERE ts_ns < ? ORDER BY ts_ns LIMIT ?)"
)
_OLD_ANOMALIES: Final = "SELECT n FROM anomalies WHERE ts_ns < ? ORDER BY ts_ns LIMIT ?"
_DELETE_IDS: Final = "DELETE FROM anomaly_ids WHERE id = (SELECT id FROM anomalies WHERE n = ?)"
_DELETE_ANOMALIES: Final = "DELETE FROM anomalies WHERE n = ?"
_DELETE_ROLLUPS: Final = "DELETE FROM rollups WHERE rowid IN (SELECT rowid FROM rollups WHERE minute < ? ORDER BY minute LIMIT ?)"
_NEW_IDS: Final = "INSERT OR IGNORE INTO anomaly_ids SELECT id, n FROM anomalies WHERE n > (SELECT anomaly_ids_to FROM totals) ORDER BY id"
_IDS_TO: Final = "UPDATE totals SET anomaly_ids_to = ifnull((SELECT max(n) FROM anomalies), 0)"
_OLDER: Final = """
    SELECT EXISTS (SELECT 1 FROM events WHERE ts_ns < :ns) OR EXISTS (SELECT 1 FROM anomalies WHERE ts_ns < :ns)
        OR EXISTS (SELECT 1 FROM rollups WHERE minute < :minute)
"""


def delete_older(connection: sqlite3.Connection, table: Table, cutoff_ns: int, limit: int) -> int:
    """Delete up to `limit` rows from before a time; their number. Events must be in the rollups."""
    if table == "rollups":
        return connection.execute(_DELETE_ROLLUPS, (cutoff_ns // MINUTE_NS, limit)).rowcount
    if table == "events":
        deleted = connection.execute(_DELETE_EVENTS, (cutoff_ns, limit)).rowcount
        connection.execute("UPDATE totals SET events = events - ?", (deleted,))
        return deleted
    deleted = (_delete_anomalies if table == "anomalies" else tick_table.delete_older)(connection, cutoff_ns, limit)
    connection.execute("UPDATE totals SET anomalies = anomalies - ?", (deleted,))
    return deleted


def _delete_anomalies(connection: sqlite3.Connection, cutoff_ns: int, limit: int) -> int:
    old = connection.execute(_OLD_ANOMALIES, (cutoff_ns, limit)).fetchall()
    connection.executemany(_DELETE_IDS, old)
    deleted = connection.executemany(_DELETE_ANOMALIES, old).rowcount if old else 0
    connection.execute(_IDS_TO)  # numbers above the highest that is left are given again
    return deleted


def index_ids(connection: sqlite3.Connection) -> None:
    """Let the anomalies that are new be found by their ids."""
    connection.execute(_NEW_IDS)
    connection.execute(_IDS_TO)


def forget_series(connection: sqlite3.Connection, cutoff_ns: int) -> int:
    """Delete series that have no row newer than a time; their number.

    Rows from before that time that arrived since the last deletion keep every series for now.
    """
    (older,) = connection.execute(_OLDER, {"ns": cutoff_ns, "minute": cutoff_ns // MINUTE_NS}).fetchone()
    return 0 if older else connection.execute("DELETE FROM series WHERE last_ns < ?", (cutoff_ns - MINUTE_NS,)).rowcount


def forget_dimensions(connection: sqlite3.Connection, cutoff_ns: int) -> int:
    """Delete sets of dimensions that no event newer than a time has; their number.

    Events from before that time that arrived since the last deletion keep every set for now.
    """
    (older,) = connection.execute("SELECT EXISTS (SELECT 1 FROM events WHERE ts_ns < ?)", (cutoff_ns,)).fetchone()
    return 0 if older else connection.execute("DELETE FROM dimensions WHERE last_ns < ?", (cutoff_ns,)).rowcount
