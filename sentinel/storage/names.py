"""Names that rows refer to by number: series and sets of dimensions. Each is written once and remembered up to a limit."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

import numpy as np
import orjson

from sentinel.core.batch import Dimensions, Int32, Int64, SeriesKey

REMEMBERED: Final = 50_000
"""Names of one kind whose numbers are kept in memory."""

T = TypeVar("T", bound=tuple[Any, ...])


class Names(Generic[T]):
    """The numbers of one kind of names.

    Args:
        insert: statement that stores a name unless it is there; select: the one that finds its number.
        parameters: what these two take of a name.
    """

    def __init__(self, insert: str, select: str, parameters: Callable[[T], tuple[str, ...]]) -> None:
        self._insert = insert
        self._select = select
        self._parameters = parameters
        self._known: dict[T, int] = {}

    def numbers(self, connection: sqlite3.Connection, names: Sequence[T], codes: Int32) -> Int64:
        """int64[n], the stored number of each event's name. Names that no event uses are not stored.

        Args:
            connection: in a transaction.
            names: of a batch.
            codes: int32[n], index into them.
        """
        number = np.zeros(len(names), np.int64)
        for code in np.flatnonzero(np.bincount(codes, minlength=len(names))).tolist():
            number[code] = self._number(connection, names[code])
        return number[codes]

    def forget(self) -> None:
        """Trust nothing in memory any more."""
        self._known.clear()

    def _number(self, connection: sqlite3.Connection, name: T) -> int:
        number = self._known.get(name)
        if number is None:
            parameters = self._parameters(name)
            connection.execute(self._insert, parameters)
            (number,) = connection.execute(self._select, parameters).fetchone()
            if len(self._known) >= REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[name] = int(number)
        return int(number)


def series_names() -> Names[SeriesKey]:
    """The numbers of series."""
    return Names(
        "INSERT INTO series (tenant, service, model) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        "SELECT id FROM series WHERE tenant = ? AND service = ? AND model = ?",
        tuple,
    )


def dimension_names() -> Names[Dimensions]:
    """The numbers of sets of dimensions; a set is stored as a JSON object of those that are given."""
    return Names(
        "INSERT INTO dimensions (names) VALUES (?) ON CONFLICT DO NOTHING",
        "SELECT id FROM dimensions WHERE names = ?",
        lambda given: (orjson.dumps({name: value for name, value in given._asdict().items() if value is not None}).decode(),),
    )
