"""A plain value over time (a custom metric, the mean of a tick): is what comes now rare for this series, and more than chance?

Each value is compared with a slow robust level and the hour's profile. What is left, its residual, is judged in two ways:

- runs: means over the last 2, 6 and 18 residuals, rare in their own tails and more than chance (`runs`);
- novelty: values beyond everything seen so far. Without any assumption the n-th value is a record with probability 1 / n, and two in a row
  lie beyond all before them with 2 / n / (n - 1). Two need only be clearly beyond; of a single one, how far it lies beyond the old record
  is judged by the tail's fit, on the safe side.

One anomaly is told once: until it has been quiet for half an hour and six values, scores stay below 1. On streams without memory and
without fault, normal, skewed, mostly zero or constant, it tells less than .02 times in 1,000 values. Trust it from about a hundred values
on, for values that come at about regular intervals, and after three days for those with a daily rhythm. It does not see changes
within the noise of single values (`cusum` does), nor values that do not come.

Cost: 7 kB a series, less than a microsecond a value.

Source of the chance of records: K. N. Chandler, The Distribution and Frequency of Record Values, J. Royal Statistical Society B 14, 1952.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sentinel.core.batch import Float64, Int32
from sentinel.core.errors import SnapshotError
from sentinel.core.jit import kernel
from sentinel.detection import gauge_state, profile, runs, tail
from sentinel.detection.gauge_state import GAUGE, RECENT, SETTLE, SPANS, SUSPECT_WEIGHT

NOVEL: Final = 5.3
"""A value is novel at a probability of 10**-5.3: both sides together 10**-5."""

CLEARLY: Final = 0.1
"""Two values in a row are clearly beyond all others by this share of the range: a slow trend is no news."""

HELD: Final = 0.99
"""The score of what goes on with an anomaly that has been told."""

BAND: Final = 10.0**-runs.RARE
"""Probability of a value on either side of the band."""

ABSURD: Final = 1e100
"""Values from here on are no measurements."""

FIRST_ROWS: Final = 16


@kernel
def pair_novelty(rec: np.void, value: float) -> float:
    """Score of a value that, like the one before it, is clearly beyond all before them both; 0.0 for all others."""
    margin = CLEARLY * (rec["last_high"] - rec["last_low"])
    above = min(value, rec["last"]) > rec["last_high"] + margin
    below = max(value, rec["last"]) < rec["last_low"] - margin
    if margin <= 0.0 or not (above or below):
        return 0.0
    return float(np.log10(0.5 * rec["seen"] * (rec["seen"] + 1.0)) / runs.CHANCE)


@kernel
def novelty(rec: np.void, value: float, residual: float) -> float:
    """Score of a single value that is a record; 0.0 for all others."""
    above = value > rec["high"]
    if not above and not value < rec["low"]:
        return 0.0
    spread = max(rec["spans"][0]["spread"], gauge_state.least_spread(rec, residual))
    beyond = (value - rec["high"] if above else rec["low"] - value) / spread
    deviation = (residual if above else -residual) / spread
    side = rec["spans"][0]["up"] if above else rec["spans"][0]["down"]
    probability = tail.onward(side, deviation - beyond, deviation) / (rec["seen"] + 1.0)
    return float(-np.log10(max(probability, 1e-300)) / NOVEL)


@kernel
def run_scores(rec: np.void, residual: float, weight: float) -> float:
    """The highest score of the runs that end with this residual; it and the means are learned."""
    seen = rec["seen"]
    slot = seen % RECENT
    rec["recent"][slot] = residual
    highest = 0.0
    total, largest, up, down = 0.0, 0.0, 0.0, 0.0
    summed = 0
    for index in range(len(SPANS)):
        span = SPANS[index]
        each = rec["spans"][index]
        if span == 1:
            spread = max(each["spread"], gauge_state.least_spread(rec, residual))
            rec["up"][slot] = runs.evidence(each["up"], residual / spread)
            rec["down"][slot] = runs.evidence(each["down"], -residual / spread)
        while summed < span:
            before = (seen - summed) % RECENT
            total += rec["recent"][before]
            largest = max(largest, abs(rec["recent"][before]))
            up += rec["up"][before]
            down += rec["down"][before]
            summed += 1
        mean = total / span
        spread = max(each["spread"], gauge_state.least_spread(rec, largest) / np.sqrt(span))
        if span > 1:
            highest = max(highest, runs.score(each["up"], mean / spread, up, span), runs.score(each["down"], -mean / spread, down, span))
        gauge_state.learn_span(rec, index, mean, spread, weight)
    return highest


@kernel
def once(rec: np.void, t_s: float, score: float) -> float:
    """The score, held below 1 while it belongs to an anomaly that has been told."""
    if score < 1.0:
        return score
    goes_on = gauge_state.anomalous(rec, t_s)
    rec["fired"] = rec["seen"]
    rec["fired_s"] = max(rec["fired_s"], t_s)
    return HELD if goes_on else score


@kernel
def score_then_learn(rec: np.void, t_s: float, value: float, threshold: float) -> float:
    """Judge one value just before it is learned: 1.0 and more is to be told, 0.0 is nothing unusual. What is not finite is left out.

    Args:
        rec: a record of `GAUGE`.
        t_s: event time in seconds since 1970-01-01 UTC, not falling except for lateness.
        value: in any unit, below `ABSURD` in size.
        threshold: 1.0, or more for fewer alerts: scores are divided by it.
    """
    if not (np.isfinite(t_s) and abs(value) < ABSURD):
        return 0.0
    if rec["seen"] < SETTLE:
        gauge_state.settle(rec, value)
        return 0.0
    gauge_state.renew(rec)
    offset = profile.expected(rec["profile"], t_s)
    residual = value - rec["level"] - offset
    weight = SUSPECT_WEIGHT if gauge_state.anomalous(rec, t_s) else 1.0
    score = max(novelty(rec, value, residual), pair_novelty(rec, value))
    score = once(rec, t_s, max(score, run_scores(rec, residual, weight)) / threshold)
    gauge_state.learn(rec, t_s, value, offset, weight)
    return score


@kernel
def reach(rec: np.void) -> tuple[float, float]:
    """How far single values go below and above their centre; NaN where too little is known."""
    single = rec["spans"][0]
    spread = max(single["spread"], gauge_state.least_spread(rec, 0.0))
    below = spread * tail.deviation_at(single["down"], BAND)
    above = spread * tail.deviation_at(single["up"], BAND)
    return below if np.isfinite(below) else np.nan, above if np.isfinite(above) else np.nan


@kernel
def centre(rec: np.void, t_s: float) -> float:
    """What is expected at a time; NaN where nothing is known yet."""
    if rec["seen"] < SETTLE:
        return np.nan
    return float(rec["level"] + profile.expected(rec["profile"], t_s))


@kernel
def roll(records: npt.NDArray[np.void], rows: Int32, t_s: Float64, values: Float64, threshold: float, out: Float64) -> None:
    """Walk values in order: score, and for those to be told centre, lower and upper edge, into `out` (float64[n, 4])."""
    for i in range(len(values)):
        rec = records[rows[i]]
        expected = centre(rec, t_s[i])
        score = score_then_learn(rec, t_s[i], values[i], threshold)
        out[i, 0] = score
        out[i, 1:] = np.nan
        if score >= 1.0:
            below, above = reach(rec)
            out[i, 1] = expected
            out[i, 2] = expected - below
            out[i, 3] = expected + above


@dataclass(frozen=True, slots=True)
class Scores:
    """What became of n values: columns of n.

    Attributes:
        score: float64[n], 1.0 and more is to be told, 0.0 is nothing unusual.
        expected: float64[n], what was expected instead of those that are to be told; NaN for all others.
        lower, upper: float64[n], the band of single values around it; NaN as well where too little is known. A run may lie within it.
    """

    score: Float64
    expected: Float64
    lower: Float64
    upper: Float64


class Gauge:
    """Many series, one row each. Not safe for concurrent use.

    Args:
        threshold: scores are divided by it; more than 1.0 for fewer alerts.

    >>> gauge = Gauge()
    >>> gauge.reserve(1)
    >>> noise = np.random.default_rng(1).normal(100.0, 5.0, 2_000)
    >>> noise[1_500:1_510] += 40.0
    >>> scores = gauge.score(np.zeros(2_000, np.int32), np.arange(2_000) * 60.0, noise)
    >>> np.flatnonzero(scores.score >= 1.0)
    array([1501])
    """

    __slots__ = ("_records", "threshold")

    def __init__(self, threshold: float = 1.0) -> None:
        self.threshold = threshold
        self._records = np.zeros(0, GAUGE)

    def __len__(self) -> int:
        return len(self._records)

    def reserve(self, rows: int) -> None:
        """Make room for at least `rows` series. Doubling, so that growth is cheap; untouched memory is not resident."""
        if rows <= len(self._records):
            return
        grown = np.zeros(max(rows, 2 * len(self._records), FIRST_ROWS), GAUGE)
        grown[: len(self._records)] = self._records
        self._records = grown

    def score(self, rows: Int32, t_s: Float64, values: Float64) -> Scores:
        """Judge values, each just before it is learned. How they are cut into calls changes nothing.

        Args:
            rows: int32[n], the series of each, all reserved.
            t_s: float64[n], event times in seconds since 1970-01-01 UTC.
            values: float64[n], in order of arrival; what is not finite is left out.

        Raises:
            IndexError: a row is not reserved. Nothing is learned then.
        """
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self._records):
            raise IndexError(f"rows {rows.min()} to {rows.max()} are not all reserved: the gauge has {len(self)}")
        out = np.empty((len(values), 4))
        roll(self._records, rows, t_s, values, self.threshold, out)
        return Scores(out[:, 0], out[:, 1], out[:, 2], out[:, 3])

    def band(self, row: int, t_s: float) -> tuple[float, float, float]:
        """What single values of a series are expected at a time: centre, lower and upper edge; NaN where nothing is known yet."""
        expected = float(centre(self._records[row], t_s))
        below, above = reach(self._records[row])
        return expected, expected - below, expected + above

    def accept(self, row: int) -> None:
        """What the series does now is its level from now on."""
        gauge_state.accept(self._records[row])

    def restart(self, rows: Int32) -> None:
        """Forget these series, so that their rows can be given to others."""
        self._records[rows] = np.zeros((), GAUGE)

    def tables(self) -> dict[str, npt.NDArray[Any]]:
        """All of its state."""
        return {"gauges": self._records.copy()}

    def load(self, tables: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what `tables` was called on. Raises SnapshotError, changing nothing, when it cannot be read."""
        records = tables.get("gauges")
        if records is None or records.dtype != GAUGE or records.ndim != 1:
            raise SnapshotError("the checkpoint's gauges are of another format: they start empty and are learned again")
        self._records = records.copy()
