"""Order statistics of sorted values, by their address: positions, quantiles and the median absolute deviation.

All are exact and rounded as numpy rounds them. Cost: O(log n). What a search reads next depends on what it has read: the processor can wait
for it, or guess and be wrong every other time. In the cache waiting is cheaper.
"""

import numpy as np

from sentinel.core.jit import inlined, leaf
from sentinel.core.memory import choose, load


@inlined
def lower_bound(ordered: int, n: int, value: float) -> int:
    """How many of n sorted values are below `value`, without guessing."""
    if n == 0:
        return 0
    low = 0
    while n > 1:
        half = n >> 1
        low = choose(load(ordered, low + half - 1) < value, low + half, low)
        n -= half
    return choose(load(ordered, low) < value, low + 1, low)


@inlined
def lower_bound_guessing(ordered: int, n: int, value: float) -> int:
    """The same of n > 0 values that are not in the cache: reading on along a guess, right every other time, is faster than waiting."""
    low = 0
    while n > 1:
        half = n >> 1
        if load(ordered, low + half - 1) < value:
            low += half
        n -= half
    return choose(load(ordered, low) < value, low + 1, low)


@inlined
def quantile(ordered: int, n: int, share: float) -> float:
    """The quantile of n sorted values by linear interpolation."""
    position = (n - 1) * share
    below = int(position)
    low = load(ordered, below)
    if below + 1 >= n:
        return low
    high = load(ordered, below + 1)
    weight = position - below
    if weight >= 0.5:
        return high - (high - low) * (1.0 - weight)
    return low + (high - low) * weight


@inlined
def middle(ordered: int, n: int) -> float:
    """The median of n sorted values."""
    upper = load(ordered, n >> 1)
    if n & 1:
        return upper
    return (load(ordered, (n >> 1) - 1) + upper) * 0.5


@inlined
def left_is_nearer(ordered: int, left: int, half: int, centre: float, i: int) -> bool:
    """Whether the i-th value left of the centre belongs to the nearer half before the one that would otherwise complete it."""
    return centre - load(ordered, left - 1 - i) < load(ordered, left + half - 1 - i) - centre


@leaf
def split_of(ordered: int, n: int, centre: float, left: int, guess: int) -> int:
    """How many of the half of n sorted values that is nearest to `centre` lie left of it, `left` of all values being there.

    Left of the centre distances rise to the left, right of it to the right: two sorted runs. The search goes outwards from the guess, by
    doubled steps, because a window changes by one sample at a time; the answer does not depend on the guess.
    """
    half = (n + 1) >> 1
    low, high = max(0, half - (n - left)), min(half, left)
    i, step = min(max(guess, low), high - 1), 1
    while low < high:
        if left_is_nearer(ordered, left, half, centre, i):
            low = i + 1
            i = min(low + step - 1, (low + high) >> 1)
        else:
            high = i
            i = max(high - step, (low + high) >> 1)
        step <<= 1
    return low


@leaf
def deviation(ordered: int, n: int, centre: float, guess: int) -> tuple[float, int]:
    """The median absolute deviation of n sorted values from `centre`, without computing the deviations.

    Returns it and the split that was found, which is a good guess for the next call.
    """
    left = n >> 1
    if left == 0 or load(ordered, left - 1) >= centre or load(ordered, left) < centre:  # no median, or one that occurs more than once
        left = lower_bound(ordered, n, centre)
    right = n - left
    half = (n + 1) >> 1
    split = split_of(ordered, n, centre, left, guess)
    lower = 0.0
    if split > 0:
        lower = centre - load(ordered, left - split)
    if half - split > 0:
        lower = max(lower, load(ordered, left + half - split - 1) - centre)
    if n & 1:
        return lower, split
    upper = np.inf
    if split < left:
        upper = centre - load(ordered, left - 1 - split)
    if half - split < right:
        upper = min(upper, load(ordered, left + half - split) - centre)
    return (lower + upper) * 0.5, split
