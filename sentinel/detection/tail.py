"""How far a healthy stream goes: from standardised deviations to calibrated probabilities of exceedance, in bounded memory.

The bulk is counted in bins of equal ratio, with the past forgotten by halving. Beyond a high threshold the excesses of almost any
distribution follow a generalised Pareto distribution (Pickands, Balkema, de Haan), so the tail needs no assumption about the rest: it is
fitted to the counts beyond the threshold by probability-weighted moments, drawn towards a prior while they are few. So far the idea is
that of SPOT; counts instead of a ring of excesses make the threshold an exact quantile of everything remembered, and let values be
learned with less than full weight. One record of `TAIL` per stream and side, fixed in size, all zero when empty.

Trust it for values that are about independent once standardised. Where it errs, it errs to the mild side: it claims no tail shorter than an
exponential one, never that something is rarer than it has been counted, and extrapolates nothing before there is a tail to fit.

Sources: A. Siffer, P.-A. Fouque, A. Termier, C. Largouet, Anomaly Detection in Streams with Extreme Value Theory, KDD 2017;
J. R. M. Hosking, J. R. Wallis, Parameter and Quantile Estimation for the Generalized Pareto Distribution, Technometrics 29, 1987.
"""

from typing import Final

import numpy as np

from sentinel.core.jit import kernel

BINS: Final = 128
"""Bins from `LOWEST` upwards, the first for all that is smaller; 8 an octave reach 65,000 times the lowest."""

LOWEST: Final = 0.125
"""Deviations below an eighth of the bulk's size are all the same."""

WARM_UP: Final = 32
"""Values before anything is judged."""

SHARE: Final = 0.02
"""Share of the values that count as tail once there are enough."""

LEAST_EXCESSES: Final = 10.0
"""Excesses that make a tail: while 2% are fewer, a larger share counts as tail; without so many, nothing is extrapolated."""

MEMORY: Final = 4_000.0
"""Counts are halved whenever they have reached twice this, so the last four to eight thousand values decide."""

PRIOR_SHAPE: Final = 0.1
"""Shape a tail has until it has shown another: a little heavier than exponential."""

PRIOR_SHAPE_WEIGHT: Final = 16.0
"""Excesses that the prior shape is worth: its standard error is about one over their root."""

PRIOR_SCALE_WEIGHT: Final = 4.0
"""Excesses that the scale read off the bulk is worth."""

LEAST_SCALE: Final = 0.1
"""Smallest scale, in units of the bulk; a normal distribution has .4 there."""

LARGEST_SHAPE: Final = 0.9
"""From 1 on a tail has no mean; so heavy a fit means outliers, not a distribution."""

REACH: Final = 1e-4
"""A value is learned as no larger than what has this probability: the influence of an absurd one is bounded."""

EARLY_REACH: Final = 8.0
"""The same during warm-up, in units of the bulk."""

REFIT: Final = 128
"""The tail is fitted again after so many values at most, after an eighth of all values while they are few."""

TAIL: Final = np.dtype(
    [
        ("seen", np.int64),
        ("due", np.int64),
        ("total", np.float64),
        ("threshold", np.float64),
        ("share", np.float64),
        ("scale", np.float64),
        ("shape", np.float64),
        ("top", np.int64),
        ("mass", np.float32, (BINS,)),
    ]
)
"""One tail, 576 bytes. `mass` holds the weights of the values by bin, `total` their sum, `top` the highest bin ever used."""

PER_OCTAVE: Final = 8.0
HIGHEST: Final = LOWEST * 2.0 ** ((BINS - 1) / PER_OCTAVE)


@kernel
def bin_of(deviation: float) -> int:
    """The bin of a deviation >= 0."""
    if deviation < LOWEST:
        return 0
    if deviation >= HIGHEST:
        return BINS - 1
    return min(1 + int(np.log2(deviation / LOWEST) * PER_OCTAVE), BINS - 1)


@kernel
def edge(bin_index: int) -> float:
    """Where a bin begins."""
    return 0.0 if bin_index <= 0 else LOWEST * 2.0 ** ((bin_index - 1) / PER_OCTAVE)


@kernel
def counted(rec: np.void, bin_index: int) -> float:
    """Weight of the values in this bin and above it."""
    above = 0.0
    for i in range(rec["top"], bin_index - 1, -1):
        above += rec["mass"][i]
    return above


@kernel
def exceedance(rec: np.void, deviation: float) -> float:
    """Probability that a value of this stream is at least `deviation`, as far as it is known; 1.0 during warm-up and for NaN.

    Args:
        rec: a record of `TAIL`, not changed.
        deviation: >= 0, in a unit in which the stream's bulk is about 1.
    """
    if rec["seen"] < WARM_UP or not deviation > 0.0:
        return 1.0
    counts: float = counted(rec, bin_of(deviation))
    if deviation <= rec["threshold"] or not rec["scale"] < np.inf:
        return float((counts + 0.5) / (rec["total"] + 1.0))
    excess = (deviation - rec["threshold"]) / rec["scale"]
    shape = rec["shape"]
    decay = excess if shape < 1e-6 else np.log1p(shape * excess) / shape
    return float(max(rec["share"] * np.exp(-decay), counts / (rec["total"] + 1.0)))


