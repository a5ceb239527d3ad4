"""Drift of distributions: lengths of prompts, lengths of answers, and the mix of finish reasons, against those of the days before.

The population stability index (PSI) of a window against the reference is the sum over bins of (p - q) ln(p / q). By itself it says
nothing: of a hundred events it is large by chance. So three things must come together. The index, less what chance adds, exceeds the
configured limit; it exceeds by half what this series' windows reach by themselves, such as at night or on weekends; and it is sure:
without a change, PSI / (1/n + 1/m) is chi-square distributed with bins - 1 degrees of freedom, and one in a million would be as large.
Where events come in clumps (sessions, retries, batches), chance is larger than that by a factor, which is learned from the windows
before.

Neighbouring bins are pooled until chance alone would put ten events into each, so few events give few bins. The reference fades with a
half-life of days and learns no hour in which a change was told; a change that stays becomes the reference after a while.

Trust it for what it says: the mix is another one. It does not say that answers became worse, and a new kind of use looks the same as a
fault.

Sources: N. Siddiqi, Credit Risk Scorecards, 2006 (limits .1 and .25); B. Yurdakul, J. Naranjo, Statistical Properties of the Population
Stability Index, Journal of Risk Model Validation 14, 2020 (its distribution).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from sentinel.config.sections_usage import Drift
from sentinel.core.anomaly import Anomaly, Contributor, DetectorName
from sentinel.core.batch import Bool, Float64, Int64
from sentinel.core.explain import number
from sentinel.core.jit import kernel
from sentinel.core.timestamp import rfc3339
from sentinel.detection.closing import Told, Window, anomaly_of, percent, severities
from sentinel.detection.compared import BEYOND_USUAL, Compared
from sentinel.detection.finish import CATEGORIES
from sentinel.detection.panes import COMPLETION_BINS, FINISH_BINS, PROMPT_BINS, bin_start
from sentinel.detection.significance import SURE, chi_square, decay

LEAST_EVENTS: Final = 50
"""Events a window must have: fewer leave too few bins to compare."""

POOLED: Final = 10.0
"""Events that chance must put into a bin; the chi-square distribution holds from about there."""

MOST_USUAL: Final = 4.0
"""Windows reach no more than this many limits by themselves: strange first hours must not make a series blind."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One distribution: its bins among a pane's columns, what it is called, and the type of its anomalies."""

    bins: slice
    metric: str
    type: str
    name: str


FEATURES: Final = (
    Feature(PROMPT_BINS, "prompt_distribution", "input_drift", "prompt lengths"),
    Feature(COMPLETION_BINS, "completion_distribution", "output_drift", "answer lengths"),
    Feature(FINISH_BINS, "finish_reasons", "output_drift", "finish reasons"),
)
STARTS: Final = [feature.bins.start for feature in FEATURES]
FINISH: Final = 2
BINS: Final = FINISH_BINS.stop


@kernel
def stability(counts: npt.NDArray[np.int32], reference: npt.NDArray[np.float32], psi: Float64, freedom: Float64, chance: Float64) -> None:
    """The population stability index of each row of counts against its reference.

    Args:
        counts: int32[r, b].
        reference: float32[r, b].
        psi: float64[r], gets the index.
        freedom: float64[r], gets the number of pooled bins less one.
        chance: float64[r], gets 1/n + 1/m of both totals; 0 where one of them is empty.
    """
    for row in range(counts.shape[0]):
        now, before = 0.0, 0.0
        for at in range(counts.shape[1]):
            now += counts[row, at]
            before += reference[row, at]
        psi[row], freedom[row], chance[row] = 0.0, 0.0, 0.0
        if now < 1.0 or before < 1.0:
            continue
        chance[row] = 1.0 / now + 1.0 / before
        enough = POOLED * before / min(now, before)
        left = before
        pooled_now, pooled_before = 0.0, 0.0
        bins = 0.0
        for at in range(counts.shape[1]):
            pooled_now += counts[row, at]
            pooled_before += reference[row, at]
            left -= reference[row, at]
            if (pooled_before >= enough and left >= enough) or at == counts.shape[1] - 1:
                p = (pooled_now + 0.5) / (now + 0.5)
                q = (pooled_before + 0.5) / (before + 0.5)
                psi[row] += (p - q) * np.log(p / q)
                bins += 1.0
                pooled_now, pooled_before = 0.0, 0.0
        freedom[row] = bins - 1.0


