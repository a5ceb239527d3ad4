"""Multivariate detection: half-space trees over rate, errors, latency, lengths and cost of a series together.

Each series has a small forest. Its trees cut the space of the features at random places and count how many of the last day's windows fell
into each part; a window in an empty part is strange, also where every feature by itself is usual (long answers that are fast, many tokens
that cost nothing). Features are put between 0 and 1 by their own running centre and spread. The forest's number is calibrated by the tail
of the series' own past numbers (`sentinel.detection.tail`), so one probability fits all series.

Off by default: on fault weeks, whose faults show in single metrics, it adds nothing to the other detectors (`bench/multivariate.py` prints
the figures; an isolation forest on the same features did worse than the largest single deviation too). It is for habits that must not mix.
Trust it least after a change of habits, until a day of the new ones has been seen.

The forest is that of the river library (`llm-sentinel[multivariate]`). It cannot give its state away without pickle, so the last two days
of features are kept instead: its structure follows from a fixed seed, its counts from the windows since the last full day, bit for bit.

Source: S. C. Tan, K. M. Ting, T. F. Liu, Fast Anomaly Detection for Streaming Data, IJCAI 2011.
"""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any, Final, Protocol, cast

import numpy as np
import numpy.typing as npt

from sentinel.config.sections_usage import Multivariate as Rules
from sentinel.core.anomaly import Anomaly, DetectorName
from sentinel.core.batch import Float64, Int64
from sentinel.core.errors import StartupError
from sentinel.core.metrics import COMPLETION_TOKENS, COST, ERROR, LATENCY, PROMPT_TOKENS
from sentinel.core.timestamp import rfc3339
from sentinel.detection import tail
from sentinel.detection.closing import PANE, SHORT, Told, Window, anomaly_of, severities
from sentinel.detection.columns import Columns, Tables
from sentinel.detection.panes import EVENTS, SAMPLES, UNITS
from sentinel.detection.telling import Telling

FEATURES: Final = ("requests", "errors", "latency", "latency per answer token", "prompt length", "answer length", "cost")

DAY: Final = 288
"""Windows that a forest counts: a day of five minutes, so that every hour of the day is usual."""

HEIGHT: Final = 6
"""Cuts from the root of a tree to a leaf: 64 parts, a few windows of a day in each."""

SEED: Final = 1
"""Of the trees' structure: the same everywhere, so that a replay gives the same trees."""

MEMORY: Final = 576
"""Windows that centre and spread average over: two days."""

SETTLED: Final = 48
"""Scores before centre and spread of scores are known well enough to judge by: four hours."""

LEAST_LEVEL: Final = 1e-3

SPREADS: Final = 2.0
"""Mean deviations from the centre to either end of a feature's range: fine enough to tell habits apart. What lies beyond counts as the
end; single extreme values are the business of other detectors.
"""


class Forest(Protocol):
    """What is used of `river.anomaly.HalfSpaceTrees`."""

    def score_one(self, x: dict[str, float]) -> float:
        """How strange a point is, 0 to 1."""
        ...

    def learn_one(self, x: dict[str, float]) -> None:
        """Count a point."""
        ...


