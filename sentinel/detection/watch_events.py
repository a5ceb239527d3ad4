"""The events of a batch as the windows of minutes, hours and days want them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sentinel.core.batch import Bool, CleanBatch, Float64, Int8, Int32, Int64, SeriesKey
from sentinel.core.buffers import UInt64
from sentinel.core.sketches import Sketches
from sentinel.detection.finish import category
from sentinel.detection.heavy_hitters import words_of


@dataclass(frozen=True, slots=True)
class Events:
    """n events in log order; `is_part` says that not all names may be used."""

    names: Sequence[SeriesKey]
    series: Int32
    offsets: Int64
    ts_ns: Int64
    metrics: Float64
    finish: Int8
    personal: Bool
    has_users: bool
    user_words: UInt64
    user: Int32
    anonymous: Bool
    sketches: Sketches | None
    is_part: bool = False

    @classmethod
    def of(cls, batch: CleanBatch, learned: Float64) -> "Events":
        """The events of a batch; `learned` as `Watch.observe` is given it."""
        finish = np.array([category(dimensions.finish_reason) for dimensions in batch.dimension_sets], np.int8)
        nobody = np.array([user is None for user in batch.users], np.bool_)
        return cls(
            names=batch.names,
            series=batch.series,
            offsets=batch.offsets,
            ts_ns=batch.ts_ns,
            metrics=learned,
            finish=finish[batch.dimensions],
            personal=batch.personal,
            has_users=not nobody.all(),
            user_words=words_of([user or "" for user in batch.users]),
            user=batch.user,
            anonymous=nobody[batch.user],
            sketches=batch.sketches,
        )

    def take(self, keep: Bool | slice) -> "Events":
        """Some of them."""
        columns = ("series", "offsets", "ts_ns", "metrics", "finish", "personal", "user", "anonymous")
        sketches = None if self.sketches is None else self.sketches[keep]
        return replace(self, is_part=True, sketches=sketches, **{name: getattr(self, name)[keep] for name in columns})
