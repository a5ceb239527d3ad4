"""What the time windows expected of a series while a week went by, for the plots."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from bench.quality_bins import QUANTITY_OF
from bench.quality_plot import Band
from sentinel.detection.over_time import OverTime
from sentinel.testing.quality_columns import NS, START_NS, Mark
from sentinel.testing.quality_replay import Order, Step

LOOK_S: Final = 600.0
"""From look to look, in event time."""


class BandTrace:
    """Looks at the bands of a partition with one series now and then.

    Args:
        watch: the partition.
    """

    def __init__(self, watch: OverTime) -> None:
        self._watch = watch
        self._due_s = LOOK_S
        self._seen: dict[str, list[tuple[float, float, float]]] = {}

    def after(self, step: Step) -> None:
        """Look, if it is time to."""
        if isinstance(step, Order):
            return
        now_ns = step.now_ns if isinstance(step, Mark) else int(step.ts_ns[-1])
        now_s = (now_ns - START_NS) / NS
        if now_s < self._due_s:
            return
        self._due_s = (now_s // LOOK_S + 1) * LOOK_S
        for band in self._watch.bands():
            self._seen.setdefault(band.quantity, []).append((now_s, band.lower, band.upper))

    def bands(self) -> Mapping[str, Band]:
        """By the quantity in whose plot each belongs, in its unit."""
        found = {}
        for name, rows in self._seen.items():
            if name in QUANTITY_OF:
                quantity, factor = QUANTITY_OF[name]
                found[quantity] = band_of(rows, factor)
        return found


def band_of(rows: Sequence[tuple[float, float, float]], factor: float) -> Band:
    """Rows of (seconds, lower, upper) as a band, its limits times a factor."""
    at_s, lower, upper = np.array(rows).T
    return Band(at_s, lower * factor, upper * factor)
