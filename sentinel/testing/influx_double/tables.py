"""The double's memory: databases of tables, upserted by tags and time, kept as Arrow."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from line_protocol_parser import LineFormatError, parse_line
from pyarrow import compute

if TYPE_CHECKING:
    from line_protocol_parser import ParsedLine  # a name of our stub

SEALED_ROWS: Final = 2_048
"""Rows after which an open part of a table becomes Arrow."""


class Tag:
    """The kind of a column that is a tag; fields have that of their values."""


_COLUMN_TYPES: Final[dict[type, str]] = {
    Tag: "tag",
    float: "field::float",
    int: "field::integer",
    bool: "field::boolean",
    str: "field::string",
}
_ARROW: Final = {Tag: pa.string(), float: pa.float64(), int: pa.int64(), bool: pa.bool_(), str: pa.string()}


class FullError(Exception):
    """The double holds as many points as it may."""


@dataclass(frozen=True, slots=True)
class LineError:
    """One line that cannot be stored; `number` counts from 1."""

    number: int
    line: str
    message: str


@dataclass(slots=True)
class _Sealed:
    """Rows as Arrow, and which of them were written anew since."""

    batch: pa.RecordBatch
    dead: set[int]
    live: pa.Table | None = None


class Table:
    """One measurement. Not thread-safe: `Databases` holds the lock."""

    def __init__(self) -> None:
        self.kinds: dict[str, type] = {}
        self.rows = 0
        self._places: dict[tuple[tuple[str, str], ...], dict[int, int]] = {}
        self._sealed: list[_Sealed] = []
        self._open: list[dict[str, Any]] = []
        self._cached: pa.Table | None = None
        self._thawed: tuple[int, list[dict[str, Any]]] = (-1, [])

    def put(self, point: "ParsedLine") -> bool:
        """Store a point whose columns are in `kinds`; whether it is new. If it is there already, its fields are replaced one by one."""
        self._cached = None
        times = self._places.setdefault(tuple(sorted(point["tags"].items())), {})
        place = times.get(point["time"])
        if place is None:
            times[point["time"]] = self._append({"time": point["time"], **point["tags"], **point["fields"]})
            self.rows += 1
            return True
        part, row = divmod(place, SEALED_ROWS)
        if part == len(self._sealed):
            self._open[row].update(point["fields"])
        else:
            times[point["time"]] = self._append(self._taken(part, row) | {"time": point["time"]} | point["fields"])
        return False

    def arrow(self) -> pa.Table:
        """All rows."""
        if self._cached is None:
            parts = [self._live(sealed) for sealed in self._sealed]
            if self._open:
                parts.append(pa.Table.from_batches([self._batch(self._open)]))
            self._cached = pa.concat_tables(parts, promote_options="default")
        return self._cached

    def _append(self, row: dict[str, Any]) -> int:
        place = len(self._sealed) * SEALED_ROWS + len(self._open)
        self._open.append(row)
        if len(self._open) == SEALED_ROWS:
            self._sealed.append(_Sealed(self._batch(self._open), set()))
            self._open = []
        return place

    def _taken(self, part: int, row: int) -> dict[str, Any]:
        """A sealed row without its time; from now on it does not count there."""
        sealed = self._sealed[part]
        if self._thawed[0] != part:
            names = [name for name in sealed.batch.schema.names if name != "time"]
            values = zip(*(sealed.batch.column(name).to_pylist() for name in names), strict=True)
            self._thawed = part, [dict(zip(names, row_values, strict=True)) for row_values in values]
        sealed.dead.add(row)
        sealed.live = None
        return self._thawed[1][row]

    def _live(self, sealed: _Sealed) -> pa.Table:
        if sealed.live is None:
            kept = [row for row in range(sealed.batch.num_rows) if row not in sealed.dead]
            batch = sealed.batch.take(pa.array(kept, pa.int64())) if sealed.dead else sealed.batch
            sealed.live = pa.Table.from_batches([batch])
        return sealed.live

    def _batch(self, rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
        columns = {"time": pa.array([row["time"] for row in rows], pa.timestamp("ns"))}
        for name, kind in self.kinds.items():
            column = pa.array([row.get(name) for row in rows], _ARROW[kind])
            columns[name] = column.dictionary_encode() if kind is Tag else column
        return pa.RecordBatch.from_pydict(columns)


class Databases:
    """All databases. Thread-safe.

    Args:
        max_points: points over all tables after which further ones raise FullError.
    """

    def __init__(self, max_points: int) -> None:
        self.max_points = max_points
        self.received = 0
        self._lock = threading.Lock()
        self._points = 0
        self._tables: dict[str, dict[str, Table]] = {}

    def write(self, database: str, lines: Sequence[str], refuse: Callable[[str], bool] | None, *, partial: bool) -> list[LineError]:
        """Store the lines that can be stored, or without `partial` none unless all can be. Raises FullError."""
        with self._lock:
            tables = self._tables.setdefault(database, {})
            kinds: dict[str, dict[str, type]] = {name: dict(table.kinds) for name, table in tables.items()}
            good, bad = _judged(kinds, lines, refuse)
            if bad and not partial:
                return bad
            if self._points + len(good) > self.max_points:
                raise FullError(f"the double holds {self.max_points} points and takes no more")
            for name in {point["measurement"] for point in good}:
                tables.setdefault(name, Table()).kinds = kinds[name]
            self.received += len(good)
            self._points += sum(tables[point["measurement"]].put(point) for point in good)
            return bad

    def tables(self, database: str) -> dict[str, pa.Table] | None:
        """All tables of a database as they are now; None when it was never written to."""
        with self._lock:
            tables = self._tables.get(database)
            return None if tables is None else {name: table.arrow() for name, table in tables.items()}

    def sum(self, database: str, table: str, column: str) -> float:
        """The sum of a column; 0 where there is none."""
        found = (self.tables(database) or {}).get(table)
        if found is None or column not in found.column_names:
            return 0
        return compute.sum(found.column(column)).as_py() or 0

    def rows(self) -> dict[str, dict[str, int]]:
        """How many points each table of each database has."""
        with self._lock:
            return {database: {name: table.rows for name, table in tables.items()} for database, tables in self._tables.items()}


def _judged(
    kinds: dict[str, dict[str, type]], lines: Sequence[str], refuse: Callable[[str], bool] | None
) -> tuple[list["ParsedLine"], list[LineError]]:
    """The points of the lines, and the lines that are none or do not fit. Columns that good lines begin are added to `kinds`."""
    good, bad = [], []
    shapes: set[tuple[Any, ...]] = set()
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            point = parse_line(line)
        except (LineFormatError, TypeError, ValueError) as error:
            bad.append(LineError(number, line, f"cannot be parsed: {error}"))
            continue
        # Points of one shape have the same columns of the same types: one of them is looked at.
        shape = (point["measurement"], *point["tags"], *point["fields"], *map(type, point["fields"].values()))
        fault = None
        if refuse is not None and refuse(line):
            fault = "refused as told"
        elif shape not in shapes:
            fault = _fit(kinds.setdefault(point["measurement"], {}), point)
        if fault is None:
            shapes.add(shape)
            good.append(point)
        else:
            bad.append(LineError(number, line, fault))
    return good, bad


def _fit(kinds: dict[str, type], point: "ParsedLine") -> str | None:
    """Why the point does not fit the columns' types; None when it does, and then its columns are there."""
    new: list[tuple[str, type]] = [(name, Tag) for name in point["tags"] if kinds.get(name) is not Tag]
    new += [(name, type(value)) for name, value in point["fields"].items() if kinds.get(name) is not type(value)]
    if twice := point["tags"].keys() & point["fields"].keys():
        return f"the column '{min(twice)}' is a tag and a field"
    for name, kind in new:
        if name in kinds:
            expected, given = _COLUMN_TYPES[kinds[name]], _COLUMN_TYPES[kind]
            return f"invalid column type for column '{name}', expected iox::column_type::{expected}, got iox::column_type::{given}"
    kinds.update(new)
    return None
