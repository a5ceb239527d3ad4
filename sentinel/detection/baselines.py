"""The baselines of one partition: every series' windows, and the detectors' verdicts on each event before it is learned."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sentinel.config.schema import Detection, DetectorChoice
from sentinel.core.batch import Float64, Int32, SeriesKey
from sentinel.core.metrics import METRIC_INDEX, METRIC_NAMES, METRICS
from sentinel.detection import zscore
from sentinel.detection.roster import Roster
from sentinel.detection.windows import Arrivals, Stats, Windows
from sentinel.detection.windows_learn import FORGET_OLD
from sentinel.detection.windows_pool import Records
from sentinel.detection.windows_watch import FIRED, JUDGES, Limits


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


class Baselines:
    """Windows of one partition. Not safe for concurrent use: its owner holds one lock around every call.

    Args:
        rules: the detection section. What it names decides which metrics have windows and who judges them.

    Attributes:
        windows: of each metric, by its index.
        roster: whose windows they are, row by row.
        samples_learned: since the state began.
    """

    def __init__(self, rules: Detection) -> None:
        self.rules = rules
        self.roster = Roster(rules.baseline)
        self.windows = {metric: Windows(rules.baseline.window_size) for metric in windowed(rules)}
        self.samples_learned = 0
        self._limits = {metric: limits_of(rules, metric) for metric in self.windows}

    @property
    def names(self) -> list[SeriesKey]:
        """The series of each row."""
        return self.roster.names

    def score_and_update(self, names: Sequence[SeriesKey], series: Int32, metrics: Float64) -> list[Fired]:
        """Judge every sample against its window just before it, then learn it.

        The verdict on an event does not depend on how the stream was cut into batches.

        Args:
            names: distinct series of the batch.
            series: int32[n], index into `names`.
            metrics: float64[n, len(METRICS)], NaN where absent or not to be learned.

        Returns:
            One `Fired` for each metric and detector that fired at all.
        """
        if not len(series):
            return []
        placed = self.roster.place(names, series)
        arrivals = Arrivals.of(metrics, placed.rows, placed.marks)
        room = np.empty((JUDGES, len(series)), FIRED)
        fired: list[Fired] = []
        for metric, windows in self.windows.items():
            windows.reserve(len(self.names))
            learned, counts = windows.watch(arrivals, metric, self._limits[metric], room)
            fired += [_fired(metric, detector, room[detector, :count].copy()) for detector, count in enumerate(counts) if count]
            self.samples_learned += learned
            if len(placed.idle):
                windows.forget(placed.idle, FORGET_OLD)
        return fired

    def views(self, rows: range, chosen: Callable[[SeriesKey, str], bool]) -> list[BaselineView]:
        """The windows of the chosen series among `rows` and of the chosen metrics, empty ones left out."""
        return [
            _view(key, METRIC_NAMES[metric], windows, row)
            for row, key in zip(rows, self.names[rows.start : rows.stop], strict=False)
            for metric, windows in self.windows.items()
            if windows.count(row) and chosen(key, METRIC_NAMES[metric])
        ]

    def load(
        self, names: Sequence[SeriesKey], roster: Mapping[str, npt.NDArray[Any]], found: Mapping[int, tuple[Records, Float64]]
    ) -> None:
        """Become what another was; nothing may have been learned yet.

        Args:
            names: the series of each row.
            roster: the tables of its roster.
            found: by metric, what its windows exported; metrics without windows here are left out, others start empty.

        Raises:
            SnapshotError: the roster's tables are not what it gave.
        """
        idle = self.roster.load(names, roster)
        for metric, windows in self.windows.items():
            windows.reserve(len(names))
            if metric in found:
                windows.load(*found[metric])
            if not self._limits[metric].cusum:
                windows.restart_sums()
            if len(idle):
                windows.forget(idle, FORGET_OLD)

    def renewed(self, rules: Detection) -> "Baselines":
        """The same series and windows, judged by other rules. Nothing is copied; this object must not be used any more.

        Metrics that `rules` no longer names are left out, new ones start empty, as do the sums of metrics that CUSUM watches from now on.

        Raises:
            ValueError: the rules ask for windows of another size.
        """
        if rules.baseline.window_size != self.rules.baseline.window_size:
            raise ValueError("windows of another size cannot be carried over: they are learned anew after a restart")
        new = Baselines(rules)
        new.windows |= {metric: self.windows[metric] for metric in new.windows.keys() & self.windows.keys()}
        for metric in new.windows.keys() & self.windows.keys():
            if not self._limits[metric].cusum:
                new.windows[metric].restart_sums()
        for windows in new.windows.values():
            windows.reserve(len(self.names))
        new.roster = self.roster.renewed(rules.baseline)
        new.samples_learned = self.samples_learned
        return new


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


def limits_of(rules: Detection, metric: int) -> Limits:
    """By what the samples of a metric are judged."""
    thresholds: dict[DetectorChoice, float] = {
        "zscore": rules.zscore.threshold * zscore.SENSITIVITY[rules.zscore.sensitivity],
        "iqr": rules.iqr.multiplier,
        "mad": rules.mad.threshold,
        "cusum": rules.cusum.threshold,
    }
    watching = {detector: float(limit) for detector, limit in thresholds.items() if metric in watched(rules, detector)}
    baseline = rules.baseline
    return Limits(baseline.window_size, baseline.min_samples, METRICS[metric].resolution, **watching, drift=float(rules.cusum.drift))


def _fired(metric: int, detector: int, found: Records) -> Fired:
    samples, mean, sd = found["samples"].astype(np.int64), found["mean"], found["sd"]
    stats = Stats(samples, mean, sd, found["median"], found["q1"], found["q3"], found["mad"])
    event, value, score = found["event"], found["value"], found["score"]
    return Fired(metric, detector, event, value, score, found["expected"], found["lower"], found["upper"], stats)


def _view(key: SeriesKey, metric: str, windows: Windows, row: int) -> BaselineView:
    ordered = windows.sorted_samples(row)
    mean, sd = windows.moments(row)
    median, q1, q3, p95, p99 = (float(x) for x in np.quantile(ordered, (0.5, 0.25, 0.75, 0.95, 0.99)))
    mad_value = float(np.median(np.abs(ordered - median)))
    low, high = float(ordered[0]), float(ordered[-1])
    return BaselineView(key, metric, len(ordered), mean, sd, median, mad_value, q1, q3, p95, p99, low, high)