class Multivariate:
    """The forests of a partition's first series. A `WindowDetector`.

    Args:
        rules: the multivariate section.
        strictness: scales all limits; 1.0 at medium sensitivity.

    Raises:
        StartupError: river is not installed.
    """

    def __init__(self, rules: Rules, strictness: float = 1.0) -> None:
        self._rules = rules
        self._make = _half_space_trees()
        self._evidence = -float(np.log(rules.probability)) * strictness
        self._forests: dict[int, Forest] = {}
        shape = (len(FEATURES),)
        self._columns = Columns(
            count=(np.int64, ()),
            centre=(np.float64, shape),
            spread=(np.float64, shape),
            points=(np.float32, (2 * DAY, len(FEATURES))),
            level=(np.float64, (2,)),
        )
        self._tails = np.zeros(0, tail.TAIL)
        self._telling = Telling(1)
        self._slots: dict[int, int] = {}
        self._free = list(range(rules.max_series - 1, -1, -1))

    def close(self, window: Window) -> list[Anomaly]:
        """Score the window of each series that has a forest, then learn it."""
        if window.width != SHORT or not len(window.rows):
            return []
        features = features_of(window)
        judged = []
        for at, row in enumerate(window.rows.tolist()):
            slot = self._slot(row)
            if slot is not None:
                judged.append((at, slot, *self._score(slot, features[at])))
        if not judged:
            return []
        slots = np.array([slot for _, slot, _, _ in judged], np.int64)
        score = np.array([score for _, _, score, _ in judged])
        tells = self._telling.step(slots, score[:, None], severities(score)[:, None], replace(window, width=PANE))[:, 0]
        return [self._told(window, *judged[i]) for i in np.flatnonzero(tells).tolist()]

    def forget(self, rows: Int64, services: Int64) -> None:
        """These series were never seen."""
        del services
        for row in rows.tolist():
            slot = self._slots.pop(row, None)
            if slot is not None:
                self._forests.pop(slot, None)
                self._columns.forget(np.array([slot]))
                self._telling.forget(np.array([slot]))
                self._tails[slot : slot + 1] = np.zeros(1, tail.TAIL)
                self._free.append(slot)

    def accept(self, rows: Int64, services: Int64) -> None:
        """What these series do now is normal: they are learned anew."""
        self.forget(rows, services)

    def tables(self) -> Tables:
        """All of its state."""
        slots = np.array(sorted(self._slots.items()), np.int64).reshape(-1, 2)
        own = {
            "slots": slots,
            "free": np.array(self._free, np.int64),
            "tails": self._tails.copy(),
            "most": np.array([self._rules.max_series]),
        }
        return self._columns.tables() | self._telling.tables("telling.") | own

    def load(self, tables: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what `tables` was called on; with another number of series, start anew. Forests grow again when they are needed."""
        if "slots" not in tables or int(tables["most"][0]) != self._rules.max_series:
            return
        self._columns.load(tables)
        self._telling.load(tables, "telling.")
        self._slots = {int(row): int(slot) for row, slot in tables["slots"]}
        self._free = tables["free"].tolist()
        self._tails = tables["tails"].copy()
        self._forests.clear()

    def _slot(self, row: int) -> int | None:
        """The slot of a series' forest, given now if there is one free."""
        slot = self._slots.get(row)
        if slot is None and self._free:
            slot = self._slots[row] = self._free.pop()
            self._columns.reserve(slot + 1)
            self._telling.reserve(slot + 1)
            if slot >= len(self._tails):
                self._tails = np.concatenate((self._tails, np.zeros(slot + 1 - len(self._tails), tail.TAIL)))
        return slot

    def _score(self, slot: int, values: Float64) -> tuple[float, npt.NDArray[np.float32]]:
        """How strange a window is, 1.0 at the boundary, and its features between 0 and 1; it is learned."""
        place = self._placed(slot, values)
        forest, point = self._forest(slot), _named(place)
        count = int(self._columns["count"][slot])
        score = 0.0
        if count >= DAY:
            score = self._calibrated(slot, float(forest.score_one(point)))
        forest.learn_one(point)
        self._columns["points"][slot, count % (2 * DAY)] = place
        self._columns["count"][slot] = count + 1
        return score, place

    def _calibrated(self, slot: int, strange: float) -> float:
        """A forest's number as evidence against the series' own past numbers, 1.0 at the configured probability."""
        level = self._columns["level"][slot]
        scored = int(self._columns["count"][slot]) - DAY
        change = strange - level[0] if scored else 0.0
        probability = 1.0
        if scored >= SETTLED:
            probability = tail.score_then_learn(self._tails[slot], max(0.0, change) / max(level[1], LEAST_LEVEL))
            change = float(np.clip(change, -3.0 * level[1], 3.0 * level[1]))
        weight = 1.0 / min(scored + 1, MEMORY)
        level[0] = level[0] + weight * change if scored else strange
        level[1] += weight * (abs(change) - level[1])
        return -float(np.log(max(probability, 1e-300))) / self._evidence

    def _placed(self, slot: int, values: Float64) -> npt.NDArray[np.float32]:
        """float32[features] between 0 and 1, absent ones in the middle, by the running centre and spread before them, which learn them."""
        centre, spread = self._columns["centre"][slot], self._columns["spread"][slot]
        count = int(self._columns["count"][slot])
        known = ~np.isnan(values)
        if not count:
            centre[known] = values[known]
        off = np.where(known, values - centre, 0.0)
        place = np.clip(0.5 + off / (2.0 * SPREADS * np.maximum(spread, LEAST_SPREAD)), 0.0, 1.0)
        weight = 1.0 / min(count + 1, MEMORY)
        bound = np.where(spread > 0, 3.0 * spread, np.inf) if count >= DAY else np.full(len(off), np.inf)
        off = np.clip(off, -bound, bound)
        centre += weight * off
        spread += weight * (np.abs(off) - spread)
        between: npt.NDArray[np.float32] = place.astype(np.float32)
        return between

    def _forest(self, slot: int) -> Forest:
        """The forest of a slot, grown again from its last full day and what came since, if need be."""
        forest = self._forests.get(slot)
        if forest is None:
            forest = self._forests[slot] = cast("Forest", self._make(n_trees=self._rules.trees, height=HEIGHT, window_size=DAY, seed=SEED))
            count = int(self._columns["count"][slot])
            for at in range(max(0, (count // DAY - 1) * DAY), count):
                forest.learn_one(_named(self._columns["points"][slot, at % (2 * DAY)]))
        return forest

    def _told(self, window: Window, at: int, slot: int, score: float, place: npt.NDArray[np.float32]) -> Anomaly:
        series = window.names[int(window.rows[at])]
        since_ns = int(self._telling.since_ns(np.array([slot]))[0, 0])
        strongest = np.argsort(-np.abs(place - 0.5), kind="stable")[:3].tolist()
        words = ", ".join(f"{FEATURES[i]} {'above' if place[i] > 0.5 else 'below'} its centre by {_spreads(place[i])}" for i in strongest)
        sentence = (
            f"The metrics of {series.service} / {series.model} together are unlike those of its last days, since {rfc3339(since_ns)}: "
            f"{words} mean deviations; so strange a window comes once in {np.exp(score * self._evidence):,.0f}."
        )
        return anomaly_of(
            window,
            Told(
                series=series,
                metric="combination",
                type="custom",
                detector=DetectorName.MULTIVARIATE,
                value=score * self._evidence,
                score=score,
                severity=int(severities(np.array([score]))[0]),
                upper=self._evidence,
                samples=int(window.tally[at, EVENTS]),
                since_ns=since_ns,
                confidence=min(1.0, float(self._columns["count"][slot]) / (7 * DAY)),
                explanation=sentence,
            ),
        )


LEAST_SPREAD: Final = 0.02
"""Smallest spread of a feature, in its own unit (logarithms, shares): two per cent."""


def features_of(window: Window) -> Float64:
    """float64[r, features] of each series of a window; NaN where a metric is absent."""
    counts = window.tally[:, SAMPLES].astype(np.float64)
    totals = window.sums / UNITS
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(counts > 0, totals / counts, np.nan)
        columns = (
            np.log(window.tally[:, EVENTS] / window.seconds * 60.0),
            np.sqrt(np.nan_to_num(mean[:, ERROR])),
            np.log(mean[:, LATENCY]),
            np.log(totals[:, LATENCY] / totals[:, COMPLETION_TOKENS]),
            np.log1p(mean[:, PROMPT_TOKENS]),
            np.log1p(mean[:, COMPLETION_TOKENS]),
            np.log(mean[:, COST]),
        )
    features = np.stack(columns, axis=1)
    return np.where(np.isfinite(features), features, np.nan)


def _named(place: npt.NDArray[np.float32]) -> dict[str, float]:
    return dict(zip(FEATURES, place.tolist(), strict=True))


def _spreads(place: float) -> str:
    return f"{abs(place - 0.5) * 2.0 * SPREADS:.1f}"


def _half_space_trees() -> Any:  # noqa: ANN401  river has no types
    """The class of the forests, imported only where they are wanted."""
    try:
        return import_module("river.anomaly").HalfSpaceTrees
    except ImportError as error:
        raise StartupError(
            "detection.multivariate.enabled: the river library is not installed; install `llm-sentinel[multivariate]`, or switch it off"
        ) from error
