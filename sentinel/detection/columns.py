"""State of many series as growing columns: the arrays that a detector keeps, and that a checkpoint takes as they are.

All zero is the state of a series that was never seen, so room is made and taken back without knowing what a column means.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sentinel.core.batch import Int64

Tables = dict[str, npt.NDArray[Any]]
"""Arrays of plain numbers by name."""

_FIRST_ROOM = 16


class Columns:
    """Named arrays, one entry a row, that grow by doubling.

    Args:
        kinds: type and shape of a row's entry, by the column's name.

    >>> columns = Columns(seen=(np.int64, ()), share=(np.float64, (2,)))
    >>> columns.reserve(3)
    >>> columns["share"][2, 1] = 0.5
    >>> columns.forget(np.array([2]))
    >>> columns["share"][2].tolist()
    [0.0, 0.0]
    """

    __slots__ = ("_arrays", "_rows")

    def __init__(self, **kinds: tuple[type[Any], tuple[int, ...]]) -> None:
        self._rows = 0
        self._arrays: Tables = {name: np.zeros((0, *shape), kind) for name, (kind, shape) in kinds.items()}

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self._arrays[name]

    def reserve(self, rows: int) -> None:
        """Make room for at least `rows` rows; arrays taken out before are no longer those in use."""
        self._rows = max(self._rows, rows)
        for name, array in self._arrays.items():
            if len(array) < rows:
                room = np.zeros((max(rows, 2 * len(array), _FIRST_ROOM) - len(array), *array.shape[1:]), array.dtype)
                self._arrays[name] = np.concatenate((array, room))

    def forget(self, rows: Int64) -> None:
        """Make rows what they were before anything was seen."""
        for array in self._arrays.values():
            array[rows[rows < len(array)]] = 0

    def tables(self, prefix: str = "") -> Tables:
        """Copies of the rows in use, by prefix and name."""
        return {prefix + name: array[: self._rows].copy() for name, array in self._arrays.items()}

    def load(self, tables: Mapping[str, npt.NDArray[Any]], prefix: str = "") -> None:
        """Take columns of `tables` as they were; a column that is absent or of another shape starts empty."""
        kept = {name: tables.get(prefix + name) for name in self._arrays}
        found = {name: table for name, table in kept.items() if table is not None and table.shape[1:] == self._arrays[name].shape[1:]}
        self._rows = 0
        self._arrays = {name: np.zeros((0, *array.shape[1:]), array.dtype) for name, array in self._arrays.items()}
        self.reserve(max((len(table) for table in found.values()), default=0))
        for name, table in found.items():
            self._arrays[name][: len(table)] = table
