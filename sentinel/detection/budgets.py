"""Budgets: what was spent in an hour, a day or a month against what may be, told at shares of the limit and ahead of time.

Spend is added in billionths of a dollar as whole numbers, so sums are exact. Each share of the limit is told once a period, at the end of
the pane in which it was reached; of several at once the largest. A forecast is told once a period, when even the lower end of its
interval lies beyond the limit (`sentinel.detection.forecast`).

Trust it for the events of this partition since the daemon first ran: each partition counts its own log. Requests without a price cost
nothing here and are counted in the sentence. When more spend than can be told apart, the smaller half of a budget starts anew.

Money that was spent in a window that closed already (late events) is left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt

from sentinel.config.sections_usage import BudgetRule
from sentinel.core.anomaly import Anomaly, Contributor, DetectorName
from sentinel.core.batch import Int64, SeriesKey
from sentinel.core.explain import number
from sentinel.core.timestamp import rfc3339
from sentinel.detection import forecast
from sentinel.detection.accounts import Accounts, Spender
from sentinel.detection.closing import EVERY, Told, Window, anomaly_of, percent, usd
from sentinel.detection.columns import Tables
from sentinel.detection.forecast import Forecast, end_of, kind_of, start_of

WARNING_FROM, CRITICAL_FROM = 0.8, 1.0
"""Shares of a limit from which it is a warning and critical."""


@dataclass(frozen=True, slots=True)
class Spending:
    """Where a budget stands, for people and the API. Money in US dollars; forecasts are NaN where too little is known."""

    rule: str
    spender: Spender
    start_ns: int
    spent_usd: float
    limit_usd: float
    expected_usd: float
    lower_usd: float
    upper_usd: float


class Budgets:
    """The budget rules on a partition. A `WindowDetector`.

    Args:
        rules: the rules; an empty list costs nothing.
        most: who can have spent in each budget at once.
    """

    def __init__(self, rules: Sequence[BudgetRule], most: int) -> None:
        self._rules = [_Budget(rule, most) for rule in rules]

    def close(self, window: Window) -> list[Anomaly]:
        """Add a pane to all budgets and tell what it brought them to."""
        return [anomaly for budget in self._rules for anomaly in budget.close(window)]

    def forget(self, rows: Int64, services: Int64) -> None:
        """Rows get other names; what was spent under the old ones stays spent."""
        del services
        for budget in self._rules:
            budget.forget(rows)

    def accept(self, rows: Int64, services: Int64) -> None:
        """A written limit stays a limit: nothing to accept."""

    def spending(self) -> list[Spending]:
        """Where every budget stands, the highest share of each first."""
        return [line for budget in self._rules for line in budget.spending()]

    def tables(self) -> Tables:
        """All of its state."""
        return {f"{at}.{name}": table for at, budget in enumerate(self._rules) for name, table in budget.tables().items()}

    def load(self, tables: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what `tables` was called on. Budgets are known by name; one whose spenders or period changed starts anew."""
        heads = {name.partition(".")[0] for name in tables}
        known = {tables[f"{head}.signature"].tobytes(): head for head in heads}
        for budget in self._rules:
            head = known.get(budget.signature().tobytes())
            if head is not None:
                budget.load({name.partition(".")[2]: table for name, table in tables.items() if name.startswith(f"{head}.")})


