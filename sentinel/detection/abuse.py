"""Usage abuse: a user who takes far more of a service than its busiest users usually do.

For requests, tokens and spend of each service, the most that one user took is remembered for weeks, as an amount and as odds against all
others together (amount / rest). A user is told who takes `factor` times that amount, at `factor` times those odds, and more than an
absolute minimum: the amount alone grows with the service, the odds alone when others are asleep. The rest counts as at least the minimum,
so the small hours of one early user say nothing. Accounts that have always been large are nobody's alarm.

Trust the numbers as lower bounds where users are more than the table holds (`sentinel.detection.heavy_hitters`). Users are known by their
pseudonyms only; events without a user count in the total.

Source: as in `sentinel.detection.heavy_hitters`; odds instead of shares as in D. R. Cox, Analysis of Binary Data, 1970.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sentinel.config.sections_usage import Abuse, Drift
from sentinel.core.anomaly import Anomaly, Contributor, DetectorName
from sentinel.core.batch import Float64, Int64
from sentinel.core.explain import number
from sentinel.core.metrics import COST, TOTAL_TOKENS
from sentinel.core.timestamp import rfc3339
from sentinel.detection.closing import HOUR, SHORT, Told, Window, anomaly_of, percent, severities, usd
from sentinel.detection.columns import Columns, Tables
from sentinel.detection.heavy_hitters import NANOS, REQUESTS, TOKENS, name_of
from sentinel.detection.panes import EVENTS, UNITS
from sentinel.detection.peaks import Peaks
from sentinel.detection.telling import Telling

MEASURES: Final = (REQUESTS, TOKENS, NANOS)
"""What is watched, as facts of users."""

METRIC_OF: Final = ("requests_per_user", "tokens_per_user", "cost_usd_per_user")
WORDS_OF: Final = ("requests", "tokens", "spend")

SHORT_SHARE: Final = 0.25
"""Part of an hour's minimum that counts in five minutes: what is told after minutes is far beyond what hours need."""

CONTRIBUTORS: Final = 3


