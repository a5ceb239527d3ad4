"""Compiling the kernels before the first event needs them."""

import numpy as np

from sentinel.config.schema import Baseline, Detection
from sentinel.core.batch import SeriesKey
from sentinel.core.metrics import METRICS
from sentinel.detection.baselines import Baselines


def compile_kernels() -> None:
    """Run every kernel once on a few samples: seconds on a machine's first start, a fraction of one from the cache afterwards."""
    rules = Detection(baseline=Baseline(window_size=4, min_samples=2))
    baselines = Baselines(rules)
    series = np.zeros(8, np.int32)
    baselines.score_and_update([SeriesKey("default", "warm-up", "warm-up")], series, np.ones((8, len(METRICS))))
