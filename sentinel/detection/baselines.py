"""The baselines of one partition: every series' windows, and the detectors' verdicts on each event before it is learned."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from sentinel.config.schema import Detection, DetectorChoice
from sentinel.core.anomaly import DETECTORS, DetectorName
from sentinel.core.batch import OVERFLOW, Float64, Int32, Int64, SeriesKey
from sentinel.core.metrics import METRIC_INDEX, METRIC_NAMES, METRICS
from sentinel.detection import cusum, iqr, mad, zscore
from sentinel.detection.cusum import Cusum
from sentinel.detection.windows import Stats, Windows

ZSCORE, IQR, MAD, CUSUM = (DETECTORS.index(name) for name in (DetectorName.ZSCORE, DetectorName.IQR, DetectorName.MAD, DetectorName.CUSUM))

RANKED = frozenset((IQR, MAD))
"""Detectors that need order statistics."""

StatelessScore = Callable[[Float64, Stats, float, float], Float64]
StatelessBand = Callable[[Stats, float, float], tuple[Float64, Float64, Float64]]


@dataclass(frozen=True, slots=True)
class Fired:
    """The samples one detector fired on in one metric: columns of f.

    Attributes:
        metric: index into METRICS; detector: index into DETECTORS.
        event: int32[f], index into the batch.
        value, score, expected, lower, upper: float64[f], see `AnomalyBatch`.
        stats: the windows before these samples.
    """

    metric: int
    detector: int
    event: Int32
    value: Float64
    score: Float64
    expected: Float64
    lower: Float64
    upper: Float64
    stats: Stats


@dataclass(frozen=True, slots=True)
class BaselineView:
    """One window as people see it. All values in the metric's unit; NaN when the window is empty."""

    series: SeriesKey
    metric: str
    samples: int
    mean: float
    stddev: float
    median: float
    mad: float
    q1: float
    q3: float
    p95: float
    p99: float
    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Watch:
    """One detector on one metric, with its parameters filled in.

    Attributes:
        detector: index into DETECTORS.
        score: (values, rows, stats) -> float64[n], 1.0 at the threshold, NaN where not judged.
        band: stats -> (expected, lower, upper).
    """

    detector: int
    score: Callable[[Float64, Int32, Stats], Float64]
    band: Callable[[Stats], tuple[Float64, Float64, Float64]]


