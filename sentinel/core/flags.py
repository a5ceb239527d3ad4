"""What was noticed about events that are kept all the same, and which of their values may be learned."""

from enum import IntFlag

import numpy as np

from sentinel.core.batch import Float64, Int32
from sentinel.core.metrics import METRICS


class Flag(IntFlag):
    """What was noticed about an event that is kept all the same.

    Bit 16 + i says that metric i is outside its configured limits (`implausible_flag`).
    """

    TIMESTAMP_MISSING = 1
    TIMESTAMP_FUTURE = 2
    TOO_OLD = 4
    TOTAL_DISAGREES = 8
    TEXT_TRUNCATED = 16
    METADATA_TRIMMED = 32
    CLEANED = 64
    """Control characters were removed from an identifier or a text."""
    EMBEDDING_UNUSABLE = 128
    """Something stood in the place of an embedding that is none."""


IMPLAUSIBLE_SHIFT = 16

NOT_LEARNED = int(Flag.TOO_OLD) | (-1 << IMPLAUSIBLE_SHIFT)
"""Flags of events that have at least one value that must not enter a window."""


def implausible_flag(metric: int) -> int:
    """The flag bit that says metric number `metric` is outside its limits."""
    return 1 << (IMPLAUSIBLE_SHIFT + metric)


def flag_names(flags: int) -> list[str]:
    """The names of the set flags, for people and the API.

    >>> flag_names(1 | 1 << 16)
    ['timestamp_missing', 'implausible_latency_ms']
    """
    names = [str(flag.name).lower() for flag in Flag if flags & flag]
    return names + [f"implausible_{metric.name}" for i, metric in enumerate(METRICS) if flags & implausible_flag(i)]


def learnable(metrics: Float64, flags: Int32) -> Float64:
    """The metrics with every value that must not enter a window replaced by NaN.

    A value outside its limits and every value of an event that is too old is stored, not learned.

    Args:
        metrics: float64[n, m].
        flags: int32[n].

    Returns:
        float64[n, m]; `metrics` itself when nothing is masked.
    """
    if not np.any(flags & NOT_LEARNED):
        return metrics
    bits = np.int32(1) << (IMPLAUSIBLE_SHIFT + np.arange(metrics.shape[1], dtype=np.int32))
    barred = (flags[:, None] & bits[None, :]) != 0
    barred |= ((flags & Flag.TOO_OLD) != 0)[:, None]
    return np.where(barred, np.nan, metrics)
