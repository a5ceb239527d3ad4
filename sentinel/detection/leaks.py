"""Shares that should stay small: events with personal data or secrets in them, refused answers, empty answers.

A window's hits are compared with the share of the days before by the signed root of the binomial deviance, widened by what the reference
itself does not know (1 + n/N) and by how much more than chance this series' windows vary. The increase must also be large enough to
matter and exceed by half what the windows reach by themselves. Only increases are told.

Trust it from five hits on. It does not say which data leaked: the findings by type are in the redaction metrics, and the users with the
most such events stand in the anomaly.

Sources: as in `sentinel.detection.significance`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sentinel.config.sections_usage import Drift, Leaks
from sentinel.core.anomaly import Anomaly, Contributor, DetectorName
from sentinel.core.batch import Bool, Float64, Int64
from sentinel.core.explain import number
from sentinel.core.timestamp import rfc3339
from sentinel.detection.closing import HOUR, Told, Window, anomaly_of, percent, severities
from sentinel.detection.columns import Columns, Tables
from sentinel.detection.distribution import BEYOND_USUAL, CLUMPS_MEMORY
from sentinel.detection.heavy_hitters import FOUND, name_of
from sentinel.detection.panes import ANSWERS, EMPTY, EVENTS, PERSONAL, REFUSALS
from sentinel.detection.peaks import Peaks
from sentinel.detection.significance import SURE, binomial, decay
from sentinel.detection.telling import Telling

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


class Shares:
    """The shares of a partition's series. A `WindowDetector`.

    Args:
        drift: limits of refusals and empty answers, and how long things take.
        leaks: limits of personal data.
        strictness: scales all limits; 1.0 at medium sensitivity.
    """

    def __init__(self, drift: Drift, leaks: Leaks, strictness: float = 1.0) -> None:
        self._drift = drift
        self._strictness = strictness
        self._enabled = np.array([drift.enabled, drift.enabled, leaks.enabled])
        self._least = np.array([LEAST_HITS, LEAST_HITS, leaks.min_events])
        self._increase = np.array([drift.min_increase, drift.min_increase, leaks.min_increase])
        shape = (len(KINDS),)
        self._columns = Columns(
            hits=(np.float64, shape),
            trials=(np.float64, shape),
            fresh_hits=(np.float64, shape),
            fresh_trials=(np.float64, shape),
            hours=(np.int32, ()),
            clumps=(np.float64, (*shape, 2)),
        )
        self._peaks = Peaks(len(KINDS))
        self._telling = Telling(len(KINDS))

    def close(self, window: Window) -> list[Anomaly]:
        """Judge each share of each series against its reference; at the end of an hour, learn it."""
        for part in (self._columns, self._peaks, self._telling):
            part.reserve(len(window.names))
        found = self._judge(window)
        if window.width == HOUR:
            self._learn(window)
        return found

    def forget(self, rows: Int64, services: Int64) -> None:
        """These series were never seen."""
        del services
        for part in (self._columns, self._peaks, self._telling):
            part.forget(rows)

    def accept(self, rows: Int64, services: Int64) -> None:
        """What came since an increase was told is the reference from now on."""
        del services
        for index in range(len(KINDS)):
            self._adopt(rows[self._telling.active(rows)[:, index]], index)

    def tables(self) -> Tables:
        """All of its state."""
        return self._columns.tables() | self._peaks.tables("peaks.") | self._telling.tables("telling.")

    def load(self, tables: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what `tables` was called on."""
        self._columns.load(tables)
        self._peaks.load(tables, "peaks.")
        self._telling.load(tables, "telling.")

    def _judge(self, window: Window) -> list[Anomaly]:
        rows, width = window.rows, window.width
        hits, trials = window.tally[:, HITS].astype(float), window.tally[:, TRIALS].astype(float)
        before, weight = self._columns["hits"][rows], self._columns["trials"][rows]
        usual = (before + 0.5) / (weight + 1.0)
        share = hits / np.maximum(trials, 1.0)
        reached = np.maximum(self._peaks.before(rows, width), usual)
        increase = np.maximum(self._increase, (BEYOND_USUAL - 1.0) * reached) * self._strictness
        clumps = np.maximum(self._columns["clumps"][rows, :, width], 1.0)
        z = binomial(hits, trials, usual) / np.sqrt(1.0 + trials / np.maximum(weight, 1.0))
        score = np.minimum((share - reached) / increase, z / np.sqrt(clumps) / (SURE * self._strictness))
        judged = (hits >= self._least) & self._enabled & (self._columns["hours"][rows] >= self._drift.warm_up_hours)[:, None]
        score = np.where(judged, np.maximum(score, 0.0), 0.0)
        tells = self._telling.step(rows, score, severities(score), window)
        found = [
            self._told(index, window, at, float(usual[at, index]), float((reached + increase)[at, index]), float(score[at, index]))
            for at, index in np.argwhere(tells).tolist()
        ]
        self._learn_chance(window, (score < 1.0) & (trials > 0), share, z)
        return found

    def _learn_chance(self, window: Window, calm: Bool, share: Float64, z: Float64) -> None:
        """What sure increases windows without a finding reach by themselves, and by how much more than chance they vary."""
        rows, width = window.rows, window.width
        known = self._columns["hours"][rows] >= self._drift.warm_up_hours / 4
        active = self._telling.active(rows)
        calm = calm & known[:, None] & ~active
        clumps = self._columns["clumps"]
        varied = np.maximum(clumps[rows, :, width], 1.0)
        self._peaks.learn(window, rows, np.where(z >= SURE * np.sqrt(varied), share, 0.0), calm, active)
        clumps[rows, :, width] = varied + np.where(calm, np.minimum(z**2, 4.0 * varied) - varied, 0.0) / CLUMPS_MEMORY

    def _learn(self, window: Window) -> None:
        """Add an hour to the reference, or to what may become it."""
        rows, active = window.rows, self._telling.active(window.rows)
        stays = self._telling.stays(rows, window, self._drift.accept_hours)
        left = decay(1.0, 24.0 * self._drift.reference_days)
        for name, column in (("hits", HITS), ("trials", TRIALS)):
            reference, fresh = self._columns[name], self._columns[f"fresh_{name}"]
            came = window.tally[:, column]
            reference[rows] = np.where(active, reference[rows], left * reference[rows] + came)
            fresh[rows] = np.where(active, fresh[rows] + came, 0.0)
        for index in range(len(KINDS)):
            self._adopt(rows[stays[:, index]], index)
        self._columns["hours"][rows] += 1

    def _adopt(self, rows: Int64, index: int) -> None:
        """What came since the increase is the reference, and the finding has ended."""
        known = rows[self._columns["fresh_trials"][rows, index] > 0]
        for name in ("hits", "trials"):
            self._columns[name][known, index] = self._columns[f"fresh_{name}"][known, index]
            self._columns[f"fresh_{name}"][rows, index] = 0.0
        self._telling.end(rows, index)

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
                confidence=min(1.0, float(self._columns["hours"][row]) / (24.0 * self._drift.reference_days)),
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
