"""Who has windows: the series of one partition, in bounded memory, whoever comes first and however many names there are.

A new name gets a row at once while there is plenty of room. After that it has to show a few events first, and meanwhile shares the overflow
series `__other__`: until then it is a number in a table that forgets the one it has not seen for longest. When all rows are taken, a name
that has shown its events gets the row of another: the row of the series on probation that was silent for longest where these are many, else
of the idle series that was. A series that is proven and active never loses its row. So names made up by the thousand push out each other.

Everything goes by the order of events alone, so it is the same however the stream is cut into batches.

Source: the order of eviction is that of a segmented LRU (R. Karedla, J. S. Love, B. G. Wherry, Caching Strategies to Improve Disk System
Performance, Computer 27, 1994).
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sentinel.config.schema import Baseline
from sentinel.core.batch import OVERFLOW, Int8, Int32, SeriesKey
from sentinel.core.errors import SnapshotError
from sentinel.detection.roster_order import APART, ENDS, IDLE, MEMBER, NOBODY, PROBATION, RANKED, UNSEEN, see
from sentinel.detection.windows_learn import FORGET_ALL
from sentinel.detection.windows_pool import Records

OPEN_SHARE: Final = 4
"""A quarter of the rows is given at first sight: enough for an honest start, and all that names seen once can ever take. Where all rows are
taken, series on probation have as many for themselves."""

OPEN_LEAST: Final = 64
"""So many rows are given at first sight in any case."""

SHOWN_EVENTS: Final = 3
"""Events a new name has to show after that. Names made up at random rarely come a third time; a real series loses two samples."""

STRANGERS: Final = 16_384
"""Names without a row whose events are counted, at some hundred bytes each."""


class Placed(NamedTuple):
    """Where the events of a batch belong.

    Attributes:
        rows: int32[n], the row of each.
        marks: int8[n], what each says about its row's past: FORGET_OLD after a long silence, FORGET_ALL where the row was another's, or 0.
        idle: int32[k], rows of the series that have become idle.
    """

    rows: Int32
    marks: Int8
    idle: Int32


class Roster:
    """The series of one partition and their rows. Not safe for concurrent use.

    Args:
        rules: how many series there may be, and how many of them active.

    Attributes:
        names: the series of each row.
        overflow_events: events that went to the overflow series.
        evicted_series: series that lost their row to another.

    >>> roster = Roster(Baseline(max_series=1))
    >>> roster.place([SeriesKey("default", "a", "m"), SeriesKey("default", "b", "m")], np.array([0, 1, 0, 1], np.int32)).rows.tolist()
    [0, 1, 0, 1]
    >>> roster.names[1].service, roster.overflow_events
    ('__other__', 2)
    """

    __slots__ = ("_ends", "_members", "_rows", "_strangers", "evicted_series", "names", "overflow_events", "rules")

    def __init__(self, rules: Baseline) -> None:
        self.rules = rules
        self.names: list[SeriesKey] = []
        self.overflow_events = 0
        self.evicted_series = 0
        self._rows: dict[SeriesKey, int] = {}
        self._strangers: OrderedDict[int, int] = OrderedDict()
        self._members: Records = np.zeros(0, MEMBER)
        self._ends = np.array([(NOBODY, NOBODY, 0)] * RANKED, ENDS)

    def place(self, names: Sequence[SeriesKey], series: Int32) -> Placed:
        """The row of each event, as it was just before it.

        Args:
            names: distinct series of the batch.
            series: int32[n], index into `names`.
        """
        n = len(series)
        known = [self._rows.get(name, NOBODY) for name in names]
        marks, idle = np.zeros(n, np.int8), np.empty(n, np.int32)
        if NOBODY in known:
            rows, fallen = self._with_newcomers(names, known, series.tolist(), marks, idle)
        else:
            rows = np.array(known, np.int32)[series]
            fallen = self._see(rows, 0, n, marks, idle)
        if OVERFLOW in self._rows:
            self.overflow_events += int(np.count_nonzero(rows == self._rows[OVERFLOW]))
        if not fallen:
            return Placed(rows, marks, idle[:0])
        silent = np.unique(idle[:fallen])
        return Placed(rows, marks, silent[self._members["standing"][silent] == IDLE])

    def renewed(self, rules: Baseline) -> "Roster":
        """The same series under other rules. Nothing is copied; this object must not be used any more."""
        new = copy(self)
        new.rules = rules
        return new

    def tables(self) -> dict[str, npt.NDArray[Any]]:
        """What a checkpoint keeps besides the names, as copies."""
        ranks = [np.array(list(self._from_oldest(standing)), np.int32) for standing in range(RANKED)]
        return {
            "order": np.concatenate(ranks),
            "standing": self._members["standing"][: len(self.names)].astype(np.int8),
            "events": self._members["events"][: len(self.names)].copy(),
            "strangers": np.array(list(self._strangers), np.uint64),
            "shown": np.array(list(self._strangers.values()), np.int8),
            "counters": np.array([self.overflow_events, self.evicted_series]),
        }

    def load(self, names: Sequence[SeriesKey], tables: Mapping[str, npt.NDArray[Any]]) -> Int32:
        """Become what another told with `names` and `tables`.

        Returns:
            int32[k], rows of series that are idle now because fewer may be active.

        Raises:
            SnapshotError: the tables are not what `tables` gave.
        """
        try:
            order, standing, events = tables["order"], tables["standing"], tables["events"]
            ranked = np.flatnonzero(standing < RANKED)
            if len(events) != len(names) or len(standing) != len(names) or not np.array_equal(np.sort(order), ranked):
                raise SnapshotError("the checkpoint's order of series is not one of its series")
            self.overflow_events, self.evicted_series = tables["counters"].tolist()
            self._strangers = OrderedDict(zip(tables["strangers"].tolist(), tables["shown"].tolist(), strict=True))
        except (KeyError, ValueError) as error:
            raise SnapshotError(f"the checkpoint's table of series cannot be read: {error}") from error
        self.names, self._rows = list(names), {name: row for row, name in enumerate(names)}
        self._members = np.zeros(max(OPEN_LEAST, len(names)), MEMBER)
        self._members["standing"][: len(names)], self._members["events"][: len(names)] = standing, events
        probation, active, idle = (order[standing[order] == rank] for rank in range(RANKED))
        surplus = max(0, len(active) - self.rules.active_series)
        for rank, rows in enumerate((probation, active[surplus:], np.concatenate((idle, active[:surplus])))):
            self._line_up(rank, rows)
        fallen: Int32 = active[:surplus]
        return fallen

    def _from_oldest(self, standing: int) -> Iterator[int]:
        newer, row = self._members["newer"].tolist(), int(self._ends["oldest"][standing])
        while row != NOBODY:
            yield row
            row = newer[row]

    def _line_up(self, standing: int, rows: Int32) -> None:
        """Let these be the series of a standing, the oldest first."""
        chain = np.concatenate(([NOBODY], rows, [NOBODY])).astype(np.int32)
        self._members["standing"][rows] = standing
        self._members["older"][rows], self._members["newer"][rows] = chain[:-2], chain[2:]
        self._ends[standing] = (chain[1] if len(rows) else NOBODY, chain[-2] if len(rows) else NOBODY, len(rows))

    def _with_newcomers(
        self, names: Sequence[SeriesKey], known: list[int], series: list[int], marks: Int8, idle: Int32
    ) -> tuple[Int32, int]:
        """Rows of events, event by event, because some series have none yet: `known` are those of the names. And how many became idle."""
        rows, code_of = np.empty(len(series), np.int32), {name: code for code, name in enumerate(names)}
        seen = fallen = 0
        for i, code in enumerate(series):
            if known[code] == NOBODY and self._has_shown(names[code]):
                if self._told_apart >= self.rules.max_series:
                    fallen += self._see(rows, seen, i, marks, idle[fallen:])
                    seen = i
                known[code], before = self._row_for(names[code])
                if before is not None:
                    marks[i] = FORGET_ALL
                    if before in code_of:
                        known[code_of[before]] = NOBODY
            rows[i] = self._overflow() if known[code] == NOBODY else known[code]
        return rows, fallen + self._see(rows, seen, len(series), marks, idle[fallen:])

    def _see(self, rows: Int32, start: int, stop: int, marks: Int8, idle: Int32) -> int:
        proven, most_active = self.rules.min_samples, self.rules.active_series
        return see(rows, start, stop, self._members, self._ends, proven, most_active, marks, idle)

    @property
    def _told_apart(self) -> int:
        return len(self.names) - (OVERFLOW in self._rows)

    def _has_shown(self, name: SeriesKey) -> bool:
        """Whether a name without a row has shown enough events, this one counted, to get one."""
        if name == OVERFLOW:
            return False
        if self._told_apart < min(self.rules.max_series, max(OPEN_LEAST, self.rules.max_series // OPEN_SHARE)):
            return True
        number = _number(name)
        shown = self._strangers.pop(number, 0) + 1
        self._strangers[number] = min(shown, SHOWN_EVENTS)
        if len(self._strangers) > STRANGERS:
            self._strangers.popitem(last=False)
        return shown >= SHOWN_EVENTS

    def _row_for(self, name: SeriesKey) -> tuple[int, SeriesKey | None]:
        """A row for a name, and who lost it; NOBODY when none can be spared."""
        before = None
        if self._told_apart < self.rules.max_series:
            row = self._added(name, UNSEEN)
        else:
            row = self._spare()
            if row == NOBODY:
                return NOBODY, None
            before, self.names[row] = self.names[row], name
            del self._rows[before]
            self._rows[name] = row
            self.evicted_series += 1
        self._members["events"][row] = 0
        self._strangers.pop(_number(name), None)
        return row, before

    def _spare(self) -> int:
        """The row of a series that can be done without, NOBODY when all are active."""
        probation, idle = self._ends[PROBATION], self._ends[IDLE]
        many = probation["count"] > self.rules.max_series // OPEN_SHARE
        return int(idle["oldest"] if idle["count"] and not many else probation["oldest"])

    def _overflow(self) -> int:
        """The row of the overflow series."""
        found = self._rows.get(OVERFLOW)
        return self._added(OVERFLOW, APART) if found is None else found

    def _added(self, name: SeriesKey, standing: int) -> int:
        row = len(self.names)
        if row == len(self._members):
            self._members = np.concatenate((self._members, np.zeros(max(OPEN_LEAST, row), MEMBER)))
        self._members["standing"][row] = standing
        self.names.append(name)
        self._rows[name] = row
        return row


def _number(name: SeriesKey) -> int:
    """A name as a number, the same in every process."""
    return int.from_bytes(hashlib.blake2b("\x1f".join(name).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