class UsageAbuse:
    """The users of a partition's services. A `WindowDetector`.

    Args:
        rules: the abuse section.
        drift: how long things take.
        strictness: scales all limits; 1.0 at medium sensitivity.
    """

    def __init__(self, rules: Abuse, drift: Drift, strictness: float = 1.0) -> None:
        self._rules = rules
        self._drift = drift
        self._strictness = strictness
        self._least = np.array([rules.min_requests, rules.min_tokens, rules.min_cost_usd * 1e9])
        self._columns = Columns(hours=(np.int32, ()))
        self._most = Peaks(len(MEASURES))
        self._odds = Peaks(len(MEASURES))
        self._telling = Telling(len(MEASURES))

    def close(self, window: Window) -> list[Anomaly]:
        """Judge the heaviest user of each service by each measure, then learn what the heaviest takes."""
        for part in (self._columns, self._most, self._odds, self._telling):
            part.reserve(len(window.services))
        services = np.unique(window.service_of[window.rows])
        found = self._judge(services, window)
        if window.width == HOUR:
            self._columns["hours"][services] += 1
        return found

    def forget(self, rows: Int64, services: Int64) -> None:
        """These services were never seen."""
        del rows
        for part in (self._columns, self._most, self._odds, self._telling):
            part.forget(services)

    def accept(self, rows: Int64, services: Int64) -> None:
        """What the heaviest users took since a finding began is usual from now on."""
        del rows
        for index in range(len(MEASURES)):
            self._adopt(services[self._telling.active(services)[:, index]], index)

    def tables(self) -> Tables:
        """All of its state."""
        peaks = self._most.tables("most.") | self._odds.tables("odds.")
        return self._columns.tables() | peaks | self._telling.tables("telling.")

    def load(self, tables: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what `tables` was called on."""
        self._columns.load(tables)
        self._most.load(tables, "most.")
        self._odds.load(tables, "odds.")
        self._telling.load(tables, "telling.")

    def _judge(self, services: Int64, window: Window) -> list[Anomaly]:
        total, amount = totals(services, window), heaviest(services, window)
        least = self._least * (SHORT_SHARE if window.width == SHORT else 1.0)
        odds = amount / (np.maximum(total - amount, 0.0) + least)
        most, usual_odds = (peaks.before(services, window.width) for peaks in (self._most, self._odds))
        factor = self._rules.factor * self._strictness
        known = (most > 0) & (self._columns["hours"][services] >= self._drift.warm_up_hours)[:, None]
        limit = np.maximum(factor * most, least)
        score = np.where(known, np.minimum(amount / limit, odds / np.maximum(factor * usual_odds, 1e-9)), 0.0)
        tells = self._telling.step(services, score, severities(score), window)
        found = [
            self._told(index, window, int(services[at]), float(total[at, index]), float(limit[at, index]), float(score[at, index]))
            for at, index in np.argwhere(tells).tolist()
        ]
        self._learn(services, window, amount, odds)
        return found

    def _learn(self, services: Int64, window: Window, amount: Float64, odds: Float64) -> None:
        """Remember the most that one user took; not while a finding goes on, until it has gone on long enough to be normal."""
        if window.width == HOUR:
            stays = self._telling.stays(services, window, self._drift.accept_hours)
            for index in range(len(MEASURES)):
                self._adopt(services[stays[:, index]], index)
        active = self._telling.active(services)
        for peaks, value in ((self._most, amount), (self._odds, odds)):
            peaks.learn(window, services, value, ~active, active)

    def _adopt(self, services: Int64, index: int) -> None:
        """What was taken since a finding began is usual, and the finding has ended."""
        self._most.adopt(services, index)
        self._odds.adopt(services, index)
        self._telling.end(services, index)

    def _told(self, index: int, window: Window, service: int, total: float, limit: float, score: float) -> Anomaly:
        users, fact = window.users, MEASURES[index]
        own = np.flatnonzero(users.owners == service)
        heavy = own[np.argsort(-users.facts[own, fact], kind="stable")][:CONTRIBUTORS]
        amount = float(users.facts[heavy[0], fact])
        most = float(self._most.before(np.array([service]), window.width)[0, index])
        series, since_ns = window.services[service], int(self._telling.since_ns(np.array([service]))[0, index])
        written = usd if fact == NANOS else number
        unit = "" if fact == NANOS else f" {WORDS_OF[index]}"
        sentence = (
            f"User {name_of(users.keys[heavy[0]])} took {written(amount)}{unit} of {series.service} in {window.minutes}, "
            f"{percent(amount / total)} of all; the busiest user usually takes up to {written(round(most))}, "
            f"limit {written(round(limit))}, since {rfc3339(since_ns)}."
        )
        scale = 1e9 if fact == NANOS else 1.0
        return anomaly_of(
            window,
            Told(
                series=series,
                metric=METRIC_OF[index],
                type="usage_abuse",
                detector=DetectorName.USAGE,
                value=amount / scale,
                score=score,
                severity=int(severities(np.array([score]))[0]),
                expected=most / scale,
                lower=0.0,
                upper=limit / scale,
                samples=len(own),
                since_ns=since_ns,
                confidence=min(1.0, float(self._columns["hours"][service]) / (24.0 * self._drift.reference_days)),
                explanation=sentence,
                contributors=[
                    Contributor(dimension="user", value=name_of(users.keys[at]), share=float(users.facts[at, fact]) / total)
                    for at in heavy.tolist()
                ],
            ),
        )


def totals(services: Int64, window: Window) -> Float64:
    """float64[s, measures], all that was taken of each service, in the units of users' facts."""
    taken = (window.tally[:, EVENTS], window.sums[:, TOTAL_TOKENS] / UNITS[TOTAL_TOKENS], window.sums[:, COST])
    of, most = window.service_of[window.rows], len(window.services)
    return np.stack([np.bincount(of, weights=column, minlength=most)[services] for column in taken], axis=1)


def heaviest(services: Int64, window: Window) -> Float64:
    """float64[s, measures], the most that one user took of each service, in the units of users' facts."""
    most = np.zeros((len(window.services), len(MEASURES)))
    np.maximum.at(most, window.users.owners, window.users.facts[:, MEASURES].astype(np.float64))
    found: Float64 = most[services]
    return found
