"""Rollups between columns and table rows."""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from sentinel.storage import rollup, schema, sketch
from sentinel.storage.rollup import SUMS, Rollups

_UPSERT: Final = schema.upsert_rollups()
COLUMNS: Final = ", ".join((*schema.ROLLUP_KEY, *schema.ROLLUP_VALUES))
_ONE: Final = f"SELECT {COLUMNS} FROM rollups WHERE minute = ? AND series = ?"  # noqa: S608  names of our own columns

_NUMBERS = 2 + len(SUMS) + 2


def from_rows(rows: Sequence[tuple[Any, ...]]) -> Rollups:
    """The rollups of table rows with the columns of COLUMNS, or with fewer sketches; distinct and at least one.

    Raises:
        sqlite3.DatabaseError: a sketch is damaged.
    """
    columns = list(zip(*rows, strict=True))
    numbers = [np.array(column, dtype=np.float64) for column in columns[2:_NUMBERS]]
    try:
        sketches = tuple(sketch.decode(column) for column in columns[_NUMBERS:])
    except ValueError as error:
        raise sqlite3.DatabaseError(f"a row of the table rollups is damaged: {error}") from error
    return Rollups(
        minute=np.array(columns[0], dtype=np.int64),
        series=np.array(columns[1], dtype=np.int64),
        sums=np.stack(numbers[: len(SUMS)], axis=1),
        latency_min=numbers[-2],
        latency_max=numbers[-1],
        sketches=sketches,
    )


def to_rows(rollups: Rollups) -> Iterable[tuple[Any, ...]]:
    """Table rows with the columns of COLUMNS."""
    return zip(
        rollups.minute.tolist(),
        rollups.series.tolist(),
        *np.ascontiguousarray(rollups.sums.T).tolist(),
        rollups.latency_min.tolist(),
        rollups.latency_max.tolist(),
        *(sketch.encode(sketches, len(rollups)) for sketches in rollups.sketches),
        strict=True,
    )


def merge_into(connection: sqlite3.Connection, fresh: Rollups) -> None:
    """Merge rollups into the stored ones."""
    look_up = connection.cursor()
    keys = zip(fresh.minute.tolist(), fresh.series.tolist(), strict=True)
    stored = [row for key in keys if (row := look_up.execute(_ONE, key).fetchone())]
    merged = rollup.merge([from_rows(stored), fresh]) if stored else fresh
    connection.executemany(_UPSERT, to_rows(merged))
