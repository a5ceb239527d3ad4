"""The baseline of a quantity: its level of the last half hour, how far that usually wanders, and how unsure both are.

All on log scale, so a change is a factor. The **centre** is an exponentially weighted mean of half an hour, or of a hundred events where
these take longer, over residuals cut off at 1.5 spreads (Huber's estimator): an outlier counts like any event a little above the level.
Half an hour follows the rhythm of a day closely enough, and still sees a drift that doubles a latency within hours. A level that creeps up
by less than a few per cent an hour is followed; the level of days (`slow`) is kept for the hours of the day.

Levels of real services are never constant. The **wander** is the variance of the means of minutes and of quarters of an hour around the
centre, beyond what chance alone gives means of so few events. A shift is evidence only as far as it exceeds the **reach**: SIGMAS
deviations of this wander but no more than the largest in four days, and the uncertainty of the centre itself. Where wander cannot be told
from chance, it counts as none.

While something may be wrong, nothing here is learned; a shift that went away by itself counts as one block of wander. So a fault cannot
hide the next one, and a service that has such episodes every day becomes known for them.

Sources: P. J. Huber, Robust Estimation of a Location Parameter, 1964; between- and within-group variance: R. A. Fisher, Statistical
Methods for Research Workers, 1925.
"""

from typing import Any, Final

import numpy as np

from sentinel.core.jit import leaf
from sentinel.detection.tick_evidence import doubtful
from sentinel.detection.tick_hours import learn_hour, next_shade
from sentinel.detection.tick_scores import spread

MEMORY_S: Final = 1_800.0
LEAST_MEMORY: Final = 100.0
"""Events that a centre rests on at least, once they have come: known to a tenth of a spread."""
DAY_S: Final = 86_400.0
HUBER: Final = 1.5
"""Spreads at which a residual is cut off: 96% efficient on normal residuals."""
RECENT: Final = 30.0
"""Events that the latest level is averaged over."""
LEAST_EVENTS: Final = 100.0
"""Events before a quantity is judged; its highest quantile has then been passed once."""

SCALES: Final = 2
MINUTE, QUARTER = range(SCALES)
SIGMAS: Final = 3.5
"""Deviations of the wander that are healthy: one block in 2,000, half a day of minutes, and lasting evidence beyond that."""
UNSURE: Final = 2.5
"""Standard errors of the centre that are taken off every shift."""
PRIOR_WANDER: Final = 0.05
"""Wander of a new series, a factor of 1.05, until it has shown its own."""
PRIOR_BLOCKS: Final = 20.0
"""Blocks that what was borrowed counts for."""
MOST_BLOCKS: Final = np.array([1_000.0, 200.0])
"""Blocks averaged over: most of a day of minutes, two days of quarters."""
KEPT_BLOCKS: Final = np.array([5_760.0, 384.0])
"""Four days: how long the largest deviation is remembered."""
BLOCK_CLIP: Final = 3.0
"""A block counts as no further off than this many deviations."""

BASELINE: Final[list[Any]] = [
    ("centre", "f8"),
    ("slow", "f8"),
    ("variance", "f8"),
    ("recent", "f8"),
    ("tick_sum", "f8"),
    ("tick_n", "f8"),
    ("block_sum", "f8", (SCALES,)),
    ("block_n", "f8", (SCALES,)),
    ("wander", "f8", (SCALES,)),
    ("noise", "f8", (SCALES,)),
    ("blocks", "f8", (SCALES,)),
    ("largest", "f8", (SCALES,)),
    ("reach", "f8", (SCALES,)),
]
"""Levels, variance of the cut residuals and latest level; sums of the open tick and blocks; wander, its noise, and what is allowed."""


@leaf
def begin_baseline(rec: np.void, value: float, width: float, wander: float) -> None:
    """Begin at a value, with a borrowed spread and wander (as a deviation)."""
    rec["centre"] = value
    rec["slow"] = value
    rec["variance"] = width * width
    for scale in range(SCALES):
        rec["wander"][scale] = wander * wander
        rec["noise"][scale] = 0.0
        rec["largest"][scale] = SIGMAS * wander
        rec["reach"][scale] = SIGMAS * wander + width


