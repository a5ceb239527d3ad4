"""Percentiles of a window within a relative error, from counts in logarithmic buckets: mergeable, and the same in any order of samples.

Source: C. Masson, J. E. Rim, H. K. Lee, DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error Guarantees, PVLDB 12,
2019.
"""

from math import log
from typing import Final

import numpy as np
import numpy.typing as npt

from sentinel.core.batch import Float64, Int32, Int64
from sentinel.core.jit import leaf

ERROR: Final = 0.02
"""Largest relative error of a percentile."""

SMALLEST, LARGEST = 1e-7, 1e7
"""Values are told apart between these, a ten-millionth of a dollar and three hours in milliseconds; others count as the nearer one."""

_LOG_STEP: Final = log((1 + ERROR) / (1 - ERROR))
_OFFSET: Final = log(SMALLEST)
BUCKETS: Final = int((log(LARGEST) - _OFFSET) / _LOG_STEP) + 2
"""Bucket 0 holds what is smaller than SMALLEST, zero above all."""


@leaf
def count(
    rows: Int32,
    ts_ns: Int64,
    metrics: Float64,
    metric_of: Int32,
    gauge_of: Int32,
    pane_ns: int,
    first_open: int,
    buckets: npt.NDArray[np.int32],
) -> None:
    """Count the watched values of events into the buckets of their pane.

    Args:
        rows: int32[n], of each event's series.
        ts_ns: int64[n], event time.
        metrics: float64[n, m], NaN = absent.
        metric_of: int32[k], the metrics that are watched somewhere.
        gauge_of: int32[rows, k], the row in `buckets` of a series and metric, -1 = not watched.
        pane_ns: length of a pane.
        first_open: number of the oldest open pane; events of older ones are left out.
        buckets: int32[open panes, gauges, BUCKETS].
    """
    for i in range(rows.shape[0]):
        pane = ts_ns[i] // pane_ns
        if pane < first_open:
            continue
        for k in range(metric_of.shape[0]):
            gauge = gauge_of[rows[i], k]
            if gauge < 0:
                continue
            value = metrics[i, metric_of[k]]
            if value >= 0.0:
                at = 0 if value < SMALLEST else min(BUCKETS - 1, 1 + int((np.log(value) - _OFFSET) / _LOG_STEP))
                buckets[pane % buckets.shape[0], gauge, at] += 1


def quantile(counts: npt.NDArray[np.int64], share: float) -> float:
    """The value that `share` of the samples do not exceed; NaN without samples.

    Args:
        counts: int64[BUCKETS].
        share: 0 to 1.
    """
    total = int(counts.sum())
    if not total:
        return float("nan")
    at = int(np.searchsorted(np.cumsum(counts), max(1.0, np.ceil(share * total))))
    return 0.0 if at == 0 else float(2.0 * SMALLEST * np.exp(at * _LOG_STEP) / (np.exp(_LOG_STEP) + 1.0))