class Baselines:
    """Windows and sums of one partition. Not safe for concurrent use: its owner holds one lock around every call.

    Args:
        rules: the detection section. What it names decides which metrics have windows and who judges them.
    """

    def __init__(self, rules: Detection) -> None:
        self.rules = rules
        self.names: list[SeriesKey] = []
        self.samples_learned = 0
        self._rows: dict[SeriesKey, int] = {}
        self.windows = {metric: Windows(rules.baseline.window_size) for metric in windowed(rules)}
        self.sums = {metric: Cusum() for metric in watched(rules, "cusum")}
        self._watches = {metric: self._watches_of(metric) for metric in self.windows}

    def score_and_update(self, names: Sequence[SeriesKey], series: Int32, metrics: Float64) -> list[Fired]:
        """Judge every sample against its window just before it, then learn it.

        The verdict on an event does not depend on how the stream was cut into batches.

        Args:
            names: distinct series of the batch in order of first appearance.
            series: int32[n], index into `names`.
            metrics: float64[n, len(METRICS)], NaN where absent or not to be learned.

        Returns:
            One `Fired` for each metric and detector that fired at all.
        """
        if not len(series):
            return []
        rows = self._rows_of(names)[series]
        # A stable radix sort on 16 bits keeps arrival order within a series, which is all the windows ask for.
        order = np.argsort(rows.astype(np.int16) if len(self.names) < 32_768 else rows, kind="stable")
        rows = rows[order]
        fired: list[Fired] = []
        for metric, windows in self.windows.items():
            values = metrics[order, metric]
            watches = self._watches[metric]
            stats = windows.roll(values, rows, ranks=any(watch.detector in RANKED for watch in watches))
            fired += [found for watch in watches if (found := self._judge(watch, metric, values, rows, stats, order))]
            self.samples_learned += len(values) - int(np.count_nonzero(np.isnan(values)))
        return fired

    def views(self, rows: range, chosen: Callable[[SeriesKey, str], bool]) -> list[BaselineView]:
        """The windows of the chosen series among `rows` and of the chosen metrics, empty ones left out."""
        return [
            _view(key, METRIC_NAMES[metric], windows, row)
            for row, key in zip(rows, self.names[rows.start : rows.stop], strict=False)
            for metric, windows in self.windows.items()
            if windows.count(row) and chosen(key, METRIC_NAMES[metric])
        ]

    def row(self, key: SeriesKey) -> int:
        """The row of a series, made if there is room, else that of the overflow series."""
        found = self._rows.get(key)
        if found is not None:
            return found
        if len(self.names) >= self.rules.baseline.max_series and key != OVERFLOW:
            return self.row(OVERFLOW)
        self._rows[key] = len(self.names)
        self.names.append(key)
        self._reserve()
        return self._rows[key]

    def _rows_of(self, names: Sequence[SeriesKey]) -> Int32:
        return np.fromiter((self.row(name) for name in names), np.int32, len(names))

    def _reserve(self) -> None:
        for windows in self.windows.values():
            windows.reserve(len(self.names))
        for metric, sums in self.sums.items():
            sums.reserve(self.windows[metric].rows)

    def _judge(self, watch: Watch, metric: int, values: Float64, rows: Int32, stats: Stats, order: Int64) -> Fired | None:
        scores = watch.score(values, rows, stats)
        hits = np.flatnonzero((scores > 1.0) & (stats.n >= self.rules.baseline.min_samples))
        if not len(hits):
            return None
        before = stats.take(hits)
        expected, lower, upper = watch.band(before)
        event = order[hits].astype(np.int32)
        return Fired(metric, watch.detector, event, values[hits], scores[hits], expected, lower, upper, before)

    def _watches_of(self, metric: int) -> list[Watch]:
        """The enabled detectors that watch a metric."""
        rules, least = self.rules, METRICS[metric].resolution
        watches: list[Watch] = []
        if metric in watched(rules, "zscore"):
            limit = rules.zscore.threshold * zscore.SENSITIVITY[rules.zscore.sensitivity]
            watches.append(_stateless(ZSCORE, zscore.score, zscore.band, limit, least))
        if metric in watched(rules, "iqr"):
            watches.append(_stateless(IQR, iqr.score, iqr.band, rules.iqr.multiplier, least))
        if metric in watched(rules, "mad"):
            watches.append(_stateless(MAD, mad.score, mad.band, rules.mad.threshold, least))
        if metric in self.sums:
            parameters = cusum.Parameters(rules.baseline.min_samples, rules.cusum.threshold, rules.cusum.drift, least)
            watches.append(Watch(CUSUM, partial(self.sums[metric].score, parameters), cusum.band))
        return watches


def watched(rules: Detection, detector: DetectorChoice) -> set[int]:
    """The metrics a detector watches, as indices; none when it is not enabled."""
    if detector not in rules.enabled_detectors:
        return set()
    lists = {"zscore": rules.zscore.metrics, "iqr": rules.iqr.metrics, "mad": rules.mad.metrics, "cusum": rules.cusum.metrics}
    return {METRIC_INDEX[name] for name in lists[detector]}


def windowed(rules: Detection) -> list[int]:
    """The metrics that have windows, as rising indices: those with a baseline and those somebody watches."""
    named = {METRIC_INDEX[name] for name in rules.baseline.metrics}
    return sorted(named.union(*(watched(rules, detector) for detector in rules.enabled_detectors)))


def _stateless(detector: int, score: StatelessScore, band: StatelessBand, limit: float, least: float) -> Watch:
    return Watch(detector, lambda values, _rows, stats: score(values, stats, limit, least), lambda stats: band(stats, limit, least))


def _view(key: SeriesKey, metric: str, windows: Windows, row: int) -> BaselineView:
    ordered = windows.sorted_samples(row)
    mean, sd = windows.moments(row)
    median, q1, q3, p95, p99 = (float(x) for x in np.quantile(ordered, (0.5, 0.25, 0.75, 0.95, 0.99)))
    mad_value = float(np.median(np.abs(ordered - median)))
    low, high = float(ordered[0]), float(ordered[-1])
    return BaselineView(key, metric, len(ordered), mean, sd, median, mad_value, q1, q3, p95, p99, low, high)