@leaf
def cut(rec: np.void, residual: float) -> float:
    """The residual as it counts for a mean."""
    bound = HUBER * spread(rec)
    return min(max(residual, -bound), bound)


@leaf
def gather(rec: np.void, residual: float, learn: bool, memory: float) -> None:
    """Add a residual to the open tick."""
    counted = cut(rec, residual)
    rec["tick_sum"] += counted
    rec["tick_n"] += 1.0
    rec["recent"] += (counted - rec["recent"]) / RECENT
    if learn:
        rec["variance"] += (counted * counted - rec["variance"]) / min(rec["n"] + 20.0, memory)


@leaf
def close_tick(rec: np.void, ts: int, memory: float, day: float, forked: bool) -> None:
    """Move the centre by what the tick said, unless something may be wrong.

    Where:
        rec: the quantity.
        ts: end of the tick.
        memory: events that the centre is averaged over; `day` those of the level of days.
        forked: whether the level is under observation as shifted: then the tick is no wander either.
    """
    n = rec["tick_n"]
    if n == 0.0:
        return
    mean = rec["tick_sum"] / n
    if not doubtful(rec):
        known = max(rec["n"], 1.0)
        rec["centre"] += n / (n + min(known, memory)) * mean
        off = mean + rec["centre"] + rec["shade"] - rec["slow"]
        rec["slow"] += n / (n + min(known, day)) * off
        learn_hour(rec, ts, n * off, n)
    if not forked:
        for scale in range(SCALES):
            rec["block_sum"][scale] += rec["tick_sum"]
            rec["block_n"][scale] += n
    rec["tick_sum"] = 0.0
    rec["tick_n"] = 0.0


@leaf
def learn_wander(rec: np.void, scale: int, mean: float, n: float) -> None:
    """Learn one block: the mean of n residuals. Its square less what chance alone gives is an estimate of the wander."""
    noise = rec["variance"] / n
    bound = BLOCK_CLIP * np.sqrt(max(rec["wander"][scale], 0.0) + noise)
    mean = min(max(mean, -bound), bound)
    rec["blocks"][scale] += 1.0
    weight = 1.0 / min(rec["blocks"][scale] + PRIOR_BLOCKS, MOST_BLOCKS[scale])
    rec["largest"][scale] = max(abs(mean), rec["largest"][scale] * (1.0 - 1.0 / KEPT_BLOCKS[scale]))
    rec["wander"][scale] += weight * (mean * mean - noise - rec["wander"][scale])
    rec["noise"][scale] += weight * (noise - rec["noise"][scale])


@leaf
def close_block(rec: np.void, scale: int, forked: bool) -> None:
    """The end of a minute or a quarter of an hour."""
    if rec["block_n"][scale] > 0.0 and rec["n"] >= LEAST_EVENTS and not forked:
        learn_wander(rec, scale, rec["block_sum"][scale] / rec["block_n"][scale], rec["block_n"][scale])
    rec["block_sum"][scale] = 0.0
    rec["block_n"][scale] = 0.0


@leaf
def allow(rec: np.void, ts: int, memory: float) -> None:
    """Renew how far the level may lie off, and move on to what this time of day usually does."""
    known = min(max(rec["n"], 1.0), 2.0 * memory)
    unsure = UNSURE * np.sqrt(rec["variance"] / known)
    for scale in range(SCALES):
        weight = 1.0 / min(rec["blocks"][scale] + PRIOR_BLOCKS, MOST_BLOCKS[scale])
        # One standard error of the estimate is taken off: wander must be told from chance to count.
        proven = rec["wander"][scale] - (rec["noise"][scale] + rec["wander"][scale]) * np.sqrt(2.0 * weight)
        rec["reach"][scale] = min(SIGMAS * np.sqrt(max(proven, 0.0)), rec["largest"][scale]) + unsure
    rec["centre"] += next_shade(rec, ts)
