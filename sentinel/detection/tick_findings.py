"""Findings: what kernels write down when something is to be told, and what the numbers in them are.

The score of a finding says how far beyond its boundary it lies, 1.0 exactly at it, whatever the detector:

| Kind | 1.0 is |
|---|---|
| rise, drift, fall, regime | the edge of the band: twice the larger of reach and least change, on log scale |
| extremes | five times the usual share of one in a hundred |
| failures | the share that the test looks for |
| surge, drop | the least change of traffic worth telling, on log scale |
| silence | evidence at its edge |

Whether there is anything to tell is decided by the evidence alone.
"""

from typing import Final

import numpy as np

from sentinel.core.jit import leaf
from sentinel.core.tell import Kind
from sentinel.detection.tick_baseline import QUARTER
from sentinel.detection.tick_evidence import doubtful
from sentinel.detection.tick_incidents import severity
from sentinel.detection.tick_level import FALL, FAST_RISE, RISE, SLOW_FALL, SLOW_RISE
from sentinel.detection.tick_scores import TOP, spread
from sentinel.detection.tick_state import FLOORS, QUANTITIES, Limits, Out, State
from sentinel.detection.tick_tail import RARE, TAIL

RISE_KIND, DRIFT_KIND, FALL_KIND, EXTREMES_KIND = int(Kind.RISE), int(Kind.DRIFT), int(Kind.FALL), int(Kind.EXTREMES)
REGIME_KIND, FAILURES_KIND, SURGE_KIND, DROP_KIND = int(Kind.REGIME), int(Kind.FAILURES), int(Kind.SURGE), int(Kind.DROP)
SILENCE_KIND, ALL_SILENT_KIND = int(Kind.SILENCE), int(Kind.ALL_SILENT)

ORDER: Final = np.array([FAST_RISE, RISE, TAIL, SLOW_RISE, FALL, SLOW_FALL])
"""Of several tests at their edge, the first of these is told."""
EXTREME_SHARE: Final = 5 * RARE
DRIFT_NS: Final = 600 * 10**9
"""A rise that took longer than this to be certain is a drift."""
BANDS: Final = 2.0
"""Half the width of a band, in reaches or least changes."""


@leaf
def new_finding(out: Out, row: int, kind: int, quantity: int, ts: int, tick: int, since: int) -> int:
    """Begin a finding; returns its index."""
    at = int(out.used[0])
    out.used[0] += 1
    found = out.findings[at]
    found["row"] = row
    found["kind"] = kind
    found["quantity"] = quantity
    found["ts_ns"] = ts
    found["tick_ns"] = tick
    found["since_ns"] = since
    found["others"] = 0
    found["series_count"] = 0
    found["share"] = np.nan
    found["deviation"] = np.nan
    return at


@leaf
def numbers(found: np.void, value: float, expected: float, lower: float, upper: float, score: float, samples: float, lasted: int) -> None:
    """Fill in the numbers of a finding, and its severity by score and by how long the trouble has lasted."""
    found["value"] = value
    found["expected"] = expected
    found["lower"] = lower
    found["upper"] = upper
    found["score"] = max(1.0, score)
    found["samples"] = samples
    found["severity"] = severity(found["score"], lasted)


@leaf
def band(rec: np.void, least: float) -> float:
    """Half the width of the normal band of a quantity, on log scale."""
    return float(BANDS * max(rec["reach"][QUARTER], least))


@leaf
def size(rec: np.void, test: int) -> float:
    """How far the level has moved in the direction of a test, on log scale, since the evidence began or lately."""
    mean = rec["total"][test] / max(rec["count"][test], 1.0)
    return float(max(-mean, -rec["recent"]) if test >= FALL else max(mean, rec["recent"]))


@leaf
def in_unit(quantity: int, log_value: float) -> float:
    """From log scale to the unit of a quantity."""
    return float(max(np.exp(log_value) - FLOORS[quantity], 0.0))


@leaf
def shifting(state: State, row: int, quantity: int) -> int:
    """The other quantities that are shifting too, as a bit mask."""
    others = 0
    for other in range(QUANTITIES):
        rec = state.levels[row, other]
        if other != quantity and (rec["fork_ns"] > 0 or doubtful(rec)):
            others |= 1 << other
    return others


@leaf
def describe_level(state: State, limits: Limits, out: Out, at: int, row: int, quantity: int, test: int, lasted: int) -> None:
    """Fill in a finding about the level or the tail of a quantity."""
    rec = state.levels[row, quantity]
    found = out.findings[at]
    level = rec["centre"] + rec["shade"]
    expected = in_unit(quantity, level)
    found["others"] = shifting(state, row, quantity)
    found["deviation"] = expected * spread(rec)
    if test == TAIL:
        share = rec["extremes"] / max(rec["count"][TAIL], 1.0)
        typical = in_unit(quantity, level + rec["total"][TAIL] / max(rec["extremes"], 1.0))
        limit = in_unit(quantity, level + rec["grid"][TOP])
        numbers(found, typical, limit, np.nan, limit, share / EXTREME_SHARE, rec["n"], lasted)
        found["share"] = share
        return
    half = band(rec, limits.least[quantity])
    moved = size(rec, test)
    signed = -moved if test >= FALL else moved
    low, high = in_unit(quantity, level - half), in_unit(quantity, level + half)
    numbers(found, in_unit(quantity, level + signed), expected, low, high, moved / half, rec["n"], lasted)


@leaf
def level_kind(test: int, took: int) -> int:
    """What a test that took so long to be certain has found."""
    if test == TAIL:
        return EXTREMES_KIND
    if test >= FALL:
        return FALL_KIND
    return DRIFT_KIND if took > DRIFT_NS else RISE_KIND
