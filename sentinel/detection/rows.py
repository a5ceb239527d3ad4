"""Which row of a detector's state belongs to which series: bounded, with an overflow series; idle rows are given to others in need."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from sentinel.core.batch import OVERFLOW, Int32, Int64, SeriesKey
from sentinel.core.errors import SnapshotError
from sentinel.detection.closing import EVERY
from sentinel.detection.columns import Tables

FULL, ROOMY = 0.9, 0.75
"""Idle rows are taken back when the first share of them is taken, down to the second: new names keep finding room."""


class Rows:
    """Rows of named series.

    Args:
        most: how many series have a row of their own; the overflow series has one more.

    >>> rows = Rows(1)
    >>> rows.of([SeriesKey("default", "a", "m"), SeriesKey("default", "b", "m")]).tolist()
    [0, 1]
    >>> rows.names[1].service
    '__other__'
    """

    __slots__ = ("_free", "_row", "most", "names")

    def __init__(self, most: int) -> None:
        self.most = most
        self._row: dict[SeriesKey, int] = {}
        self._free: list[int] = []
        self.names: list[SeriesKey] = []

    def __len__(self) -> int:
        return len(self.names)

    def of(self, keys: Sequence[SeriesKey]) -> Int32:
        """int32[n], the row of each name, given now if it has none and there is room, else the overflow series'."""
        # One look-up for each: a tuple's hash is made anew every time.
        rows = list(map(self._row.get, keys))
        return np.array([self._taken(key) if row is None else row for key, row in zip(keys, rows, strict=True)], np.int32)

    def surplus(self) -> int:
        """How many rows are to be taken back, if that many are idle; 0 while there is room."""
        return len(self._row) - int(ROOMY * self.most) if len(self._row) >= FULL * self.most else 0

    def used(self) -> Int64:
        """int64[u], the rows that belong to a series, the overflow series' left out, in order."""
        return np.array(sorted(row for key, row in self._row.items() if key != OVERFLOW), np.int64)

    def of_overflow(self) -> list[int]:
        """The row of the overflow series, if it has one."""
        return [self._row[OVERFLOW]] if OVERFLOW in self._row else []

    def release(self, rows: Int64) -> None:
        """Take rows back; they are given again in this order reversed."""
        for row in rows.tolist():
            del self._row[self.names[row]]
        self._free += rows.tolist()

    def tables(self, prefix: str) -> Tables:
        """Its state as arrays."""
        names = np.frombuffer(msgspec.json.encode(self.names), np.uint8)
        return {f"{prefix}names": names, f"{prefix}free": np.array(self._free, np.int64)}

    def load(self, tables: Mapping[str, npt.NDArray[Any]], prefix: str) -> None:
        """Become what `tables` was called on. Raises SnapshotError, changing nothing, when it cannot be read."""
        try:
            names = msgspec.json.decode(tables[f"{prefix}names"].tobytes(), type=list[tuple[str, str, str]])
            free = tables[f"{prefix}free"].tolist()
        except (KeyError, msgspec.MsgspecError) as error:
            raise SnapshotError(f"the checkpoint's names of watched series cannot be read: {error}") from error
        if len(names) > self.most + 1:
            raise SnapshotError(
                f"the checkpoint watches {len(names)} series, the configuration allows {self.most} (detection.max_watched_series): "
                "what is watched over minutes, hours and days is learned again"
            )
        self.names = [SeriesKey(*name) for name in names]
        self._free = free
        self._row = {self.names[row]: row for row in sorted(set(range(len(names))) - set(free))}

    def _taken(self, key: SeriesKey) -> int:
        found = self._row.get(key)
        if found is not None:
            return found
        if key != OVERFLOW and len(self._row) - (OVERFLOW in self._row) >= self.most:
            return self._taken(OVERFLOW)
        if self._free:
            row = self._free.pop()
            self.names[row] = key
        else:
            row = len(self.names)
            self.names.append(key)
        self._row[key] = row
        return row


class Places:
    """The rows of a partition's series and of their services.

    Args:
        most: how many series have a row of their own.
    """

    __slots__ = ("series", "service_of", "services")

    def __init__(self, most: int) -> None:
        self.series = Rows(most)
        self.services = Rows(most)
        self.service_of = np.zeros(0, np.int64)

    def of(self, keys: Sequence[SeriesKey]) -> Int32:
        """int32[n], the row of each series."""
        rows = self.series.of(keys)
        if len(self.series) > len(self.service_of):
            room = np.full(max(len(self.series), 2 * len(self.service_of)) - len(self.service_of), -1, np.int64)
            self.service_of = np.concatenate((self.service_of, room))
        for row in rows[self.service_of[rows] < 0].tolist():
            self._serve(row)
        return rows

    def release(self, rows: Int64) -> Int64:
        """Take rows of series back; int64[s], the rows of services that have none left, taken back too."""
        self.series.release(rows)
        services = np.unique(self.service_of[rows])
        self.service_of[rows] = -1
        left = services[~np.isin(services, self.service_of)]
        self.services.release(left)
        return left

    def tables(self) -> Tables:
        """All of its state."""
        return self.series.tables("series.") | self.services.tables("services.")

    def load(self, tables: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what `tables` was called on. Raises SnapshotError, changing nothing, when it cannot be read."""
        series, services = Rows(self.series.most), Rows(self.services.most)
        series.load(tables, "series.")
        services.load(tables, "services.")
        self.series, self.services = series, services
        self.service_of = np.full(len(series), -1, np.int64)
        for row in [*series.used().tolist(), *series.of_overflow()]:
            self._serve(row)

    def _serve(self, row: int) -> None:
        series = self.series.names[row]
        # The overflow series comes when services may have no room left, and must have the same one after a restart, when they may.
        service = OVERFLOW if series == OVERFLOW else SeriesKey(series.tenant, series.service, EVERY)
        self.service_of[row] = self.services.of([service])[0]
