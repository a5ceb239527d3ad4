"""Who spent how much of one budget: an account for each service, model or user, or one for all together.

Bounded: when there is no room for a new account, the half that spent least in the period is dropped. Money is in billionths of a dollar.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from sentinel.config.sections_usage import BudgetRule
from sentinel.core.batch import Int64, SeriesKey
from sentinel.core.metrics import COST
from sentinel.detection import forecast
from sentinel.detection.closing import EVERY, Window
from sentinel.detection.columns import Columns, Tables
from sentinel.detection.heavy_hitters import NANOS, name_of
from sentinel.detection.matching import Matcher
from sentinel.detection.panes import EVENTS, SAMPLES

NO_MATCH: Final = -1
UNKNOWN: Final = 0
"""Entries of `_slot_of`: the rule is not for this series; not asked yet. Others are a slot plus one."""

COLUMNS: Final[dict[str, tuple[type[Any], tuple[int, ...]]]] = {
    "spent": (np.int64, ()),
    "told": (np.int32, ()),
    "foretold": (np.int8, ()),
    "unpriced": (np.int64, ()),
}
"""What is kept of each account besides its forecast: spend in the period, how many shares of the limit were told, whether the period's end
was told, requests without a price.
"""


class Spender(msgspec.Struct, frozen=True, array_like=True):
    """Who has a limit: `service`, `model` and `user` are None where all are taken together."""

    tenant: str
    service: str | None = None
    model: str | None = None
    user: str | None = None

    @property
    def words(self) -> str:
        """For people."""
        named = [(word, name) for word, name in (("service", self.service), ("model", self.model), ("user", self.user)) if name is not None]
        return f"{named[-1][0]} {named[-1][1]}" if named else "all"


class Accounts:
    """The accounts of one budget.

    Args:
        rule: the budget.
        most: accounts at once; at least twice as many as can spend in one pane.
    """

    def __init__(self, rule: BudgetRule, most: int) -> None:
        self._per = rule.per
        self._most = most
        self._matcher = Matcher(rule.service, rule.model)
        self._slots: dict[Spender, int] = {}
        self._slot_of = np.full(0, UNKNOWN, np.int64)
        self.spenders: list[Spender] = []
        self.columns = Columns(**COLUMNS, **forecast.COLUMNS)

    def add(self, window: Window) -> None:
        """Add what was spent in a pane."""
        slots, nanos, unpriced = self._of_users(window) if self._per == "user" else self._of_series(window)
        np.add.at(self.columns["spent"], slots, nanos)
        np.add.at(self.columns["unit"], slots, nanos)
        np.add.at(self.columns["unpriced"], slots, unpriced)

    def forget(self, rows: Int64) -> None:
        """These rows get other names."""
        self._slot_of[rows[rows < len(self._slot_of)]] = UNKNOWN

    def tables(self) -> Tables:
        """All of its state."""
        return self.columns.tables("columns.") | {"spenders": np.frombuffer(msgspec.json.encode(self.spenders), np.uint8)}

    def load(self, tables: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what `tables` was called on."""
        self.spenders = msgspec.json.decode(tables["spenders"].tobytes(), type=list[Spender])
        self._slots = {spender: slot for slot, spender in enumerate(self.spenders)}
        self._slot_of[:] = UNKNOWN
        self.columns.load(tables, "columns.")
        self.columns.reserve(len(self.spenders))

    def _of_series(self, window: Window) -> tuple[Int64, Int64, Int64]:
        """Slot, spend and requests without a price of each series that counts."""
        slots = self._of_rows(window)
        here = slots != NO_MATCH
        unpriced = window.tally[here, EVENTS] - window.tally[here, SAMPLES.start + COST]
        return slots[here], window.sums[here, COST], unpriced.astype(np.int64)

    def _of_users(self, window: Window) -> tuple[Int64, Int64, Int64]:
        """Slot, spend and zero of each user of the services that count."""
        users = window.users
        counts = np.array([self._matcher.covers(SeriesKey(key.tenant, key.service, EVERY)) for key in window.services], np.bool_)
        here = np.flatnonzero(users.facts[:, NANOS] > 0)
        here = here[counts[users.owners[here]]]
        tenants = [window.services[owner].tenant for owner in users.owners[here].tolist()]
        slots = self._slots_for([Spender(tenant, user=name_of(key)) for tenant, key in zip(tenants, users.keys[here], strict=True)])
        return slots, users.facts[here, NANOS], np.zeros(len(here), np.int64)

    def _of_rows(self, window: Window) -> Int64:
        """int64[r], the slot of each series with events; NO_MATCH where the rule is not for it."""
        if len(self._slot_of) < len(window.names):
            room = np.full(max(len(window.names), 2 * len(self._slot_of)) - len(self._slot_of), UNKNOWN, np.int64)
            self._slot_of = np.concatenate((self._slot_of, room))
        if np.any(self._slot_of[window.rows] == UNKNOWN):
            mine = [row for row in window.rows.tolist() if self._matcher.covers(window.names[row])]
            slots = self._slots_for([self._spender(window.names[row]) for row in mine])
            self._slot_of[window.rows] = NO_MATCH
            self._slot_of[mine] = slots + 1
        found = self._slot_of[window.rows]
        return np.where(found == NO_MATCH, NO_MATCH, found - 1)

    def _spender(self, series: SeriesKey) -> Spender:
        if self._per == "service":
            return Spender(series.tenant, service=series.service)
        return Spender(series.tenant, model=series.model) if self._per == "model" else Spender(series.tenant)

    def _slots_for(self, spenders: Sequence[Spender]) -> Int64:
        """int64[n], the slots of spenders; accounts are opened for new ones."""
        new = [spender for spender in dict.fromkeys(spenders) if spender not in self._slots]
        if len(self.spenders) + len(new) > self._most:
            self._make_room()
            new = [spender for spender in dict.fromkeys(spenders) if spender not in self._slots]
        for spender in new:
            self._slots[spender] = len(self.spenders)
            self.spenders.append(spender)
        self.columns.reserve(len(self.spenders))
        return np.array([self._slots[spender] for spender in spenders], np.int64)

    def _make_room(self) -> None:
        """Drop the half that spent least in this period."""
        spent = self.columns["spent"][: len(self.spenders)].tolist()
        order = sorted(range(len(spent)), key=lambda at: (-spent[at], self.spenders[at].words))
        kept = sorted(order[: self._most // 2])
        self.columns.load({name: table[kept] for name, table in self.columns.tables().items()})
        self.spenders = [self.spenders[at] for at in kept]
        self._slots = {spender: slot for slot, spender in enumerate(self.spenders)}
        self._slot_of[:] = UNKNOWN