class Distribution(Compared):
    """The distributions of a partition's series. A `WindowDetector`.

    Args:
        rules: the drift section.
        strictness: scales all limits; 1.0 at medium sensitivity.
    """

    def __init__(self, rules: Drift, strictness: float = 1.0) -> None:
        super().__init__(len(FEATURES), rules, strictness, reference=(np.float32, (BINS,)), fresh=(np.float32, (BINS,)))

    def _judge(self, window: Window) -> list[Anomaly]:
        rows, width = window.rows, window.width
        psi, freedom, chance = np.empty((3, len(FEATURES), len(rows)))
        for index, feature in enumerate(FEATURES):
            stability(
                window.tally[:, feature.bins], self._columns["reference"][rows, feature.bins], psi[index], freedom[index], chance[index]
            )
        psi, freedom, chance = psi.T, freedom.T, chance.T
        clumps = self._clumps(window)
        effect = np.maximum(psi - freedom * chance * clumps, 0.0)
        ratio = np.divide(psi, chance, out=np.zeros_like(psi), where=chance > 0)
        limit = np.maximum(self._rules.min_psi, BEYOND_USUAL * self._peaks.before(rows, width)) * self._strictness
        score = np.minimum(effect / limit, chi_square(ratio / clumps, freedom) / (SURE * self._strictness))
        events = np.add.reduceat(window.tally[:, : FEATURES[-1].bins.stop], STARTS, axis=1)
        enough = events >= LEAST_EVENTS
        score = np.where(enough & self._is_warm(rows), score, 0.0)
        tells = self._telling.step(rows, score, severities(score), window)
        found = [
            self._told(index, window, at, float(effect[at, index]), float(limit[at, index]), float(score[at, index]))
            for at, index in np.argwhere(tells).tolist()
        ]
        calm = (score < 1.0) & enough & (freedom > 0)
        self._learn_chance(window, calm, np.minimum(effect, MOST_USUAL * self._rules.min_psi), ratio / np.maximum(freedom, 1))
        return found

    def _learn(self, window: Window, active: Bool) -> None:
        reference, fresh = self._columns["reference"], self._columns["fresh"]
        left = np.float32(decay(1.0, 24.0 * self._rules.reference_days))
        for index, feature in enumerate(FEATURES):
            bins, calm = feature.bins, ~active[:, index]
            rows = window.rows[calm]
            reference[rows, bins] = reference[rows, bins] * left + window.tally[calm, bins]
            fresh[rows, bins] = 0.0
            fresh[window.rows[~calm], bins] += window.tally[~calm, bins]

    def _adopt(self, rows: Int64, subject: int) -> None:
        bins = FEATURES[subject].bins
        known = rows[self._columns["fresh"][rows, bins].sum(axis=1) > 0]
        self._columns["reference"][known, bins] = self._columns["fresh"][known, bins]
        self._columns["fresh"][rows, bins] = 0.0

    def _told(self, index: int, window: Window, at: int, effect: float, limit: float, score: float) -> Anomaly:
        feature, row = FEATURES[index], int(window.rows[at])
        counts = window.tally[at, feature.bins].astype(np.float64)
        reference = self._columns["reference"][row, feature.bins].astype(np.float64)
        usual = float(self._peaks.before(window.rows[at : at + 1], window.width)[0, index])
        series, since_ns = window.names[row], int(self._telling.since_ns(window.rows[at : at + 1])[0, index])
        what, contributors = _mix(counts, reference) if index == FINISH else _lengths(counts, reference)
        sentence = (
            f"{feature.name} of {series.service} / {series.model} are of another distribution since {rfc3339(since_ns)}: {what} "
            f"(population stability index {effect:.2f}, limit {limit:.2f}, usually up to {usual:.2f}; "
            f"{number(counts.sum())} events in {window.minutes} against the weight of {number(round(reference.sum()))} before)."
        )
        return anomaly_of(
            window,
            Told(
                series=series,
                metric=feature.metric,
                type=feature.type,
                detector=DetectorName.DRIFT,
                value=effect,
                score=score,
                severity=int(severities(np.array([score]))[0]),
                expected=usual,
                lower=0.0,
                upper=limit,
                samples=int(counts.sum()),
                since_ns=since_ns,
                confidence=min(1.0, float(self._columns["hours"][row]) / (24.0 * self._rules.reference_days)),
                explanation=sentence,
                contributors=contributors,
            ),
        )


def _lengths(counts: Float64, reference: Float64) -> tuple[str, list[Contributor]]:
    """Where half and nine tenths of the lengths lie, now and before."""

    def level(of: Float64, share: float) -> str:
        return number(round(bin_start(int(np.searchsorted(np.cumsum(of), share * of.sum())))))

    now, before = (f"half from {level(of, 0.5)} and a tenth from {level(of, 0.9)} tokens on" for of in (counts, reference))
    return f"{now}, usually {before}", []


def _mix(counts: Float64, reference: Float64) -> tuple[str, list[Contributor]]:
    """The finish reasons whose shares changed most."""
    now, before = counts / counts.sum(), reference / reference.sum()
    strongest = [at for at in np.argsort(-np.abs(now - before), kind="stable").tolist()[:3] if abs(now[at] - before[at]) >= 0.005]
    words = [f"{CATEGORIES[at]} {percent(float(now[at]))} (usually {percent(float(before[at]))})" for at in strongest]
    return ", ".join(words), [
        Contributor(dimension="finish_reason", value=CATEGORIES[at], share=float(now[at]), usual=float(before[at])) for at in strongest
    ]
