"""The kernel: every sample of one metric is judged against its window just before it, then learned.

It writes down only what fired, and computes only what the detectors that watch the metric need. Samples come sorted by window and in log
order within one, so a window is in the cache for all of its samples, and the memory of the next ones is asked for while this one is worked
on.
"""

from typing import Final, NamedTuple

import numpy as np

from sentinel.core.anomaly import DETECTORS, DetectorName
from sentinel.core.batch import Float64, Int8, Int32, Int64
from sentinel.core.jit import inlined, leaf
from sentinel.core.memory import VALUE_BYTES, prefetch
from sentinel.detection import cusum, iqr, mad, zscore
from sentinel.detection.windows_learn import KEPT_IDLE, WINDOW, deviation_of, forget, grow, learn, mean_of, sorted_view
from sentinel.detection.windows_order import deviation, middle, quantile
from sentinel.detection.windows_pool import LINE, Records, tier_for

ZSCORE, IQR, MAD, CUSUM = (DETECTORS.index(name) for name in (DetectorName.ZSCORE, DetectorName.IQR, DetectorName.MAD, DetectorName.CUSUM))
JUDGES: Final = 4

FAR, NEAR = 12, 5
"""Samples ahead at which a window's record and its block are asked for: memory answers within the time that a few samples take."""

WORDS: Final = WINDOW.itemsize // VALUE_BYTES
"""Values that a window's record takes the room of."""

PROBES: Final = 16
"""Places of a sorted view that are asked for, evenly spaced: where all but the last steps of a search look, and the quartiles."""

NEXT, LEARNED, TIER, FIRST_COUNT = range(4)
"""What `watch` leaves in `progress`: the sample to go on with, how many were learned, which tier of the pool is exhausted, and from
FIRST_COUNT on how many samples each detector has fired on."""

FIRED = np.dtype(
    [
        ("event", "i4"),
        ("samples", "i4"),
        ("value", "f8"),
        ("score", "f8"),
        ("expected", "f8"),
        ("lower", "f8"),
        ("upper", "f8"),
        ("mean", "f8"),
        ("sd", "f8"),
        ("median", "f8"),
        ("q1", "f8"),
        ("q3", "f8"),
        ("mad", "f8"),
    ]
)
"""A sample that a detector fired on: which event, and what `Stats` says of its window before it; NaN what nobody needed."""


class Limits(NamedTuple):
    """By what the samples of one metric are judged.

    Attributes:
        size: samples in a full window.
        min_samples: windows with fewer are not judged.
        resolution: the smallest deviation that counts, in the metric's unit.
        zscore, iqr, mad, cusum: each detector's threshold; 0 where it does not watch the metric.
        drift: CUSUM's slack per sample, in standard deviations.
    """

    size: int
    min_samples: int
    resolution: float
    zscore: float = 0.0
    iqr: float = 0.0
    mad: float = 0.0
    cusum: float = 0.0
    drift: float = 0.0


class Seen(NamedTuple):
    """A window as its detectors see it, NaN what nobody needs. See `Stats`."""

    samples: int
    mean: float
    sd: float
    median: float
    q1: float
    q3: float
    mad: float


