"""The events of one partition as detectors of others see them: series by number, time as a watermark, columns that cannot be written to."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from sentinel.core.batch import OVERFLOW, CleanBatch, Float64, Int32, SeriesKey
from sentinel.core.detector import DetectorBatch
from sentinel.core.errors import SnapshotError

NAMES: Final = "plugins/names"
CLOCK: Final = "plugins/clock"


class PluginStream:
    """What has been seen of a partition.

    Args:
        max_series: series told apart; further ones share the number of `__other__`.

    Attributes:
        events: how many events.
        watermark_ns: the largest time, of events and time marks; 0 before the first.
        names: the series by number, in order of first appearance.
    """

    def __init__(self, max_series: int) -> None:
        self.events = 0
        self.watermark_ns = 0
        self.names: tuple[SeriesKey, ...] = ()
        self._numbers: dict[SeriesKey, int] = {}
        self._max_series = max_series

    def batch(self, batch: CleanBatch, learned: Float64) -> DetectorBatch:
        """The next events, which count as seen from now on.

        Args:
            batch: at least one event, in log order.
            learned: float64[n, len(METRICS)], its metrics, NaN where absent or not to be learned.
        """
        numbers = self._numbers_of(batch.names)
        watermark_ns = np.maximum(np.maximum.accumulate(batch.ts_ns), self.watermark_ns)
        self.watermark_ns = int(watermark_ns[-1])
        self.events += len(batch)
        return DetectorBatch(
            names=self.names,
            series=_read_only(numbers[batch.series]),
            ts_ns=_read_only(batch.ts_ns),
            watermark_ns=_read_only(watermark_ns),
            metrics=_read_only(learned),
            dimension_sets=batch.dimension_sets,
            dimensions=_read_only(batch.dimensions),
            users=batch.users,
            user=_read_only(batch.user),
            personal=_read_only(batch.personal),
        )

    def mark(self, now_ns: int) -> None:
        """Time has come to `now_ns`."""
        self.watermark_ns = max(self.watermark_ns, now_ns)

    def export(self) -> dict[str, npt.NDArray[Any]]:
        """The state as arrays by name."""
        names = np.frombuffer(msgspec.json.encode(self.names), np.uint8)
        return {NAMES: names, CLOCK: np.array([self.events, self.watermark_ns])}

    def load(self, tables: Mapping[str, npt.NDArray[Any]]) -> bool:
        """Go on from what `export` gave; False where there is nothing of it.

        Raises ValueError when it holds more series than are allowed now, SnapshotError when it is something else.
        """
        if NAMES not in tables or CLOCK not in tables:
            return False
        try:
            names = msgspec.json.decode(tables[NAMES].tobytes(), type=tuple[SeriesKey, ...])
        except msgspec.MsgspecError as error:
            raise SnapshotError(f"the names of series for plugins cannot be read: {error}") from error
        if len(names) > self._max_series + 1:
            raise ValueError(f"it holds {len(names)} series, detection.baseline.max_series allows {self._max_series}")
        self.names = names
        self._numbers = {name: number for number, name in enumerate(names)}
        self.events, self.watermark_ns = (int(number) for number in tables[CLOCK])
        return True

    def _numbers_of(self, names: Sequence[SeriesKey]) -> Int32:
        """int32[len(names)], their numbers; new ones get one while there is room."""
        before = len(self._numbers)
        numbers = np.array([self._number_of(name) for name in names], np.int32)
        if len(self._numbers) > before:
            self.names = tuple(self._numbers)
        return numbers

    def _number_of(self, name: SeriesKey) -> int:
        number = self._numbers.get(name)
        if number is not None:
            return number
        told_apart = len(self._numbers) - (OVERFLOW in self._numbers)
        return self._numbers.setdefault(name if told_apart < self._max_series else OVERFLOW, len(self._numbers))


def _read_only(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same memory, not to be written to."""
    view = column.view()
    view.flags.writeable = False
    return view
