"""The state of one partition: its baselines, the event ids it remembers, and where it stands in its log."""

from collections import deque
from collections.abc import Iterable, Sequence
from threading import Lock

import numpy as np

from sentinel.config.schema import Detection
from sentinel.core.batch import OVERFLOW, Bool, Int32, PartitionId, SeriesKey
from sentinel.core.errors import SnapshotError
from sentinel.core.flags import learnable
from sentinel.core.ports import StoredMetrics
from sentinel.core.stored import batch_of
from sentinel.detection import snapshot
from sentinel.detection.baselines import Baselines
from sentinel.detection.over_time import OverTime


def own_ids(names: Sequence[SeriesKey], series: Int32, event_ids: Sequence[str | None]) -> Sequence[str | None]:
    """Event ids as those of their tenants: an id says nothing about another tenant's event. The default tenant's stay as they are."""
    tenants = ["" if name.tenant == OVERFLOW.tenant else f"{name.tenant}\x1f" for name in names]
    if not any(tenants):
        return event_ids
    return [None if event_id is None else tenants[code] + event_id for event_id, code in zip(event_ids, series.tolist(), strict=True)]


class RecentIds:
    """The last event ids of a partition, against repeats. Bounded; the oldest are forgotten.

    Args:
        size: ids remembered; 0 remembers none.

    >>> recent = RecentIds(2)
    >>> recent.unseen(["a", None, "a", "b", "c", "a"]).tolist()
    [True, True, False, True, True, True]
    """

    __slots__ = ("_known", "_order", "_size")

    def __init__(self, size: int, ids: Iterable[str] = ()) -> None:
        self._size = size
        self._order = deque(ids)
        self._known = set(self._order)

    def unseen(self, ids: Sequence[str | None]) -> Bool:
        """bool[n]: true for the first sight of an id and for events without one. Remembers them."""
        fresh = np.ones(len(ids), np.bool_)
        if not self._size:
            return fresh
        present = list(filter(None, ids))
        new = set(present)
        if len(new) == len(present) and self._known.isdisjoint(new):
            self._remember(present, new)
            return fresh
        known, order, room = self._known, self._order, self._size - len(self._order)
        for i, event_id in enumerate(ids):
            if event_id is None:
                continue
            if event_id in known:
                fresh[i] = False
                continue
            known.add(event_id)
            order.append(event_id)
            room -= 1
            if room < 0:
                known.discard(order.popleft())
                room = 0
        return fresh

    def _remember(self, ids: list[str], distinct: set[str]) -> None:
        """Take ids that are all new, as almost always."""
        self._known |= distinct
        self._order.extend(ids)
        surplus = len(self._order) - self._size
        if surplus > 0:
            self._known.difference_update([self._order.popleft() for _ in range(surplus)])

    def export(self) -> list[str]:
        """The remembered ids, oldest first."""
        return list(self._order)


class Shard:
    """One partition's state. Whoever touches it holds `lock`: the worker for a batch, the API for a copy.

    Attributes:
        source: the log.
        epoch: assignment epoch; work of another epoch does not belong here.
        next_offset: the first offset that is not in the state.
        watermark_ns: running maximum of event time in arrival order; 0 before the first event.
    """

    __slots__ = ("baselines", "epoch", "lock", "next_offset", "over_time", "recent", "rules", "source", "watermark_ns")

    def __init__(self, source: PartitionId, epoch: int, rules: Detection, dedupe_events: int) -> None:
        self.source = source
        self.epoch = epoch
        self.rules = rules
        self.next_offset = 0
        self.watermark_ns = 0
        self.baselines = Baselines(rules)
        self.over_time = OverTime(rules, source)
        self.recent = RecentIds(dedupe_events)
        self.lock = Lock()

    def copied(self) -> snapshot.Copied:
        """The state as a copy, which can become a checkpoint's blob while this goes on."""
        ids, tables = self.recent.export(), self.over_time.tables()
        return snapshot.copied(self.baselines, self.source, self.next_offset, self.watermark_ns, ids, tables)

    def load(self, blob: bytes, dedupe_events: int, position: int) -> None:
        """Replace the state with a checkpoint's.

        Raises SnapshotError and changes nothing when the blob is not good, or is ahead of the store's position: a store that has lost
        rows makes the checkpoint wrong too.
        """
        checkpoint = snapshot.read(blob, self.source)
        header = checkpoint.header
        if header.next_offset > position:
            raise SnapshotError(f"the checkpoint stands at offset {header.next_offset}, ahead of the store at {position}")
        baselines, over_time = snapshot.restored(checkpoint, self.rules), OverTime(self.rules, self.source)
        over_time.load(checkpoint.tables)
        self.baselines, self.over_time = baselines, over_time
        self.next_offset = header.next_offset
        self.watermark_ns = header.watermark_ns
        self.recent = RecentIds(dedupe_events, header.recent_ids[-dedupe_events:] if dedupe_events else ())

    def relearn(self, rows: StoredMetrics) -> None:
        """Learn events that were stored after the checkpoint; their verdicts are already stored."""
        self.recent.unseen(own_ids(rows.names, rows.series, rows.event_ids))
        learned = learnable(rows.metrics, rows.flags)
        self.baselines.score_and_update(rows.names, rows.series, learned)
        self.over_time.observe(batch_of(self.source, rows), learned)
        self.watermark_ns = max(self.watermark_ns, int(rows.ts_ns.max(initial=0)))
        self.next_offset = int(rows.offsets[-1]) + 1
