"""The four detectors as a textbook would write them: one event at a time, numpy on a plain list. Shares no code with the product."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

SENSITIVITY = {"low": 1.33, "medium": 1.0, "high": 0.83}


class Verdict(NamedTuple):
    """One detector on one sample, its score 1.0 at the threshold."""

    event: int
    metric: int
    detector: str
    score: float


class Settings(NamedTuple):
    """What the textbook needs to know."""

    window: int = 1000
    least: int = 10
    zscore: float = 3.0
    iqr: float = 1.5
    mad: float = 3.5
    cusum: float = 5.0
    drift: float = 0.5


class Reference:
    """Keeps every window as a list; recomputes everything for every sample."""

    def __init__(self, settings: Settings, watched: dict[str, set[int]], resolution: dict[int, float]) -> None:
        self.settings = settings
        self.watched = watched
        self.resolution = resolution
        self.windows: dict[tuple[object, int], list[float]] = defaultdict(list)
        self.sums: dict[tuple[object, int], tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))

    def event(self, index: int, series: object, values: dict[int, float]) -> Iterator[Verdict]:
        """Judge each value before learning it; yields the verdicts that fire."""
        for metric, value in values.items():
            if math.isnan(value):
                continue
            window = self.windows[series, metric]
            if len(window) >= self.settings.least:
                scores = self.scores((series, metric), metric, value, np.array(window))
                yield from (Verdict(index, metric, name, score) for name, score in scores.items() if score > 1.0)
            window.append(value)
            del window[: -self.settings.window]

    def scores(self, key: tuple[object, int], metric: int, value: float, window: np.ndarray) -> dict[str, float]:
        """All detectors that watch the metric."""
        s, least = self.settings, self.resolution[metric]
        mean, sd = window.mean(), window.std(ddof=1)
        found: dict[str, float] = {}
        if metric in self.watched["zscore"]:
            found["zscore"] = abs(value - mean) / max(sd, least) / s.zscore
        if metric in self.watched["iqr"]:
            q1, q3 = np.quantile(window, [0.25, 0.75])
            spread = q3 - q1 if q3 > q1 else 2 * sd
            found["iqr"] = max(q1 - value, value - q3, 0.0) / (s.iqr * max(spread, 1.349 * least))
        if metric in self.watched["mad"]:
            median = np.median(window)
            mad = np.median(np.abs(window - median))
            found["mad"] = abs(value - median) / (s.mad * max(mad / 0.6745 if mad > 0 else sd, least))
        if metric in self.watched["cusum"]:
            z = (value - mean) / max(sd, least)
            up, down = self.sums[key]
            up, down = max(0.0, up + z - s.drift), max(0.0, down - z - s.drift)
            found["cusum"] = max(up, down) / s.cusum
            self.sums[key] = (0.0 if up > s.cusum else up, 0.0 if down > s.cusum else down)
        return found


def run(reference: Reference, events: Iterable[tuple[object, dict[int, float]]]) -> list[Verdict]:
    """All verdicts of a stream, in order of event, metric and detector."""
    order = ("zscore", "iqr", "mad", "cusum")
    found = [verdict for i, (series, values) in enumerate(events) for verdict in reference.event(i, series, values)]
    return sorted(found, key=lambda v: (v.event, v.metric, order.index(v.detector)))
