"""Rows: which series of a partition has time windows of its own, and which other series a new one may borrow from."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from sentinel.core.batch import OVERFLOW, CleanBatch, Int32, SeriesKey

MOST_FAMILIES: Final = 512
"""Models and providers with priors of their own; the series of further ones borrow from all."""


class Rows:
    """The series of a partition by row, in order of first appearance, with their families.

    Args:
        most: series with rows of their own; all further ones share the row of the overflow series.

    Attributes:
        names: the series, by row.
    """

    __slots__ = ("_families", "_most", "_rows", "names")

    def __init__(self, most: int) -> None:
        self._most = most
        self.names: list[SeriesKey] = []
        self._rows: dict[SeriesKey, int] = {}
        self._families: dict[tuple[str, str], int] = {}

    def of(self, batch: CleanBatch, families: Int32) -> tuple[Int32, list[int]]:
        """The row of each event of a batch, and the rows that are new.

        Args:
            batch: the events.
            families: int32[r, 2], gets the families of new rows: of the model and of the provider; 0 is that of all series.
        """
        rows = np.empty(len(batch.names), np.int32)
        new = []
        for code, name in enumerate(batch.names):
            if name not in self._rows and (len(self.names) < self._most or OVERFLOW not in self._rows):
                first = batch.dimension_sets[batch.dimensions[int(np.argmax(batch.series == code))]]
                new.append(self._begin(name if len(self.names) < self._most else OVERFLOW))
                families[new[-1]] = self._number("model", name.model), self._number("provider", first.provider)
            rows[code] = self._rows.get(name, self._rows.get(OVERFLOW, 0))
        return rows[batch.series], new

    def _begin(self, name: SeriesKey) -> int:
        """A new row."""
        self._rows[name] = len(self.names)
        self.names.append(name)
        return self._rows[name]

    def _number(self, kind: str, name: str | None) -> int:
        """The number of a model or provider; 0 where there is no name, or no room."""
        if name is None:
            return 0
        if (kind, name) not in self._families and len(self._families) + 1 < MOST_FAMILIES:
            self._families[kind, name] = len(self._families) + 1
        return self._families.get((kind, name), 0)

    def tables(self) -> dict[str, npt.NDArray[Any]]:
        """What a checkpoint keeps besides `names`."""
        return {"family_names": np.frombuffer(msgspec.json.encode(list(self._families)), np.uint8)}

    def load(self, tables: dict[str, npt.NDArray[Any]], names: Sequence[SeriesKey]) -> None:
        """Become what `tables` was taken of. Raises KeyError, ValueError or msgspec.MsgspecError when they do not fit."""
        families = msgspec.json.decode(tables["family_names"].tobytes(), type=list[tuple[str, str]])
        if len(names) > self._most + 1 or len(families) >= MOST_FAMILIES:
            raise ValueError(f"{len(names)} series, and the configuration allows {self._most} (detection.ticks.max_series)")
        self.names = list(names)
        self._rows = {name: row for row, name in enumerate(self.names)}
        self._families = {family: at + 1 for at, family in enumerate(families)}
