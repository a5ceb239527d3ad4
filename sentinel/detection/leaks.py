"""Shares that should stay small: events with personal data or secrets in them, refused answers, empty answers.

A window's hits are compared with the share of the days before by the signed root of the binomial deviance, widened by what the reference
itself does not know (1 + n/N) and by how much more than chance this series' windows vary. The increase must also be large enough to
matter and exceed by half what the windows reach by themselves. Only increases are told.

Trust it from five hits on. It does not say which data leaked: the findings by type are in the redaction metrics, and the users with the
most such events stand in the anomaly.

Sources: as in `sentinel.detection.significance`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from sentinel.config.sections_usage import Drift, Leaks
from sentinel.core.anomaly import Anomaly, Contributor, DetectorName
from sentinel.core.batch import Bool, Int64
from sentinel.core.explain import number
from sentinel.core.timestamp import rfc3339
from sentinel.detection.closing import Told, Window, anomaly_of, percent, severities
from sentinel.detection.compared import BEYOND_USUAL, Compared
from sentinel.detection.heavy_hitters import FOUND, name_of
from sentinel.detection.panes import ANSWERS, EMPTY, EVENTS, PERSONAL, REFUSALS
from sentinel.detection.significance import SURE, binomial, decay

LEAST_HITS: Final = 5
"""Refusals or empty answers before a window is judged."""

CONTRIBUTORS: Final = 3


@dataclass(frozen=True, slots=True)
class Kind:
    """One share: hits and trials among a pane's columns, what it is called, and who tells it."""

    hits: int
    trials: int
    metric: str
    type: str
    detector: DetectorName
    what: str


KINDS: Final = (
    Kind(REFUSALS, ANSWERS, "refusal_rate", "output_drift", DetectorName.DRIFT, "answers were refused or filtered"),
    Kind(EMPTY, ANSWERS, "empty_rate", "output_drift", DetectorName.DRIFT, "answers were empty"),
    Kind(PERSONAL, EVENTS, "personal_rate", "pii_leak", DetectorName.RATE, "events held personal data or secrets"),
)
LEAK: Final = 2
HITS: Final = np.array([kind.hits for kind in KINDS])
TRIALS: Final = np.array([kind.trials for kind in KINDS])


class Shares(Compared):
    """The shares of a partition's series. A `WindowDetector`.

    Args:
        drift: limits of refusals and empty answers, and how long things take.
        leaks: limits of personal data.
        strictness: scales all limits; 1.0 at medium sensitivity.
    """

    def __init__(self, drift: Drift, leaks: Leaks, strictness: float = 1.0) -> None:
        state = (np.float64, (len(KINDS),))
        super().__init__(len(KINDS), drift, strictness, hits=state, trials=state, fresh_hits=state, fresh_trials=state)
        self._enabled = np.array([drift.enabled, drift.enabled, leaks.enabled])
        self._least = np.array([LEAST_HITS, LEAST_HITS, leaks.min_events])
        self._increase = np.array([drift.min_increase, drift.min_increase, leaks.min_increase])

    def _judge(self, window: Window) -> list[Anomaly]:
        rows, width = window.rows, window.width
        hits, trials = window.tally[:, HITS].astype(float), window.tally[:, TRIALS].astype(float)
        before, weight = self._columns["hits"][rows], self._columns["trials"][rows]
        usual = (before + 0.5) / (weight + 1.0)
        share = hits / np.maximum(trials, 1.0)
        reached = np.maximum(self._peaks.before(rows, width), usual)
        increase = np.maximum(self._increase, (BEYOND_USUAL - 1.0) * reached) * self._strictness
        clumps = self._clumps(window)
        z = binomial(hits, trials, usual) / np.sqrt(1.0 + trials / np.maximum(weight, 1.0))
        score = np.minimum((share - reached) / increase, z / np.sqrt(clumps) / (SURE * self._strictness))
        judged = (hits >= self._least) & self._enabled & self._is_warm(rows)
        score = np.where(judged, np.maximum(score, 0.0), 0.0)
        tells = self._telling.step(rows, score, severities(score), window)
        found = [
            self._told(index, window, at, float(usual[at, index]), float((reached + increase)[at, index]), float(score[at, index]))
            for at, index in np.argwhere(tells).tolist()
        ]
        sure = z >= SURE * np.sqrt(clumps)
        self._learn_chance(window, (score < 1.0) & (trials > 0), np.where(sure, share, 0.0), z**2)
        return found

    def _learn(self, window: Window, active: Bool) -> None:
        rows = window.rows
        left = decay(1.0, 24.0 * self._rules.reference_days)
        for name, column in (("hits", HITS), ("trials", TRIALS)):
            reference, fresh = self._columns[name], self._columns[f"fresh_{name}"]
            came = window.tally[:, column]
            reference[rows] = np.where(active, reference[rows], left * reference[rows] + came)
            fresh[rows] = np.where(active, fresh[rows] + came, 0.0)

    def _adopt(self, rows: Int64, subject: int) -> None:
        known = rows[self._columns["fresh_trials"][rows, subject] > 0]
        for name in ("hits", "trials"):
            self._columns[name][known, subject] = self._columns[f"fresh_{name}"][known, subject]
            self._columns[f"fresh_{name}"][rows, subject] = 0.0

    def _told(self, index: int, window: Window, at: int, usual: float, limit: float, score: float) -> Anomaly:
        kind, row = KINDS[index], int(window.rows[at])
        hits, trials = int(window.tally[at, kind.hits]), int(window.tally[at, kind.trials])
        series, since_ns = window.names[row], int(self._telling.since_ns(window.rows[at : at + 1])[0, index])
        sentence = (
            f"{number(hits)} of {number(trials)} {kind.what} in {window.minutes} of {series.service} / {series.model}: "
            f"{percent(hits / trials)}, usually {percent(usual)}, limit {percent(limit)}, since {rfc3339(since_ns)}."
        )
        return anomaly_of(
            window,
            Told(
                series=series,
                metric=kind.metric,
                type=kind.type,
                detector=kind.detector,
                value=hits / trials,
                score=score,
                severity=int(severities(np.array([score]))[0]),
                expected=usual,
                lower=0.0,
                upper=limit,
                samples=trials,
                since_ns=since_ns,
                confidence=min(1.0, float(self._columns["hours"][row]) / (24.0 * self._rules.reference_days)),
                explanation=sentence,
                contributors=_leakers(window, row) if index == LEAK else [],
            ),
        )


def _leakers(window: Window, row: int) -> list[Contributor]:
    """The users of the series' service with the most events that hold personal data."""
    users, service = window.users, int(window.service_of[row])
    own = np.flatnonzero((users.owners == service) & (users.facts[:, FOUND] > 0))
    total = float(window.tally[window.service_of[window.rows] == service, PERSONAL].sum())
    strongest = own[np.argsort(-users.facts[own, FOUND], kind="stable")][:CONTRIBUTORS]
    return [
        Contributor(dimension="user", value=name_of(users.keys[at]), share=float(users.facts[at, FOUND]) / total)
        for at in strongest.tolist()
    ]
