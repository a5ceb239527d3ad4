"""One window as a record: learning a sample, forgetting old ones, and keeping its moments exact.

A window is a ring in arrival order and the same samples sorted, side by side in one block (`windows_pool`). Mean and sum of squares are
updated per sample against an anchor near the bulk and recomputed from scratch whenever the ring wraps or an update has cancelled too many
digits, so neither a level of 1e9 nor a passing spike of 1e12 leaves an error behind.

Cost: O(log W) compares and one memory move of at most W values per sample.
"""

from typing import Final

import numpy as np

from sentinel.core.jit import inlined, leaf
from sentinel.core.memory import VALUE_BYTES, load, move, store
from sentinel.detection.windows_order import lower_bound, lower_bound_guessing
from sentinel.detection.windows_pool import Records, give, take, tier_for

COLLAPSE: Final = 1e-6
"""A sum of squares that shrinks below this share of itself in one step has lost more digits than it should: recompute."""

KEPT_IDLE: Final = 64
"""Samples an idle series keeps: quartiles and deviations of so few are uncertain by about a sixth of the spread, which a judge can bear."""

FORGET_OLD, FORGET_ALL = 1, 2
"""What an event says about the windows of its row before it: keep only the last samples, or they were another series'."""

WINDOW = np.dtype(
    [
        ("at", "i8"),
        ("n", "i4"),
        ("capacity", "i4"),
        ("head", "i4"),
        ("split", "i4"),
        ("anchor", "f8"),
        ("mean", "f8"),
        ("m2", "f8"),
        ("up", "f8"),
        ("down", "f8"),
    ]
)
"""A window but for its samples, in one cache line: address of its block, 0 = none; samples it holds and has room for; slot of the oldest
sample in a full ring; see `split_of`; mean = anchor + mean, sum of squared deviations; the cumulative sums of CUSUM."""


@inlined
def sorted_view(window: np.void) -> int:
    """Where the sorted samples are."""
    return int(window["at"] + VALUE_BYTES * window["capacity"])


@inlined
def mean_of(window: np.void) -> float:
    """The mean of a window that is not empty."""
    return float(window["anchor"] + window["mean"])


@inlined
def deviation_of(window: np.void) -> float:
    """The standard deviation with n - 1 in the denominator, 0 for a single sample."""
    n = int(window["n"])
    return float(np.sqrt(max(window["m2"], 0.0) / (n - 1))) if n > 1 else 0.0


@leaf
def recompute(window: np.void) -> None:
    """Mean and sum of squares from scratch, around the median."""
    ring, n = window["at"], int(window["n"])
    origin = load(sorted_view(window), n >> 1)
    total = 0.0
    for i in range(n):
        total += load(ring, i) - origin
    offset = total / n
    squares = 0.0
    for i in range(n):
        distance = (load(ring, i) - origin) - offset
        squares += distance * distance
    window["anchor"] = origin
    window["mean"] = offset
    window["m2"] = squares


@leaf
def insert(window: np.void, value: float) -> None:
    """Put a sample into ring and sorted view, which have room for it."""
    n, ordered = int(window["n"]), sorted_view(window)
    spot = lower_bound(ordered, n, value)
    move(ordered, spot + 1, spot, n - spot)
    store(ordered, spot, value)
    store(window["at"], n, value)
    window["n"] = n + 1


@leaf
def append(window: np.void, value: float, size: int) -> None:
    """Learn a sample in a window that still grows and has room."""
    n = int(window["n"])
    if n == 0:
        window["anchor"] = value
        window["mean"] = 0.0
        window["m2"] = 0.0
    insert(window, value)
    distance = value - window["anchor"]
    before = distance - window["mean"]
    window["mean"] += before / (n + 1)
    window["m2"] += before * (distance - window["mean"])
    if n + 1 == size:
        recompute(window)


@leaf
def replace(window: np.void, value: float, size: int, far: bool) -> None:
    """Learn a sample in a full window, which is `far` when it is not in the cache: the oldest leaves."""
    ring, ordered, head = window["at"], sorted_view(window), int(window["head"])
    oldest = load(ring, head)
    store(ring, head, value)
    if far:
        gone, spot = lower_bound_guessing(ordered, size, oldest), lower_bound_guessing(ordered, size, value)
    else:
        gone, spot = lower_bound(ordered, size, oldest), lower_bound(ordered, size, value)
    if gone < spot:
        move(ordered, gone, gone + 1, spot - gone - 1)
        store(ordered, spot - 1, value)
    else:
        move(ordered, spot + 1, spot, gone - spot)
        store(ordered, spot, value)
    came = value - window["anchor"]
    went = oldest - window["anchor"]
    step = came - went
    shifted = window["mean"] + step / size
    squares = window["m2"] + step * ((came - shifted) + (went - window["mean"]))
    lost = squares < COLLAPSE * window["m2"]
    window["mean"] = shifted
    window["m2"] = squares
    head += 1
    if head == size:
        head = 0
        lost = True
    window["head"] = head
    if lost:
        recompute(window)


@inlined
def learn(window: np.void, value: float, size: int, far: bool) -> None:
    """Learn a sample in a window that has room for it, and is `far` when it is not in the cache."""
    if window["n"] < size:
        append(window, value, size)
    else:
        replace(window, value, size, far)


@leaf
def grow(window: np.void, tiers: Records) -> bool:
    """Move a window that is full for its block to the next tier. False, and nothing has changed, when that tier has no block."""
    n, old, capacity, ordered = int(window["n"]), window["at"], int(window["capacity"]), sorted_view(window)
    tier = tier_for(tiers, n + 1)
    at = take(tiers, tier)
    if at == 0:
        return False
    window["at"], window["capacity"] = at, tiers[tier]["capacity"]
    if n > 0:
        move(at, 0, (old - at) // VALUE_BYTES, n)
        move(at, window["capacity"], (ordered - at) // VALUE_BYTES, n)
        give(tiers, capacity, old)
    return True


@leaf
def keep_last(window: np.void, tiers: Records, size: int) -> bool:
    """Keep only the last samples, as if the window had begun with them. False, and nothing has changed, when there is no block for them."""
    n, old, capacity = int(window["n"]), window["at"], int(window["capacity"])
    if n <= KEPT_IDLE:
        return True
    tier = tier_for(tiers, KEPT_IDLE)
    at = take(tiers, tier)
    if at == 0:
        return False
    first = window["head"] + n - KEPT_IDLE if n == size else n - KEPT_IDLE
    window["at"], window["capacity"] = at, tiers[tier]["capacity"]
    window["n"], window["head"], window["split"] = 0, 0, 0
    for i in range(first, first + KEPT_IDLE):
        insert(window, load(old, i % n))
    recompute(window)
    give(tiers, capacity, old)
    return True


@leaf
def forget(window: np.void, tiers: Records, size: int, what: int) -> bool:
    """Obey FORGET_OLD or FORGET_ALL; doing it twice is doing it once. False, and nothing has changed, when there is no block for it."""
    if what == FORGET_OLD:
        return keep_last(window, tiers, size)
    if window["at"] != 0:
        give(tiers, int(window["capacity"]), window["at"])
    window["at"], window["capacity"], window["n"], window["head"], window["split"] = 0, 0, 0, 0, 0
    window["up"], window["down"] = 0.0, 0.0
    return True
