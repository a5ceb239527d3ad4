"""What a gauge remembers of a series, and how it learns: level, spreads, range, profile, tails.

Every step of level and spread is clipped, and values during an anomaly count a tenth, so that neither an absurd value nor a long fault
becomes normal quickly. A level that has been left for long on one side is accepted as the new one.
"""

from typing import Final

import numpy as np

from sentinel.core.jit import kernel
from sentinel.detection import profile, tail

SPANS: Final = (1, 2, 6, 18)
"""Values that are averaged: single ones give the evidence, the others, each about three times the one before, are the runs."""

SETTLE: Final = 24
"""First values, from which level and spread are taken by medians before anything else is learned."""

LEVEL_MEMORY: Final = 300.0
"""Values the level averages over: a day of 5-minute values, an hour of 10-second ones."""

SPREAD_MEMORY: Final = 2_000.0
"""Values the spreads average over: slower than the level, so that an anomaly does not widen its own yardstick."""

CLIP: Final = 6.0
"""No value moves level or spread as if it were further away than this many spreads."""

ROUGH_CLIP: Final = 50.0
"""The rough spread, which keeps the spreads from vanishing where most values are equal, follows values up to this many times itself."""

ROUGH_SHARE: Final = 0.1
"""A spread is at least this share of the rough spread."""

ROUNDING: Final = 1e-12
"""A spread is at least this share of level and range: what is smaller is rounding."""

SUSPECT_WEIGHT: Final = 0.1
"""Weight of values during an anomaly."""

RENEWED: Final = 0.1
"""Weight left to the past of the tails when the profile comes into use or goes out of it: residuals are measured anew."""

RENEWED_AGE: Final = 200.0
"""Age in values that the spreads then have, so that they soon follow."""

REGIME: Final = 128
"""Values of an anomaly, nearly in a row, that are more than a spread away on one side and so make a new level."""

HOLD_S: Final = 1_800.0
"""Seconds of quiet after which an anomaly has ended,"""

HOLD_VALUES: Final = 6
"""and values of quiet: for those that come seldom, seconds say little."""

RECENT: Final = max(SETTLE, SPANS[-1])

SPAN: Final = np.dtype([("spread", np.float64), ("up", tail.TAIL), ("down", tail.TAIL)])
GAUGE: Final = np.dtype(
    [
        ("seen", np.int64),
        ("level", np.float64),
        ("rough", np.float64),
        ("age", np.float64),
        ("low", np.float64),
        ("high", np.float64),
        ("last", np.float64),
        ("last_low", np.float64),
        ("last_high", np.float64),
        ("away", np.int64),
        ("used", np.int64),
        ("fired", np.int64),
        ("fired_s", np.float64),
        ("recent", np.float64, (RECENT,)),
        ("up", np.float64, (RECENT,)),
        ("down", np.float64, (RECENT,)),
        ("profile", profile.PROFILE),
        ("spans", SPAN, (len(SPANS),)),
    ]
)
"""One series, 7 kB. All zero is an empty one.

`recent` holds the first values, then the last residuals; `up` and `down` the evidence of the last values; `low` and `high` the range seen;
`last` is the last value, `last_low` and `last_high` the range before it; `fired` and `fired_s` say at which value and when it last fired.
"""


