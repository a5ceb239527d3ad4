"""What every part of the state room does with rows: put them in place of others, ask in portions."""

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")

PORTION: Final = 500
"""Values of one IN (...): SQLite takes some 32,000 in a statement, and a plan for so many pays for nobody."""


def upsert(connection: Connection, table: Table, rows: Sequence[dict[str, Any]], once: Collection[str] = ()) -> None:
    """Insert rows; one whose primary key is there already replaces that one, but for the columns that are written `once`."""
    if not rows:
        return
    keys = [column.name for column in table.primary_key]
    statement = _insert(connection, table)
    others = {name: statement.excluded[name] for name in rows[0] if name not in keys and name not in once}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=others), rows)


def insert_new(connection: Connection, table: Table, key: str, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows; one whose unique `key` is there already changes nothing."""
    if rows:
        connection.execute(_insert(connection, table).on_conflict_do_nothing(index_elements=[key]), rows)


def portions(values: Sequence[T]) -> Iterator[list[T]]:
    """The values in lists of at most PORTION.

    >>> [len(portion) for portion in portions(range(1001))]
    [500, 500, 1]
    """
    rest = iter(values)
    while portion := list(islice(rest, PORTION)):
        yield portion


def _insert(connection: Connection, table: Table) -> "postgresql.Insert | sqlite.Insert":
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