@kernel
def onward(rec: np.void, reached: float, deviation: float) -> float:
    """Probability that a value that has reached `reached` goes on to `deviation`, on the safe side: the shape is taken two errors heavier.

    Args:
        rec: a record of `TAIL`, not changed.
        reached: >= 0; below the threshold, the threshold counts.
        deviation: >= reached.
    """
    if rec["seen"] < WARM_UP or not rec["scale"] < np.inf:
        return 1.0
    origin = max(reached, rec["threshold"])
    if deviation <= origin:
        return 1.0
    error = (1.0 + rec["shape"]) / np.sqrt(rec["share"] * rec["total"] + PRIOR_SHAPE_WEIGHT)
    shape = min(rec["shape"] + 2.0 * error, LARGEST_SHAPE)
    scale = rec["scale"] + shape * (origin - rec["threshold"])
    return float(np.exp(-np.log1p(shape * (deviation - origin) / scale) / shape))


@kernel
def deviation_at(rec: np.void, probability: float) -> float:
    """The deviation that has this probability: the inverse of `exceedance`; infinity while no such value is known.

    Args:
        rec: a record of `TAIL`, not changed.
        probability: 0 < probability < 1.
    """
    if rec["seen"] < WARM_UP:
        return np.inf
    if probability >= rec["share"]:
        bin_index = rec["top"] + 1
        above = 0.5
        while bin_index > 0 and above <= probability * (rec["total"] + 1.0):
            bin_index -= 1
            above += rec["mass"][bin_index]
        return float(edge(bin_index + 1))
    decay = np.log(rec["share"] / probability)
    shape = rec["shape"]
    return float(rec["threshold"] + rec["scale"] * (decay if shape < 1e-6 else np.expm1(shape * decay) / shape))


@kernel
def fit(rec: np.void) -> None:
    """Threshold, share, scale and shape from the counts."""
    total = rec["total"]
    wanted = max(SHARE * total, min(LEAST_EXCESSES, 0.25 * total))
    lowest = rec["top"] + 1
    above = 0.0
    while lowest > 1 and above < wanted:
        lowest -= 1
        above += rec["mass"][lowest]
    threshold = edge(lowest)
    rec["threshold"] = threshold
    rec["share"] = (above + 0.5) / (total + 1.0)
    rec["shape"] = PRIOR_SHAPE
    rec["scale"] = np.inf
    if above < min(wanted, LEAST_EXCESSES):
        return
    first = 0.0
    second = 0.0
    rank = above
    half = 2.0 ** (0.5 / PER_OCTAVE)
    for i in range(lowest, rec["top"] + 1):
        mass = rec["mass"][i]
        excess = mass * (edge(i) * half - threshold)
        first += excess
        second += excess * (rank - 0.5 * mass)
        rank -= mass
    spread = first / above - 2.0 * second / (above * above)
    shape = LARGEST_SHAPE if spread <= 0.0 else min(max(2.0 - first / (above * spread), -1.0), LARGEST_SHAPE)
    shape = max((above * shape + PRIOR_SHAPE_WEIGHT * PRIOR_SHAPE) / (above + PRIOR_SHAPE_WEIGHT), 0.0)
    bulk = threshold / -np.log(rec["share"])
    mean = (first + PRIOR_SCALE_WEIGHT * bulk) / (above + PRIOR_SCALE_WEIGHT)
    rec["shape"] = shape
    rec["scale"] = max(mean * (1.0 - shape), LEAST_SCALE)


@kernel
def fade(rec: np.void, share: float) -> None:
    """Let what was learned so far count only this share (0 to 1) of what it did: for when deviations are measured anew."""
    for i in range(BINS):
        rec["mass"][i] *= share
    rec["total"] *= share
    if rec["seen"] >= WARM_UP:
        fit(rec)


@kernel
def learn(rec: np.void, deviation: float, weight: float) -> None:
    """Take one value in, as no more than `deviation_at(REACH)`; what is negative or not finite is left out.

    Args:
        rec: a record of `TAIL`.
        deviation: as for `exceedance`.
        weight: 1.0, or less for values that were judged anomalous.
    """
    if not 0.0 <= deviation < np.inf:
        return
    seen = rec["seen"]
    reach = EARLY_REACH if seen < WARM_UP else deviation_at(rec, REACH) if rec["scale"] < np.inf else HIGHEST
    place = bin_of(min(deviation, reach))
    rec["mass"][place] += weight
    rec["top"] = max(rec["top"], place)
    rec["total"] += weight
    rec["seen"] = seen + 1
    if rec["total"] >= 2.0 * MEMORY:
        fade(rec, 0.5)
    if seen + 1 >= WARM_UP and seen + 1 >= rec["due"]:
        fit(rec)
        rec["due"] = seen + 1 + min(max(seen // 8, 1), REFIT)


@kernel
def score_then_learn(rec: np.void, deviation: float) -> float:
    """`exceedance` of a value just before it, then `learn` it with full weight."""
    probability: float = exceedance(rec, deviation)
    learn(rec, deviation, 1.0)
    return probability
