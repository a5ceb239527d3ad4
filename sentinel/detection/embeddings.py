"""Drift of meaning: the mean embedding of prompts, and of answers, against that of the days before, by sketches.

Three things must come together. The mean has moved by more than the configured part of how far single events lie from it, less what
chance adds; by half more than this series' windows reach by themselves; and surely. That part, and not the angle between the means, is what
is limited: how wide angles are is a habit of the embedding model (two texts of the same kind are at a cosine of 0.8 in one and 0.3 in
another), while the part is the same for both. The angle stands in the sentence.

Without a change the sum over the axes of squared difference / (pooled variance x (1/n + 1/m)) is about chi-square with one degree of
freedom an axis. Two things make it vary more. Events that come in clumps raise its mean: a factor learned from the windows before, as for
distributions. Axes that move together (topics are few) leave its mean and widen its tail: there are fewer degrees of freedom than
axes, one at worst. How many is learned from how the windows before varied (Satterthwaite's approximation), beginning with one.

Trust it for what it says: people ask, or are answered, about other things. A new kind of use looks the same as a fault. It sees what
moves the mean; topics that change places around the same mean are not seen.

Sources: F. Satterthwaite, An Approximate Distribution of Estimates of Variance Components, Biometrics 2, 1946; for limits of standardised
differences, J. Cohen, Statistical Power Analysis, 1988.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sentinel.config.sections_usage import Drift
from sentinel.core.anomaly import Anomaly, DetectorName
from sentinel.core.batch import Bool, Float64, Int32, Int64
from sentinel.core.explain import number
from sentinel.core.sketches import AXES, UNIT, Sketches
from sentinel.core.timestamp import rfc3339
from sentinel.detection.closing import HOUR, Told, Window, anomaly_of, severities
from sentinel.detection.columns import Tables
from sentinel.detection.compared import BEYOND_USUAL, CLUMPS_MEMORY, Compared
from sentinel.detection.distribution import LEAST_EVENTS, MOST_USUAL
from sentinel.detection.embedding_panes import COLUMNS, SQUARES, SUMS, EmbeddingPanes
from sentinel.detection.significance import SURE, chi_square, decay

LEAST_SPREAD: Final = 0.05
"""No events lie nearer to their mean than this, of vectors of length 1: rounding, and prompts that differ by a date, are no topics."""

AXIS_SPREAD: Final = LEAST_SPREAD**2 / AXES

WIDEST: Final = 16.0
"""Times its usual value that a window's statistic counts for when its tail is learned; the 99.99th percentile at one degree of freedom."""

TAIL_AT_FIRST: Final = 3.0
"""Mean square of a chi-square over its mean at one degree of freedom: what is assumed until windows have shown better."""

_PARTS: Final = np.array([1.0] + AXES * [UNIT] + AXES * [UNIT**2])


@dataclass(frozen=True, slots=True)
class Kind:
    """Whose embeddings: what their drift is called."""

    metric: str
    type: str
    name: str


KINDS: Final = (Kind("prompt_embedding", "input_drift", "prompts"), Kind("response_embedding", "output_drift", "answers"))


@dataclass(frozen=True, slots=True)
class Moved:
    """How r windows differ from their references.

    Attributes:
        events, weight: float64[r], how many vectors of each.
        distance: float64[r], squared, between the means; spread: float64[r], mean squared distance of single events from their mean.
        chance: float64[r], 1/n + 1/m; 0 where one of them is empty.
        statistic: float64[r], the sum over the axes, divided by their number: 1 on average without a change.
        cosine: float64[r], distance of the means, 0 to 2.
    """

    events: Float64
    weight: Float64
    distance: Float64
    spread: Float64
    chance: Float64
    statistic: Float64
    cosine: Float64

    @classmethod
    def of(cls, came: Float64, reference: Float64) -> "Moved":
        """From float64[r, COLUMNS] of both."""
        (n, mean, variance), (m, before, usual) = _moments(came), _moments(reference)
        known = (n > 0) & (m > 0)
        chance = np.where(known, 1.0 / np.maximum(n, 1.0) + 1.0 / np.maximum(m, 1.0), 0.0)
        pooled = (n[:, None] * variance + m[:, None] * usual) / np.maximum(n + m, 1.0)[:, None] + AXIS_SPREAD
        squares = np.where(known[:, None], (mean - before) ** 2, 0.0)
        lengths = np.sqrt((mean**2).sum(axis=1) * (before**2).sum(axis=1))
        return cls(
            events=n,
            weight=m,
            distance=squares.sum(axis=1),
            spread=usual.sum(axis=1) + LEAST_SPREAD**2,
            chance=chance,
            statistic=(squares / pooled).mean(axis=1) / np.where(known, chance, 1.0),
            cosine=1.0 - (mean * before).sum(axis=1) / np.maximum(lengths, LEAST_SPREAD**2),
        )


