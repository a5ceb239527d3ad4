"""Sums and quantiles over stretches of time, in bounded memory however long the time is."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from sentinel.core.batch import Float64, Int64
from sentinel.storage.sketch import Sketches, merge, quantiles, regroup, sketches_of

BUCKETS: Final = 720
"""Stretches at most: of more a plot shows nothing. Even, so that two and two become one."""
_LOOSE: Final = 32
"""Batches whose sketches are kept before they are merged."""


class Columns:
    """Sums over stretches of time that become twice as long whenever there would be too many of them.

    Args:
        width_ns: length of a stretch at first.
        names: of the sums.
    """

    def __init__(self, width_ns: int, names: Sequence[str]) -> None:
        self.width_ns = width_ns
        self.start_ns: int | None = None
        self.used = 0
        self.sums = {name: np.zeros(BUCKETS) for name in names}
        self.sketches: list[Sketches] = []

    def places(self, ts_ns: Int64) -> Int64:
        """int64[n], the stretch of each of some times; those before the first time ever count as in the first."""
        if self.start_ns is None:
            self.start_ns = int(ts_ns.min())
        last = int(ts_ns.max())
        while (last - self.start_ns) // self.width_ns >= BUCKETS:
            self._halve()
        places = np.maximum((ts_ns - self.start_ns) // self.width_ns, 0)
        self.used = max(self.used, int(places.max()) + 1)
        return places

    def add(self, name: str, places: Int64, values: Float64) -> None:
        """Add values to a sum, each in its stretch."""
        self.sums[name] += np.bincount(places, weights=values, minlength=BUCKETS)

    def sketch(self, places: Int64, values: Float64) -> None:
        """Take values into the sketches, each in that of its stretch."""
        self.sketches.append(sketches_of(places, values))
        if len(self.sketches) >= _LOOSE:
            self.sketches = [merge(self.sketches)]

    def quantile(self, share: float) -> Float64:
        """float64[used], a quantile of each stretch."""
        if not self.sketches:
            return np.full(self.used, np.nan)
        self.sketches = [merge(self.sketches)]
        return quantiles(self.sketches[0], self.used, share)

    def mean(self, name: str, count: str) -> Float64:
        """float64[used], a sum over a count, NaN where that is 0."""
        counts = self.sums[count][: self.used]
        means = np.full(self.used, np.nan)
        np.divide(self.sums[name][: self.used], counts, out=means, where=counts > 0)
        return means

    def settle(self, name: str, least: float, fewest: int) -> None:
        """Make stretches longer until a sum is `least` in them on average, as long as there are more than `fewest` of them."""
        while self.used > 2 * fewest and self.sums[name].sum() < least * self.used:
            self._halve()

    def _halve(self) -> None:
        self.width_ns *= 2
        for name, sums in self.sums.items():
            self.sums[name] = np.concatenate((sums[0::2] + sums[1::2], np.zeros(BUCKETS // 2)))
        self.sketches = [regroup(merge(self.sketches), np.arange(BUCKETS) // 2)] if self.sketches else []
        self.used = -(-self.used // 2)