class _Budget:
    """One rule and what everyone spent in its period.

    `told` counts the shares of the limit that were told in this period, `foretold` whether its end was.
    """

    def __init__(self, rule: BudgetRule, most: int) -> None:
        self._rule = rule
        self._accounts = Accounts(rule, most)
        self._limit = round(rule.limit_usd * 1e9)
        self._shares = np.array(sorted(rule.warn_at))
        self._start_ns = 0
        self._end_ns = 0
        self._now_ns = 0

    def close(self, window: Window) -> list[Anomaly]:
        self._begin(window.start_ns)
        self._accounts.add(window)
        self._now_ns = window.end_ns
        who = np.arange(len(self._accounts.spenders))
        if window.end_ns % forecast.UNIT_NS[self._rule.period] == 0:
            forecast.learn(self._accounts.columns, who, kind_of(self._rule.period, window.end_ns - 1))
        return [*self._reached(window, who), *self._ahead(window, who)]

    def forget(self, rows: Int64) -> None:
        self._accounts.forget(rows)

    def spending(self) -> Iterator[Spending]:
        who = np.arange(len(self._accounts.spenders))
        ahead = self._forecast(who) if self._now_ns < self._end_ns else None
        for at in np.argsort(-self._accounts.columns["spent"][: len(who)], kind="stable").tolist():
            numbers = (nan, nan, nan) if ahead is None else (ahead.expected[at] / 1e9, ahead.lower[at] / 1e9, ahead.upper[at] / 1e9)
            spent = float(self._accounts.columns["spent"][at]) / 1e9
            yield Spending(self._rule.name, self._accounts.spenders[at], self._start_ns, spent, self._rule.limit_usd, *map(float, numbers))

    def tables(self) -> Tables:
        times = np.array([self._start_ns, self._end_ns, self._now_ns], np.int64)
        return self._accounts.tables() | {"signature": self.signature(), "times": times}

    def load(self, tables: Mapping[str, npt.NDArray[Any]]) -> None:
        self._start_ns, self._end_ns, self._now_ns = tables["times"].tolist()
        self._accounts.load(tables)

    def signature(self) -> npt.NDArray[np.uint8]:
        """What the numbers mean: limits may change, who spends and when may not."""
        rule = self._rule
        return np.frombuffer(repr((rule.name, rule.service, rule.model, rule.per, rule.period)).encode(), np.uint8)

    # ------------------------------------------------------------------------------------------------------------ what is told

    def _begin(self, ts_ns: int) -> None:
        """Begin the period a time lies in, if it has not begun."""
        if self._start_ns <= ts_ns < self._end_ns:
            return
        self._start_ns = start_of(self._rule.period, ts_ns)
        self._end_ns = end_of(self._rule.period, self._start_ns)
        for name in ("spent", "told", "foretold", "unpriced"):
            self._accounts.columns[name][:] = 0

    def _reached(self, window: Window, who: Int64) -> list[Anomaly]:
        spent, told = self._accounts.columns["spent"][who], self._accounts.columns["told"]
        level = np.searchsorted(self._shares * self._limit, spent, side="right")
        tells = np.flatnonzero(level > told[who])
        told[tells] = level[tells]
        ahead = self._forecast(tells) if len(tells) and self._now_ns < self._end_ns else None
        return [self._told(window, at, float(self._shares[level[at] - 1]), ahead, index) for index, at in enumerate(tells.tolist())]

    def _ahead(self, window: Window, who: Int64) -> list[Anomaly]:
        if not self._rule.forecast or not len(who) or self._now_ns >= self._end_ns:
            return []
        waiting = who[(self._accounts.columns["foretold"][who] == 0) & (self._accounts.columns["spent"][who] < self._limit)]
        ahead = self._forecast(waiting)
        tells = np.flatnonzero(ahead.lower > self._limit)
        self._accounts.columns["foretold"][waiting[tells]] = 1
        return [self._foretold(window, int(waiting[at]), ahead, at) for at in tells.tolist()]

    def _forecast(self, who: Int64) -> Forecast:
        return forecast.forecast(
            self._accounts.columns, who, self._rule.period, self._accounts.columns["spent"][who], self._now_ns, self._end_ns
        )

    def _told(self, window: Window, slot: int, share: float, ahead: Forecast | None, at: int) -> Anomaly:
        spent, unpriced = float(self._accounts.columns["spent"][slot]), int(self._accounts.columns["unpriced"][slot])
        severity = 2 if share >= CRITICAL_FROM else 1 if share >= WARNING_FROM else 0
        free = f"; {number(unpriced)} requests had no price" if unpriced else ""
        end = "" if ahead is None or np.isnan(ahead.expected[at]) else f", and {usd(ahead.expected[at])} are expected by its end"
        sentence = (
            f"Spend of {self._accounts.spenders[slot].words} reached {usd(spent)}, {percent(spent / self._limit)} of the "
            f"{usd(self._limit)} that budget {self._rule.name!r} allows for the {self._rule.period}{end}{free}."
        )
        boundary = share * self._limit
        numbers = {"value": spent / 1e9, "score": spent / boundary, "upper": boundary / 1e9, "expected": None}
        return self._anomaly(window, slot, f"at {share:g}", severity, sentence, numbers)

    def _foretold(self, window: Window, slot: int, ahead: Forecast, at: int) -> Anomaly:
        spent, expected = float(self._accounts.columns["spent"][slot]), float(ahead.expected[at])
        sentence = (
            f"Spend of {self._accounts.spenders[slot].words} is forecast to reach {usd(expected)} ({usd(float(ahead.lower[at]))} to "
            f"{usd(float(ahead.upper[at]))}) by {rfc3339(self._end_ns)}, beyond the {usd(self._limit)} that budget {self._rule.name!r} "
            f"allows for the {self._rule.period}; {usd(spent)} are spent."
        )
        numbers = {
            "value": spent / 1e9,
            "score": float(ahead.lower[at]) / self._limit,
            "upper": self._limit / 1e9,
            "expected": expected / 1e9,
        }
        return self._anomaly(window, slot, "forecast", 1, sentence, numbers)

    def _anomaly(
        self, window: Window, slot: int, subject: str, severity: int, sentence: str, numbers: Mapping[str, float | None]
    ) -> Anomaly:
        spender = self._accounts.spenders[slot]
        user = [] if spender.user is None else [Contributor(dimension="user", value=spender.user, share=1.0)]
        value, score = numbers["value"], numbers["score"]
        return anomaly_of(
            window,
            Told(
                series=SeriesKey(spender.tenant, spender.service or EVERY, spender.model or EVERY),
                metric="spend_usd",
                subject=f"{self._rule.name}/{spender.user or ''}/{subject}",
                type="budget",
                detector=DetectorName.THRESHOLD,
                value=value or 0.0,
                score=score or 0.0,
                severity=severity,
                expected=numbers["expected"],
                upper=numbers["upper"],
                since_ns=self._start_ns,
                explanation=sentence,
                contributors=user,
            ),
        )
