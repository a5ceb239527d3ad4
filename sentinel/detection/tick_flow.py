"""Traffic: do many more, or many fewer, requests come than the last half hour and the time of day let expect?

The rate is an exponentially weighted mean of half an hour, ticks cut off before they are learned. Requests are more irregular than chance:
they come in clumps within seconds (`clump`, the variance of neighbouring ticks over that of a Poisson process), and their rate sways over
minutes (`sway`, the relative variance of a minute, of five and of fifteen; an excursion is held against that of its own length). Counts
with a swaying rate are negative binomial in all but name.

An excursion begins where counts first point away from the expected and ends where they point back. Its evidence is the likelihood of its
count at the rate it shows, over the likelihood under the sway that explains it best, which costs c^2 / 2 for c deviations. So a sparse
series has to show a surge for longer, a busy one only more than it has ever swayed.

Expected is, for a surge, the most of: the last half hour; the same with what this hour of the week usually does to it, once there is
history; and what was usual before traffic was last told to be odd. For a drop it is the least of these. So neither morning, nor the end of
an outage, nor the end of a surge is told.

Sources: M. Greenwood, G. U. Yule, JRSS 83, 1920 (negative binomial counts as a swaying Poisson rate); R. W. M. Wedderburn, Biometrika 61,
1974 (quasi-likelihood: dividing by the clump).
"""

from typing import Any, Final

import numpy as np

from sentinel.core.jit import leaf
from sentinel.detection.profile import expected as foretold
from sentinel.detection.profile import learn as learn_profile
from sentinel.detection.tick_evidence import acquit, evidence_fields

SIDES: Final = 2
SURGE, DROP = range(SIDES)
SWAYS: Final = 3
MINUTE: Final = 0
SWAY_S: Final = np.array([60.0, 300.0, 900.0])
"""Lengths over which the sway of the rate is known, in seconds."""
MEMORY_S: Final = 1_800.0
BRISK_S: Final = 300.0
"""The faster mean that keeps the expectation of silence modest after traffic has fallen."""
WARM_UP_TICKS: Final = 60.0
MOST_TICKS: Final = 8_640.0
"""A day of ticks of ten seconds: what clumps and sway are averaged over."""
CLIP: Final = 4.0
"""A tick or a minute counts as no further off than this many deviations."""
BEYOND: Final = np.array([1.25, 2.5])
"""How far beyond the least change worth telling the rate lies that each side looks for: evidence grows from about half way to it."""
EBB_PER_HOUR: Final = 0.5
"""Ordinary traffic changes within an hour by no more than this, on log scale: what an excursion's own expectation may follow."""
START: Final = 1.0
"""How easily an excursion starts (c of `tick_evidence`): at any tick."""
MEMORY_OF_SWAY_S: Final = 172_800.0
"""Two days: what sway is averaged over."""
PRIOR_BLOCKS: Final = 10.0
"""Blocks that what was borrowed counts for."""
FORMER_NS: Final = 7_200 * 10**9
"""How long the rate before an oddity is remembered: four memories of the rate, which has then forgotten the oddity."""
HOUR_S: Final = 3_600.0
HOURS: Final = 72.0
PRIOR_SWAY: Final = 0.01

FLOW: Final[list[Any]] = [
    *evidence_fields(SIDES),
    ("usual", "f8", (SIDES,)),
    ("ticks", "f8"),
    ("awake", "f8"),
    ("rate", "f8"),
    ("brisk", "f8"),
    ("pace", "f8"),
    ("clump", "f8"),
    ("sway", "f8", (SWAYS,)),
    ("before", "f8"),
    ("block_n", "f8", (SWAYS,)),
    ("block_expected", "f8", (SWAYS,)),
    ("former", "f8"),
    ("former_ns", "i8"),
    ("slow", "f8"),
    ("hours", "f8"),
    ("hour", "i8"),
    ("hour_n", "f8"),
    ("hour_s", "f8"),
]
"""Excursions: count, expected (`total`) and expected per tick at their start; ticks seen, and since it was last idle; rates per second;
irregularity; the minutes and the hour at hand; the rate before the last oddity; the level of days on log scale."""


@leaf
def begin_flow(rec: np.void, sway: float) -> None:
    """Begin with a borrowed sway (relative variance)."""
    rec["clump"] = 1.0
    for scale in range(SWAYS):
        rec["sway"][scale] = sway