class EmbeddingDrift(Compared):
    """The mean embeddings of a partition's series. A `WindowDetector` of panes that adds them up itself.

    Args:
        rules: the drift section.
        pane_ns, ring: length of a pane, and how many are open at once.
        strictness: scales all limits; 1.0 at medium sensitivity.
    """

    def __init__(self, rules: Drift, pane_ns: int, ring: int, strictness: float = 1.0) -> None:
        state = (np.float32, (COLUMNS,))
        super().__init__(1, rules, strictness, reference=state, fresh=state, calmed=(np.float64, (2,)))
        self._panes = EmbeddingPanes(pane_ns, ring)

    def observe(self, rows: Int32, ts_ns: Int64, sketches: Sketches, first_open: int) -> None:
        """See events before their pane closes."""
        self._panes.observe(rows, ts_ns, sketches, first_open)

    def close(self, window: Window) -> list[Anomaly]:
        """Take a pane; judge and learn the windows that end with it."""
        found: list[Anomaly] = []
        for ended in self._panes.close(window):
            found += super().close(ended)
            if ended.width == HOUR:
                super().forget(self._panes.outdated(ended.rows), ended.rows[:0])
        return found

    def forget(self, rows: Int64, services: Int64) -> None:
        """These series were never seen."""
        slots = self._panes.slots_of(rows)
        self._panes.release(slots)
        super().forget(slots, services)

    def accept(self, rows: Int64, services: Int64) -> None:
        """What came since a change was told is the reference from now on."""
        super().accept(self._panes.slots_of(rows), services)

    def tables(self) -> Tables:
        """All of its state."""
        return super().tables() | self._panes.tables("panes.")

    def load(self, tables: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what `tables` was called on."""
        super().load(tables)
        self._panes.load(tables, "panes.")

    def _judge(self, window: Window) -> list[Anomaly]:
        rows, width = window.rows, window.width
        moved = Moved.of(window.sums / _PARTS, self._columns["reference"][rows].astype(np.float64))
        clumps = self._clumps(window)[:, 0]
        effect = np.sqrt(np.maximum(moved.distance / moved.spread - moved.chance * clumps, 0.0))
        least = self._rules.min_embedding_shift
        limit = np.maximum(least, BEYOND_USUAL * self._peaks.before(rows, width)[:, 0]) * self._strictness
        tail = TAIL_AT_FIRST - self._columns["calmed"][rows, width]
        freedom = np.clip(2.0 / np.maximum(tail - 1.0, 2.0 / AXES), 1.0, AXES)
        sure = chi_square(moved.statistic / clumps * freedom, freedom)
        enough = moved.events >= LEAST_EVENTS
        score = np.minimum(effect / limit, sure / (SURE * self._strictness))[:, None]
        score = np.where(enough[:, None] & self._is_warm(rows), np.maximum(score, 0.0), 0.0)
        tells = self._telling.step(rows, score, severities(score), window)
        found = [
            self._told(window, at, moved, float(effect[at]), float(limit[at]), float(score[at, 0])) for at in np.flatnonzero(tells).tolist()
        ]
        calm = (score < 1.0) & (enough & (moved.weight > 0))[:, None]
        learned = self._learn_chance(window, calm, np.minimum(effect, MOST_USUAL * least)[:, None], moved.statistic[:, None])[:, 0]
        square = np.minimum(moved.statistic / clumps, WIDEST) ** 2
        tail += np.where(learned, square - tail, 0.0) / CLUMPS_MEMORY
        self._columns["calmed"][rows, width] = np.maximum(TAIL_AT_FIRST - tail, 0.0)
        return found

    def _learn(self, window: Window, active: Bool) -> None:
        reference, fresh = self._columns["reference"], self._columns["fresh"]
        left = np.float32(decay(1.0, 24.0 * self._rules.reference_days))
        rows, came = window.rows, (window.sums / _PARTS).astype(np.float32)
        reference[rows] = np.where(active, reference[rows], left * reference[rows] + came)
        fresh[rows] = np.where(active, fresh[rows] + came, np.float32(0.0))

    def _adopt(self, rows: Int64, subject: int) -> None:
        del subject
        known = rows[self._columns["fresh"][rows, 0] > 0]
        self._columns["reference"][known] = self._columns["fresh"][known]
        self._columns["fresh"][rows] = 0.0

    def _told(self, window: Window, at: int, moved: Moved, effect: float, limit: float, score: float) -> Anomaly:
        here = window.rows[at : at + 1]
        kind, series = KINDS[int(self._panes.kinds(here)[0])], window.names[int(here[0])]
        usual, since_ns = float(self._peaks.before(here, window.width)[0, 0]), int(self._telling.since_ns(here)[0, 0])
        sentence = (
            f"{kind.name} of {series.service} / {series.model} are about other things since {rfc3339(since_ns)}: their mean embedding "
            f"moved by {effect:.2f} of how far single ones lie from it (limit {limit:.2f}, usually up to {usual:.2f}; cosine distance "
            f"{moved.cosine[at]:.2g}; {number(moved.events[at])} embeddings in {window.minutes} against the weight of "
            f"{number(round(moved.weight[at]))} before)."
        )
        return anomaly_of(
            window,
            Told(
                series=series,
                metric=kind.metric,
                type=kind.type,
                detector=DetectorName.DRIFT,
                value=effect,
                score=score,
                severity=int(severities(np.array([score]))[0]),
                expected=usual,
                lower=0.0,
                upper=limit,
                samples=int(moved.events[at]),
                since_ns=since_ns,
                confidence=min(1.0, float(self._columns["hours"][here[0]]) / (24.0 * self._rules.reference_days)),
                explanation=sentence,
            ),
        )


def _moments(sums: Float64) -> tuple[Float64, Float64, Float64]:
    """How many vectors, float64[r], and their mean and variance by axis, float64[r, AXES]."""
    n = sums[:, 0]
    count = np.maximum(n, 1.0)[:, None]
    mean = sums[:, SUMS] / count
    return n, mean, np.maximum(sums[:, SQUARES] / count - mean**2, 0.0)
