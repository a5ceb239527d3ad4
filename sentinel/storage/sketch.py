"""Mergeable quantile sketches: many groups at once, as columns of buckets with logarithmic width.

A positive value x falls into bucket ceil(log(x) / log(GAMMA)); every value of a bucket is within 1% of the bucket's estimate. Merging adds
counts, so it is exact, associative and commutative: a sketch does not depend on how its values were cut into pieces, and equal
sketches have equal bytes.

Source: C. Masson, J. E. Rim, H. K. Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees", VLDB 2019.

    >>> import numpy as np
    >>> values = np.arange(1.0, 1001.0)
    >>> halves = [sketches_of(np.zeros(500, dtype=np.int64), half) for half in (values[:500], values[500:])]
    >>> whole = merge(halves)
    >>> float(abs(quantiles(whole, 1, 0.95)[0] / 950 - 1)) < 0.01
    True
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from sentinel.core.batch import Float64, Int64

GAMMA: Final = 1.02
"""Ratio of neighbouring bucket bounds: a relative error of (GAMMA - 1) / (GAMMA + 1) = 0.99%, which leaves room for rounding below 1%."""
SMALLEST: Final = 1e-12
"""Smaller values, zero and negative ones share one bucket whose estimate is 0."""
LARGEST: Final = 1e15
"""Larger values count as this one, so that an absurd number costs one bucket."""

_LOG_GAMMA: Final = float(np.log(GAMMA))
_FIRST_INDEX: Final = -1_395
"""The index of SMALLEST. Bucket 0 holds zero and less, bucket i the index i - 1 + _FIRST_INDEX."""
_BUCKETS: Final = 3_142
_KEY_BITS: Final = 12
_BUCKET_MASK: Final = (1 << _KEY_BITS) - 1
_LARGEST_COUNT: Final = 65_535
_ENTRY: Final = np.dtype([("bucket", "<u2"), ("count", "<u2")])


@dataclass(frozen=True, slots=True)
class Sketches:
    """Sketches of many groups, as b buckets ordered by group, then by value; each (group, bucket) stands once.

    Attributes:
        key: int64[b], group << 12 | bucket number.
        count: int64[b], values in the bucket, at least 1.
    """

    key: Int64
    count: Int64

    @property
    def group(self) -> Int64:
        """int64[b], the group of each bucket."""
        return self.key >> _KEY_BITS


def _buckets_of(values: Float64) -> Int64:
    """int64[n], the bucket of each value; values must not be NaN."""
    indexes = np.ceil(np.log(np.clip(values, SMALLEST, LARGEST)) / _LOG_GAMMA).astype(np.int64)
    return np.where(values < SMALLEST, 0, indexes - _FIRST_INDEX + 1)


def _estimates(buckets: Int64) -> Float64:
    """float64[b], the value that stands for each bucket."""
    return np.where(buckets == 0, 0.0, 2.0 / (GAMMA + 1.0) * np.exp((buckets - 1 + _FIRST_INDEX) * _LOG_GAMMA))


def _collapse(key: Int64, count: Int64) -> Sketches:
    """Buckets in order, equal ones added up."""
    if not len(key):
        return Sketches(key, count)
    lowest = int(key.min())
    if int(key.max()) - lowest < 4 * len(key):
        # Few groups, many buckets: counting in a dense array is several times faster than sorting.
        dense = np.bincount(key - lowest, weights=count).astype(np.int64)
        found = np.flatnonzero(dense)
        return Sketches(found + lowest, dense[found])
    order = np.argsort(key, kind="stable")
    key = key[order]
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    return Sketches(key[starts], np.add.reduceat(count[order], starts))


def sketches_of(group: Int64, values: Float64) -> Sketches:
    """The sketches of values, one for each group.

    Args:
        group: int64[n], the group of each value, at least 0.
        values: float64[n]; NaN is left out.
    """
    present = ~np.isnan(values)
    key = (group[present] << _KEY_BITS) | _buckets_of(values[present])
    return Sketches(*np.unique(key, return_counts=True))


def merge(parts: Sequence[Sketches]) -> Sketches:
    """One sketch for each group that any part has."""
    return _collapse(np.concatenate([part.key for part in parts]), np.concatenate([part.count for part in parts]))


def regroup(sketches: Sketches, group: Int64) -> Sketches:
    """The sketches with group g renamed to `group[g]`; those of equal new name are merged."""
    key = (group[sketches.group] << _KEY_BITS) | (sketches.key & _BUCKET_MASK)
    return _collapse(key, sketches.count)


def shift(sketches: Sketches, groups: int) -> Sketches:
    """The sketches with every group's number raised by `groups`."""
    return Sketches(sketches.key + (groups << _KEY_BITS), sketches.count)


def encode(sketches: Sketches, groups: int) -> list[bytes | None]:
    """The bytes of the sketches of groups 0 to groups - 1, four for each bucket; None for a group without values.

    A count beyond 65,535 takes several entries of the same bucket.
    """
    entries = -(-sketches.count // _LARGEST_COUNT)
    key = np.repeat(sketches.key, entries)
    last = np.cumsum(entries) - 1
    out = np.empty(len(key), dtype=_ENTRY)
    out["bucket"] = key & _BUCKET_MASK
    out["count"] = _LARGEST_COUNT
    out["count"][last] = sketches.count - (entries - 1) * _LARGEST_COUNT
    encoded = out.tobytes()
    bounds = (np.searchsorted(key >> _KEY_BITS, np.arange(groups + 1)) * _ENTRY.itemsize).tolist()
    return [encoded[start:end] or None for start, end in pairwise(bounds)]


def decode(blobs: Sequence[bytes | None]) -> Sketches:
    """The sketches whose bytes `encode` gave, blob i as group i.

    Raises:
        ValueError: the bytes are damaged.
    """
    parts = [blob or b"" for blob in blobs]
    lengths = np.fromiter(map(len, parts), dtype=np.int64, count=len(parts))
    if np.any(lengths % _ENTRY.itemsize):
        raise ValueError("a quantile sketch is cut short")
    entries = np.frombuffer(b"".join(parts), dtype=_ENTRY)
    if np.any(entries["bucket"] >= _BUCKETS) or not np.all(entries["count"]):
        raise ValueError("a quantile sketch is damaged")
    group = np.repeat(np.arange(len(parts), dtype=np.int64), lengths // _ENTRY.itemsize)
    return _collapse((group << _KEY_BITS) | entries["bucket"], entries["count"].astype(np.int64))


def totals(sketches: Sketches, groups: int) -> Int64:
    """int64[groups], how many values each sketch holds."""
    found = np.zeros(groups, dtype=np.int64)
    np.add.at(found, sketches.group, sketches.count)
    return found


def quantiles(sketches: Sketches, groups: int, q: float) -> Float64:
    """float64[groups], the value of rank ceil(q * n) of each group's n values, within 1%; NaN for a group without values.

    Args:
        sketches: of groups 0 to groups - 1.
        groups: how many.
        q: between 0 and 1; 0 is the smallest value.
    """
    found = np.full(groups, np.nan)
    if not len(sketches.key):
        return found
    cumulated = np.cumsum(sketches.count)
    counts = totals(sketches, groups)
    before = np.cumsum(counts) - counts
    # A product like .29 * 100 comes out a hair above 29: the rank must not jump for that.
    rank = np.maximum(np.ceil(q * counts - 1e-9).astype(np.int64), 1)
    filled = counts > 0
    at = np.searchsorted(cumulated, (before + rank)[filled])
    found[filled] = _estimates(sketches.key[at] & _BUCKET_MASK)
    return found
