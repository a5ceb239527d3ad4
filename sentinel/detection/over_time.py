"""Everything that judges one partition over time rather than event by event, as one: what the shard calls, and a checkpoint keeps."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from sentinel.config.plugins import configured
from sentinel.config.schema import Detection
from sentinel.core.anomaly import Anomaly
from sentinel.core.batch import CleanBatch, Float64, PartitionId, SeriesKey
from sentinel.core.command import Command
from sentinel.core.errors import SnapshotError
from sentinel.detection.plugins import Plugins
from sentinel.detection.ticks import TickBand, Ticks
from sentinel.detection.watch import Watch

Tables = dict[str, npt.NDArray[Any]]

_NAMES = "names"


class OverTime:
    """The time windows of one partition. Not safe for concurrent use: its owner holds one lock around every call.

    Args:
        rules: the detection section.
        source: the partition, for ids.

    Raises:
        StartupError: a detector of others, or a library one of ours needs, is not installed.
    """

    __slots__ = ("_source", "plugins", "ticks", "watch")

    def __init__(self, rules: Detection, source: PartitionId) -> None:
        self._source = source
        self.ticks = Ticks(rules, source)
        self.watch = Watch(rules, rules.ticks, source)
        self.plugins = Plugins(configured(rules.plugins), source, rules.baseline.max_series)

    def observe(self, batch: CleanBatch, learned: Float64) -> list[Anomaly]:
        """Judge what a batch completes, then learn it. Where a batch ends makes no difference.

        Args:
            batch: the events in log order.
            learned: float64[n, len(METRICS)], NaN where absent or not to be learned.
        """
        return [one for part in (self.ticks, self.watch, self.plugins) for one in part.observe(batch, learned)]

    def mark(self, now_ns: int, offset: int) -> list[Anomaly]:
        """Nothing older than `now_ns`, event time, is still to come; `offset` is the next of the log. Given only when caught up."""
        return [one for part in (self.ticks, self.watch, self.plugins) for one in part.mark(now_ns, offset)]

    def command(self, command: Command, offset: int) -> list[Anomaly]:
        """Obey. Returns what came of it."""
        return [*self.ticks.command(command, offset), *self.watch.command(command, offset)]

    def bands(self, rows: Iterable[int] | None = None) -> list[TickBand]:
        """What is expected now, of all series or of those in some rows of `ticks.names`."""
        return self.ticks.bands(rows)

    def renewed(self, rules: Detection) -> "OverTime":
        """The same state, judged by other rules.

        Raises ValueError when it does not fit them, such as for ticks of another length: that is learned anew after a restart.
        """
        new = OverTime(rules, self._source)
        try:
            new.load(self.tables())
        except SnapshotError as error:
            raise ValueError(str(error)) from error
        return new

    def tables(self) -> Tables:
        """Everything a checkpoint keeps, as copies."""
        names = np.frombuffer(msgspec.json.encode(self.ticks.names), np.uint8)
        parts = {"ticks": {**self.ticks.tables(), _NAMES: names}, "watch": self.watch.tables()}
        own = {f"{part}/{name}": table for part, tables in parts.items() for name, table in tables.items()}
        return own | self.plugins.tables()

    def load(self, tables: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what `tables` were taken of; without any, start anew.

        Raises SnapshotError, and changes nothing, when they do not fit these rules.
        """
        ticks = _of("ticks", tables)
        if ticks:
            try:
                names = msgspec.json.decode(ticks.pop(_NAMES).tobytes(), type=list[tuple[str, str, str]])
            except (KeyError, msgspec.MsgspecError) as error:
                raise SnapshotError(f"the checkpoint's names of time windows cannot be read: {error}") from error
            self.ticks.load(ticks, [SeriesKey(*name) for name in names])
        self.watch.load(_of("watch", tables))
        self.plugins.load(tables)


def _of(part: str, tables: Mapping[str, npt.NDArray[Any]]) -> Tables:
    """The tables of one part, by its own names."""
    return {name.removeprefix(f"{part}/"): table for name, table in tables.items() if name.startswith(f"{part}/")}