@leaf
def beyond_sway(n: float, mean: float, rate_ratio: float, sway: float) -> float:
    """The evidence that n requests, `mean` expected, are no ordinary sway.

    Where:
        n, mean: what came and what was expected.
        rate_ratio: what is looked for, in expected rates: above 1 a surge, below a drop; the observed ratio when that is further off.
        sway: relative standard deviation of the rate.

    >>> round(beyond_sway(0.0, 20.0, 0.0, 0.0), 1), round(beyond_sway(0.0, 20.0, 0.0, 0.2), 1)
    (20.0, 15.3)
    """
    side = 1.0 if rate_ratio > 1.0 else -1.0
    seen = n / mean
    ratio = max(rate_ratio, seen) if side > 0.0 else min(rate_ratio, seen)
    best = mean * (1.0 - ratio) + (n * np.log(ratio) if n > 0.0 else 0.0)
    # Newton's method for the deviation that explains the count best; it approaches from one side, because the slope is monotone.
    c = np.log(max(seen, 1.0)) / max(sway, 1e-9) if side > 0.0 else 0.0
    for _ in range(12):
        share = mean * np.exp(side * c * sway)
        c = max(c + (side * sway * (n - share) - c) / (sway * sway * share + 1.0), 0.0)
    usual = n * side * c * sway - mean * (np.exp(side * c * sway) - 1.0) - 0.5 * c * c
    return float(best - max(usual, 0.0))


@leaf
def sway_over(rec: np.void, length: int) -> float:
    """The relative variance of the rate over a length of time, between those that are known; the longer, the less."""
    seconds = length * 1e-9
    sway = rec["sway"][MINUTE]
    for scale in range(1, SWAYS):
        share = min(max((seconds - SWAY_S[scale - 1]) / (SWAY_S[scale] - SWAY_S[scale - 1]), 0.0), 1.0)
        sway = min(sway, sway + share * (rec["sway"][scale] - sway))
    return float(sway)


@leaf
def unsure(rec: np.void) -> float:
    """The relative variance of the rate as it is known."""
    return float(0.5 / max(rec["rate"] * MEMORY_S, 1.0))


@leaf
def tide(profile: np.void, ts: int) -> float:
    """What the hour of the week has done to the rate since the middle of its memory, on log scale; 0.0 without history."""
    before = foretold(profile, ts * 1e-9 - MEMORY_S)
    now = foretold(profile, ts * 1e-9)
    return float(now - before) if now != 0.0 and before != 0.0 else 0.0


@leaf
def expected_rate(rec: np.void, profile: np.void, side: int, ts: int) -> float:
    """The rate that a surge, or a drop, is measured by."""
    rate: float = rec["rate"]
    turned = rate * np.exp(tide(profile, ts))
    rate = max(rate, turned) if side == SURGE else min(rate, turned)
    if rec["former_ns"] > 0 and ts - rec["former_ns"] < FORMER_NS:
        rate = max(rate, rec["former"]) if side == SURGE else min(rate, rec["former"])
    return rate


@leaf
def judge_flow(rec: np.void, profile: np.void, n: float, start: int, tick_s: float, factor: float, at: float) -> int:
    """Add a tick to both excursions; returns the sides that are beyond doubt and worth telling, as a bit mask.

    Where:
        rec, profile: of the series.
        n: requests in the tick.
        start: its first nanosecond.
        tick_s: its length.
        factor: least change worth telling.
        at: the edge.
    """
    found = 0
    for side in range(SIDES):
        ratio = BEYOND[side] * factor if side == SURGE else 1.0 / (BEYOND[side] * factor)
        usual = max(expected_rate(rec, profile, side, start), 1e-9) * tick_s
        if rec["sum"][side] <= 0.0:
            rec["since"][side] = start
            rec["count"][side] = 0.0
            rec["total"][side] = 0.0
            rec["usual"][side] = usual
        ebb = np.exp(EBB_PER_HOUR * (start - rec["since"][side]) * 1e-9 / HOUR_S)
        usual = min(max(usual, rec["usual"][side] / ebb), rec["usual"][side] * ebb)
        rec["count"][side] += n
        rec["total"][side] += usual
        rec["sum"][side] = min(max(0.0, rec["sum"][side] + n * np.log(ratio) - usual * (ratio - 1.0)), 3.0 * at)
        rec["edge"][side] = at
        seen = rec["count"][side] / rec["total"][side]
        large = seen >= factor if side == SURGE else seen <= 1.0 / factor
        if rec["sum"][side] > 0.0 and large:
            sway = sway_over(rec, start + int(tick_s * 1e9) - rec["since"][side])
            if beyond_sway(rec["count"][side], rec["total"][side], ratio, np.sqrt(sway + unsure(rec))) / rec["clump"] >= at:
                found |= 1 << side
    return found