@kernel
def settle(rec: np.void, value: float) -> None:
    """Keep one of the first values; from the last of them on the record has level and spread. The two outermost do not count."""
    seen = rec["seen"]
    rec["recent"][seen] = value
    rec["seen"] = seen + 1
    if seen + 1 < SETTLE:
        return
    first = np.sort(rec["recent"][:SETTLE])
    level = 0.5 * (first[SETTLE // 2 - 1] + first[SETTLE // 2])
    spread = np.mean(np.sort(np.abs(first - level))[: SETTLE - 2])
    rec["level"] = level
    rec["rough"] = spread
    rec["low"] = first[1]
    rec["high"] = first[SETTLE - 2]
    rec["last"] = value
    rec["last_low"] = rec["low"]
    rec["last_high"] = rec["high"]
    rec["age"] = SETTLE
    rec["fired"] = -HOLD_VALUES
    rec["fired_s"] = -np.inf
    for i in range(SETTLE):
        rec["recent"][i] -= level
    for i in range(len(SPANS)):
        rec["spans"][i]["spread"] = spread / np.sqrt(SPANS[i])


@kernel
def anomalous(rec: np.void, t_s: float) -> bool:
    """Whether it fired so recently that the anomaly goes on."""
    return bool(t_s - rec["fired_s"] < HOLD_S or rec["seen"] - rec["fired"] < HOLD_VALUES)


@kernel
def least_spread(rec: np.void, residual: float) -> float:
    """The smallest spread that counts: above rounding at this level and in this range, and in proportion where most values are equal.

    Args:
        rec: a record of `GAUGE`, not changed.
        residual: the largest that is to be measured with it; 0.0 where something is to be learned.
    """
    rough = max(rec["rough"], abs(residual) / ROUGH_CLIP)
    return float(max(ROUGH_SHARE * rough, ROUNDING * (rec["high"] - rec["low"]), ROUNDING * abs(rec["level"]), 1e-300))


@kernel
def learn_span(rec: np.void, index: int, mean: float, spread: float, weight: float) -> None:
    """Let one span's tails and spread follow a mean; `spread` is what it was measured with."""
    each = rec["spans"][index]
    tail.learn(each["up"], max(mean / spread, 0.0), weight)
    tail.learn(each["down"], max(-mean / spread, 0.0), weight)
    limit = CLIP * max(each["spread"], least_spread(rec, 0.0) / np.sqrt(SPANS[index]))
    each["spread"] += weight * (min(abs(mean), limit) - each["spread"]) / min(rec["age"] + 1.0, SPREAD_MEMORY)


@kernel
def learn(rec: np.void, t_s: float, value: float, offset: float, weight: float) -> None:
    """Let level, range and profile follow one value; `offset` is what the profile said of it."""
    residual = value - rec["level"] - offset
    spread = max(rec["spans"][0]["spread"], least_spread(rec, 0.0))
    clipped = min(max(residual, -CLIP * spread), CLIP * spread)
    profile.learn(rec["profile"], t_s, clipped + offset)
    rec["level"] += clipped / min(rec["seen"] + 1.0, LEVEL_MEMORY)
    rough = rec["rough"]
    size = min(abs(residual), ROUGH_CLIP * rough) if rough > 0.0 else abs(residual)
    rec["rough"] += weight * (size - rough) / min(rec["seen"] + 1.0, SPREAD_MEMORY)
    rec["last"] = value
    rec["last_low"] = rec["low"]
    rec["last_high"] = rec["high"]
    room = rec["high"] - rec["low"] if rec["high"] > rec["low"] else abs(residual)
    rec["high"] = max(rec["high"], min(value, rec["high"] + room))
    rec["low"] = min(rec["low"], max(value, rec["low"] - room))
    rec["age"] += 1.0
    rec["seen"] += 1
    follow_regime(rec, residual, spread if weight < 1.0 else np.inf)


@kernel
def follow_regime(rec: np.void, residual: float, limit: float) -> None:
    """Count values beyond the limit on one side; enough of them nearly in a row are a new level."""
    away = rec["away"]
    if residual > limit:
        away = max(away, 0) + 1
    elif residual < -limit:
        away = min(away, 0) - 1
    else:
        away = int(0.9 * away)
    if abs(away) >= REGIME:
        away = 0
        accept(rec)
    rec["away"] = away


@kernel
def accept(rec: np.void) -> None:
    """Take the level of the last values for the level from now on; the range goes with it."""
    if rec["seen"] < SETTLE:
        return
    shift = np.median(rec["recent"])
    rec["level"] += shift
    rec["low"] += shift
    rec["high"] += shift
    rec["last_low"] += shift
    rec["last_high"] += shift
    for i in range(len(rec["recent"])):
        rec["recent"][i] -= shift
    rec["rough"] = np.mean(np.abs(rec["recent"]))


@kernel
def renew(rec: np.void) -> None:
    """When the profile has come into use or gone out of it, what was learned about residuals is worth little."""
    if rec["profile"]["used"] == rec["used"]:
        return
    rec["used"] = rec["profile"]["used"]
    rec["age"] = min(rec["age"], RENEWED_AGE)
    for i in range(len(SPANS)):
        tail.fade(rec["spans"][i]["up"], RENEWED)
        tail.fade(rec["spans"][i]["down"], RENEWED)
