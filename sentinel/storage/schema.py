"""The tables of the embedded store, and how an older file becomes a current one.

The clustered key of an event is its place in its log: a redelivery meets its own rows, a replay is one range scan, and appending costs
least. The one other index of events ends in the series, so that a filter by series reads the index alone.
"""

import sqlite3
from functools import cache
from typing import Final

from sentinel.core.errors import StartupError
from sentinel.core.metrics import METRIC_NAMES

APPLICATION_ID: Final = 0x4C4C4D53
"""Says that a SQLite file is ours."""

_FIRST: Final = (
    """
    CREATE TABLE logs (
        part INTEGER PRIMARY KEY,
        cluster TEXT NOT NULL,
        topic TEXT NOT NULL,
        partition INTEGER NOT NULL,
        position INTEGER NOT NULL,         -- the offset after the last stored one
        rollup_position INTEGER NOT NULL,  -- the offset after the last one in the rollups
        UNIQUE (cluster, topic, partition)
    )
    """,
    """
    CREATE TABLE series (
        id INTEGER PRIMARY KEY,
        tenant TEXT NOT NULL,
        service TEXT NOT NULL,
        model TEXT NOT NULL,
        last_ns INTEGER,                   -- newest event in the rollups
        events INTEGER NOT NULL DEFAULT 0, -- events ever put into the rollups
        UNIQUE (tenant, service, model)
    )
    """,
    """
    CREATE TABLE events (
        part INTEGER NOT NULL,
        off INTEGER NOT NULL,
        sub INTEGER NOT NULL,
        ts_ns INTEGER NOT NULL,
        series INTEGER NOT NULL,
        latency_ms REAL,
        ttft_ms REAL,
        time_per_output_token_ms REAL,
        prompt_tokens INTEGER,
        completion_tokens INTEGER,
        total_tokens INTEGER,
        cost_usd REAL,
        error INTEGER,
        flags INTEGER NOT NULL,
        dialect INTEGER NOT NULL,
        event_id TEXT,
        trace_id TEXT,
        extra TEXT,                        -- JSON object
        PRIMARY KEY (part, off, sub)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX events_by_time ON events (ts_ns, part, off, sub, series)",
    """
    CREATE TABLE anomalies (
        id TEXT PRIMARY KEY NOT NULL,
        ts_ns INTEGER NOT NULL,
        series INTEGER NOT NULL,
        metric INTEGER NOT NULL,
        detector INTEGER NOT NULL,
        severity INTEGER NOT NULL,
        value REAL,
        score REAL,
        expected REAL,
        lower REAL,
        upper REAL,
        mean REAL,
        sd REAL,
        samples INTEGER NOT NULL,
        window_size INTEGER NOT NULL,
        part INTEGER NOT NULL,
        off INTEGER NOT NULL,
        sub INTEGER NOT NULL,
        event_id TEXT,
        trace_id TEXT
    )
    """,
    "CREATE INDEX anomalies_by_time ON anomalies (ts_ns, severity, metric, detector, series)",
    """
    CREATE TABLE rollups (
        minute INTEGER NOT NULL,           -- minutes since the epoch
        series INTEGER NOT NULL,           -- 0 = all series together
        requests INTEGER NOT NULL,
        errors INTEGER NOT NULL,
        prompt_tokens INTEGER NOT NULL,
        completion_tokens INTEGER NOT NULL,
        total_tokens INTEGER NOT NULL,
        cost_usd REAL NOT NULL,
        latency_count INTEGER NOT NULL,
        latency_sum_ms REAL NOT NULL,
        latency_min_ms REAL,
        latency_max_ms REAL,
        latency_sketch BLOB,
        ttft_sketch BLOB,
        tokens_sketch BLOB,
        cost_sketch BLOB,
        PRIMARY KEY (minute, series)
    )
    """,
    "CREATE TABLE totals (events INTEGER NOT NULL, anomalies INTEGER NOT NULL)",
    "INSERT INTO totals VALUES (0, 0)",
)

_DIMENSIONS: Final = (
    """
    CREATE TABLE dimensions (
        id INTEGER PRIMARY KEY,
        names TEXT NOT NULL UNIQUE,        -- JSON object of those that are given
        last_ns INTEGER                    -- newest event in the rollups
    )
    """,
    # Rows from before have theirs in `extra`, as they have their trace id.
    "ALTER TABLE events ADD COLUMN dimensions INTEGER",
    "ALTER TABLE events DROP COLUMN trace_id",
)

# Ids are random: an index of them dirties a page for almost every row. It is a table of its own, filled in order when rollups are folded.
_ANOMALY_IDS: Final = (
    "ALTER TABLE anomalies RENAME TO anomalies_1",
    """
    CREATE TABLE anomalies (
        n INTEGER PRIMARY KEY,
        id TEXT NOT NULL,
        ts_ns INTEGER NOT NULL,
        series INTEGER NOT NULL,
        metric INTEGER NOT NULL,
        detector INTEGER NOT NULL,
        severity INTEGER NOT NULL,
        value REAL,
        score REAL,
        expected REAL,
        lower REAL,
        upper REAL,
        mean REAL,
        sd REAL,
        samples INTEGER NOT NULL,
        window_size INTEGER NOT NULL,
        part INTEGER NOT NULL,
        off INTEGER NOT NULL,
        sub INTEGER NOT NULL,
        event_id TEXT,
        trace_id TEXT
    )
    """,
    """
    INSERT INTO anomalies
    SELECT rowid, id, ts_ns, series, metric, detector, severity, value, score, expected, lower, upper, mean, sd, samples,
        window_size, part, off, sub, event_id, trace_id FROM anomalies_1
    """,
    "DROP TABLE anomalies_1",
    "CREATE INDEX anomalies_by_time ON anomalies (ts_ns, severity, metric, detector, series)",
    "CREATE TABLE anomaly_ids (id TEXT PRIMARY KEY NOT NULL, n INTEGER NOT NULL) WITHOUT ROWID",
    "ALTER TABLE totals ADD COLUMN anomaly_ids_to INTEGER NOT NULL DEFAULT 0",  # the last n that is in anomaly_ids
)

_TICK_ANOMALIES: Final = (
    """
    CREATE TABLE tick_anomalies (
        id TEXT PRIMARY KEY NOT NULL,
        ts_ns INTEGER NOT NULL,
        tenant TEXT NOT NULL,
        service TEXT NOT NULL,
        model TEXT NOT NULL,
        metric TEXT NOT NULL,
        detector TEXT NOT NULL,
        type TEXT NOT NULL,
        severity INTEGER NOT NULL,
        body TEXT NOT NULL                 -- the whole anomaly as JSON
    )
    """,
    "CREATE INDEX tick_anomalies_by_time ON tick_anomalies (ts_ns, severity, id)",
)

MIGRATIONS: Final = (_FIRST, (*_DIMENSIONS, *_ANOMALY_IDS), _TICK_ANOMALIES)
"""Statements that lead from format i to format i + 1. A released entry never changes."""

FORMAT: Final = len(MIGRATIONS)

EVENT_COLUMNS: Final = ("part", "off", "sub", "ts_ns", "series", *METRIC_NAMES, "flags", "dialect", "dimensions", "event_id", "extra")

ANOMALY_COLUMNS: Final = (
    "id", "ts_ns", "series", "metric", "detector", "severity", "value", "score", "expected", "lower", "upper", "mean", "sd",
    "samples", "window_size", "part", "off", "sub", "event_id", "trace_id",
)  # fmt: skip

ROLLUP_KEY: Final = ("minute", "series")
ROLLUP_VALUES: Final = (
    "requests", "errors", "prompt_tokens", "completion_tokens", "total_tokens", "cost_usd", "latency_count", "latency_sum_ms",
    "latency_min_ms", "latency_max_ms", "latency_sketch", "ttft_sketch", "tokens_sketch", "cost_sketch",
)  # fmt: skip
"""In the order of `rollup.Rollups`: its sums, extremes and sketches."""


@cache
def insert_events(rows: int) -> str:
    """The statement that stores so many events. Their extra fields arrive as bytes and are kept as text."""
    marks = ", ".join("?" * (len(EVENT_COLUMNS) - 1))
    values = ", ".join([f"({marks}, CAST(? AS TEXT))"] * rows)
    return f"INSERT INTO events ({', '.join(EVENT_COLUMNS)}) VALUES {values}"  # noqa: S608  names from this file


@cache
def insert_anomalies(rows: int) -> str:
    """The statement that stores so many anomalies."""
    values = ", ".join([f"({', '.join('?' * len(ANOMALY_COLUMNS))})"] * rows)
    return f"INSERT INTO anomalies ({', '.join(ANOMALY_COLUMNS)}) VALUES {values}"  # noqa: S608  names from this file


def upsert_rollups() -> str:
    """The statement that puts one rollup in the place of the one before."""
    columns = (*ROLLUP_KEY, *ROLLUP_VALUES)
    marks = ", ".join("?" * len(columns))
    new = ", ".join(f"{name} = excluded.{name}" for name in ROLLUP_VALUES)
    return f"INSERT INTO rollups ({', '.join(columns)}) VALUES ({marks}) ON CONFLICT (minute, series) DO UPDATE SET {new}"  # noqa: S608  names from this file


def migrate(connection: sqlite3.Connection, place: str) -> None:
    """Bring the file to the current format, each step in one transaction.

    Raises:
        StartupError: the file is not ours, or newer than this version.
    """
    (format_,) = connection.execute("PRAGMA user_version").fetchone()
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application_id != APPLICATION_ID and (format_ or application_id or tables):
        raise StartupError(f"{place} is the database of another program; point storage.embedded.path at a file of its own")
    if format_ > FORMAT:
        raise StartupError(
            f"{place} has format {format_}, this version knows formats up to {FORMAT}; "
            "start the version that wrote it, or point storage.embedded.path at another file"
        )
    for number, statements in enumerate(MIGRATIONS[format_:], start=format_ + 1):
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