@inlined
def look_ahead(rows: Int32, first: int, i: int, state: Records, address: int) -> None:
    """Ask for the memory of samples to come, those from `first` on."""
    far, near = i + FAR, i + NEAR
    if far < len(rows):
        prefetch(address, rows[far] * WORDS)
    if first <= near < len(rows) and (near == first or rows[near] != rows[near - 1]):
        window = state[rows[near]]
        prefetch(window["at"], window["head"])
        ordered, n = sorted_view(window), int(window["n"])
        for place in range(0, n, max(LINE, n // PROBES)):
            prefetch(ordered, place)


@inlined
def seen(window: np.void, ranks: bool) -> Seen:
    """The statistics of a window that is not empty; those that need order only if `ranks`."""
    n, ordered = int(window["n"]), sorted_view(window)
    mean, sd = mean_of(window), deviation_of(window)
    if not ranks:
        return Seen(n, mean, sd, np.nan, np.nan, np.nan, np.nan)
    median = middle(ordered, n)
    spread, split = deviation(ordered, n, median, int(window["split"]))
    window["split"] = split
    return Seen(n, mean, sd, median, quantile(ordered, n, 0.25), quantile(ordered, n, 0.75), spread)


@leaf
def write(
    fired: Records,
    progress: Int64,
    detector: int,
    event: int,
    value: float,
    score: float,
    expected: float,
    band: tuple[float, float],
    was: Seen,
) -> None:
    """Write down a sample that a detector fired on."""
    found = fired[detector, progress[FIRST_COUNT + detector]]
    progress[FIRST_COUNT + detector] += 1
    found["event"] = event
    found["samples"] = was.samples
    found["value"] = value
    found["score"] = score
    found["expected"] = expected
    found["lower"], found["upper"] = band
    found["mean"] = was.mean
    found["sd"] = was.sd
    found["median"] = was.median
    found["q1"] = was.q1
    found["q3"] = was.q3
    found["mad"] = was.mad


@inlined
def judge(window: np.void, event: int, value: float, limits: Limits, fired: Records, progress: Int64) -> None:
    """Let every detector that watches say how far out a sample is; those that fire are written down."""
    least = limits.resolution
    was = seen(window, limits.iqr > 0.0 or limits.mad > 0.0)
    if limits.zscore > 0.0:
        score = zscore.score(value, was.mean, was.sd, limits.zscore, least)
        if score > 1.0:
            band = zscore.band(was.mean, was.sd, limits.zscore, least)
            write(fired, progress, ZSCORE, event, value, score, was.mean, band, was)
    if limits.iqr > 0.0:
        score = iqr.score(value, was.q1, was.q3, was.sd, limits.iqr, least)
        if score > 1.0:
            band = iqr.band(was.q1, was.q3, was.sd, limits.iqr, least)
            write(fired, progress, IQR, event, value, score, was.median, band, was)
    if limits.mad > 0.0:
        score = mad.score(value, was.median, was.mad, was.sd, limits.mad, least)
        if score > 1.0:
            band = mad.band(was.median, was.mad, was.sd, limits.mad, least)
            write(fired, progress, MAD, event, value, score, was.median, band, was)
    if limits.cusum > 0.0:
        up, down = cusum.accumulate(window["up"], window["down"], value, was.mean, was.sd, limits.drift, least)
        score = cusum.score(up, down, limits.cusum)
        if score > 1.0:
            write(fired, progress, CUSUM, event, value, score, was.mean, (np.nan, np.nan), was)
        window["up"] = cusum.carried(up, limits.cusum)
        window["down"] = cusum.carried(down, limits.cusum)


@leaf
def watch(
    metrics: Float64,
    metric: int,
    order: Int64,
    rows: Int32,
    marks: Int8,
    state: Records,
    address: int,
    tiers: Records,
    limits: Limits,
    fired: Records,
    progress: Int64,
) -> bool:
    """Go on from `progress[NEXT]`; true when all samples are done, false when a tier of the pool has to be extended first.

    Args:
        metrics: float64[n, m], NaN = absent.
        metric: the column.
        order: int64[n], the events sorted by row, in log order within one.
        rows: int32[n], the row of each in that order.
        marks: int8[n], what each event says about its row's past (FORGET_OLD, FORGET_ALL, or 0), in log order.
        state: the windows, one record a row.
        address: of the first of them.
        tiers: of the pool their blocks are from.
        limits: by what is judged.
        fired: records [4, n] for what fires, by detector.
        progress: see NEXT.
    """
    size, judged = limits.size, max(limits.zscore, limits.iqr, limits.mad, limits.cusum) > 0.0
    first = progress[NEXT]
    for i in range(first - FAR, len(rows)):
        look_ahead(rows, first, i, state, address)
        if i < first:
            continue
        event = order[i]
        window, value = state[rows[i]], metrics[event, metric]
        if marks[event] != 0 and not forget(window, tiers, size, marks[event]):
            progress[NEXT], progress[TIER] = i, tier_for(tiers, KEPT_IDLE)
            return False
        if np.isnan(value):
            continue
        n = int(window["n"])
        if n < size and n == window["capacity"] and not grow(window, tiers):
            progress[NEXT], progress[TIER] = i, tier_for(tiers, n + 1)
            return False
        if judged and n >= limits.min_samples:
            judge(window, event, value, limits, fired, progress)
        learn(window, value, size, i == 0 or rows[i] != rows[i - 1])
        progress[LEARNED] += 1
    return True
