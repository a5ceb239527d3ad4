"""Rollups: what happened per minute and series, as columns that merge exactly.

Counts, extremes and sketches do not depend on how the rows were cut into folds; sums of fractions do only in their last bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from sentinel.core.batch import Float64, Int64
from sentinel.core.metrics import COMPLETION_TOKENS, COST, ERROR, LATENCY, METRIC_INDEX, PROMPT_TOKENS, TOTAL_TOKENS
from sentinel.storage import sketch
from sentinel.storage.sketch import LARGEST, Sketches

MINUTE_NS: Final = 60_000_000_000

EVERYTHING: Final = 0
"""The series number of all series together; real ones are larger."""

SUMS: Final = (
    "requests",
    "errors",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cost_usd",
    "latency_count",
    "latency_sum_ms",
)
"""The additive columns, in the order they stand in `Rollups.sums`."""

SKETCHED: Final = ("latency_ms", "ttft_ms", "total_tokens", "cost_usd")
"""The metrics that have a quantile sketch, in the order they stand in `Rollups.sketches`."""

_SUMMED_METRICS: Final = [ERROR, PROMPT_TOKENS, COMPLETION_TOKENS, TOTAL_TOKENS, COST]


@dataclass(frozen=True, slots=True)
class Rollups:
    """Rollups of g groups, ordered by minute, then series; each pair stands once.

    Attributes:
        minute: int64[g], minutes since the epoch; series: int64[g].
        sums: float64[g, len(SUMS)].
        latency_min, latency_max: float64[g], NaN where no event had a latency.
        sketches: one `Sketches` per metric of SKETCHED, with the position of the group as its number.
    """

    minute: Int64
    series: Int64
    sums: Float64
    latency_min: Float64
    latency_max: Float64
    sketches: tuple[Sketches, ...]

    def __len__(self) -> int:
        return len(self.minute)


@dataclass(frozen=True, slots=True)
class _Grouping:
    """Rows sorted by (minute, series): their order, where each group starts, and the group of each unsorted row."""

    order: Int64
    starts: Int64
    group: Int64


def _grouping(minute: Int64, series: Int64) -> _Grouping:
    """Which rows belong together."""
    order = np.lexsort((series, minute))
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = (np.diff(minute[order]) != 0) | (np.diff(series[order]) != 0)
    group = np.empty(len(order), dtype=np.int64)
    group[order] = np.cumsum(first) - 1
    return _Grouping(order, np.flatnonzero(first), group)


def fold(minute: Int64, series: Int64, metrics: Float64) -> Rollups:
    """The rollups of events.

    Values count as they were reported, also implausible ones; beyond 1e15 they count as 1e15, so that no sum becomes infinite.

    Args:
        minute: int64[n], minute of each event since the epoch.
        series: int64[n].
        metrics: float64[n, len(METRICS)], n at least 1; NaN = absent.
    """
    by = _grouping(minute, series)
    bounded = np.clip(metrics, -LARGEST, LARGEST)
    latency = bounded[:, LATENCY]
    sums = np.empty((len(minute), len(SUMS)))
    sums[:, 0] = 1.0
    sums[:, 1:6] = np.nan_to_num(bounded[:, _SUMMED_METRICS])
    sums[:, 6] = ~np.isnan(latency)
    sums[:, 7] = np.nan_to_num(latency)
    first = by.order[by.starts]
    return Rollups(
        minute=minute[first],
        series=series[first],
        sums=np.add.reduceat(sums[by.order], by.starts, axis=0),
        latency_min=np.fmin.reduceat(latency[by.order], by.starts),
        latency_max=np.fmax.reduceat(latency[by.order], by.starts),
        sketches=tuple(sketch.sketches_of(by.group, bounded[:, METRIC_INDEX[name]]) for name in SKETCHED),
    )


def regroup(rollups: Rollups, minute: Int64, series: Int64) -> Rollups:
    """The rollups under new keys, merged where these are equal.

    Args:
        rollups: of g groups, at least one.
        minute: int64[g], new minute of each.
        series: int64[g], new series of each.
    """
    by = _grouping(minute, series)
    first = by.order[by.starts]
    return Rollups(
        minute=minute[first],
        series=series[first],
        sums=np.add.reduceat(rollups.sums[by.order], by.starts, axis=0),
        latency_min=np.fmin.reduceat(rollups.latency_min[by.order], by.starts),
        latency_max=np.fmax.reduceat(rollups.latency_max[by.order], by.starts),
        sketches=tuple(sketch.regroup(sketches, by.group) for sketches in rollups.sketches),
    )


def with_everything(rollups: Rollups) -> Rollups:
    """The rollups plus, for each minute, one of all series together under the series number EVERYTHING."""
    everything = regroup(rollups, rollups.minute, np.full(len(rollups), EVERYTHING, dtype=np.int64))
    return merge([everything, rollups])


def merge(parts: Sequence[Rollups]) -> Rollups:
    """One rollup for each minute and series that any part has; parts must not all be empty."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(len(part) for part in parts)])
    together = Rollups(
        minute=np.concatenate([part.minute for part in parts]),
        series=np.concatenate([part.series for part in parts]),
        sums=np.concatenate([part.sums for part in parts]),
        latency_min=np.concatenate([part.latency_min for part in parts]),
        latency_max=np.concatenate([part.latency_max for part in parts]),
        sketches=tuple(_side_by_side(same_metric, starts) for same_metric in zip(*(part.sketches for part in parts), strict=True)),
    )
    return regroup(together, together.minute, together.series)


def _side_by_side(parts: Sequence[Sketches], starts: Int64) -> Sketches:
    """The sketches of several parts, the groups of part i numbered from `starts[i]` on."""
    return sketch.merge([sketch.shift(part, int(start)) for part, start in zip(parts, starts, strict=False)])