@leaf
def learn_sway(rec: np.void, scale: int, blocks: float) -> None:
    """Learn from a block of minutes how much the rate sways; `blocks` is how many of them are averaged over."""
    mean = rec["block_expected"][scale]
    if mean > 0.0:
        noise = rec["clump"] / mean
        bound = CLIP * np.sqrt(rec["sway"][scale] + noise)
        off = min(max((rec["block_n"][scale] - mean) / mean, -bound), bound)
        rec["sway"][scale] = max(0.0, rec["sway"][scale] + (off * off - noise - rec["sway"][scale]) / blocks)
    rec["block_n"][scale] = 0.0
    rec["block_expected"][scale] = 0.0


@leaf
def learn_flow_hour(rec: np.void, profile: np.void, ts: int) -> None:
    """Learn an hour that has ended: the level of days, and what this hour of the week does to it."""
    hour = int(ts * 1e-9 // HOUR_S)
    if hour == rec["hour"]:
        return
    if rec["hour_s"] >= 0.5 * HOUR_S:
        level = np.log((rec["hour_n"] + 0.5) / rec["hour_s"])
        rec["hours"] += 1.0
        if rec["hours"] == 1.0:
            rec["slow"] = level
        off = min(max(level - rec["slow"], -2.0), 2.0)
        learn_profile(profile, (rec["hour"] + 0.5) * HOUR_S, off)
        rec["slow"] += off / min(rec["hours"], HOURS)
    rec["hour"] = hour
    rec["hour_n"] = 0.0
    rec["hour_s"] = 0.0


@leaf
def learn_flow(rec: np.void, profile: np.void, n: float, end: int, tick_s: float) -> None:
    """Learn a tick."""
    rec["ticks"] += 1.0
    rec["awake"] += 1.0
    if rec["awake"] <= 1.0:
        rec["rate"] = n / tick_s
    mean = rec["rate"] * tick_s
    weight = 1.0 / min(rec["ticks"], MOST_TICKS)
    jump = 0.5 * (n - rec["before"]) * (n - rec["before"]) / max(mean, 1e-3)
    rec["clump"] = max(1.0, rec["clump"] + weight * (min(jump, 10.0 * rec["clump"]) - rec["clump"]))
    rec["before"] = n
    bound = mean + CLIP * np.sqrt(mean * (rec["clump"] + mean * rec["sway"][MINUTE]) + 1.0)
    rec["rate"] += (min(n, bound) / tick_s - rec["rate"]) / min(rec["awake"], max(MEMORY_S / tick_s, 1.0))
    short = min(rec["awake"], max(BRISK_S / tick_s, 1.0))
    rec["brisk"] += (n / tick_s - rec["brisk"]) / short
    if n > 0.0:
        # One standard error above what the last minutes gave.
        slow = expected_rate(rec, profile, DROP, end)
        rec["pace"] = min(slow, rec["brisk"] * (1.0 + 1.0 / np.sqrt(2.0 * rec["brisk"] * short * tick_s)))
    for scale in range(SWAYS):
        rec["block_n"][scale] += n
        rec["block_expected"][scale] += mean
        length = max(SWAY_S[scale], tick_s)
        if end * 1e-9 // length != (end * 1e-9 - tick_s) // length:
            learn_sway(rec, scale, min(rec["ticks"] * tick_s, MEMORY_OF_SWAY_S) / length + PRIOR_BLOCKS)
    learn_flow_hour(rec, profile, end)
    rec["hour_n"] += n
    rec["hour_s"] += tick_s


@leaf
def wake(rec: np.void) -> None:
    """A series speaks again that was idle for hours: its rate is learned anew before it is judged."""
    rec["awake"] = 0.0
    rec["before"] = 0.0
    rec["former_ns"] = 0
    acquit(rec)


@leaf
def remember_former(rec: np.void, side: int, ts: int, tick_s: float) -> None:
    """Keep what was usual before an oddity."""
    rec["former"] = rec["usual"][side] / tick_s
    rec["former_ns"] = ts
