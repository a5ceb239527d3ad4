"""Deterministic ids: the same effect has the same id on every replay, so a repeat is harmless."""

import hashlib

from sentinel.core.batch import PartitionId, SeriesKey

ANOMALY_ID_VERSION = "1"


_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_SHIFTS = range(120, -1, -10)


def anomaly_id(source: PartitionId, offset: int, sub: int, series: SeriesKey, metric: str, detector: str) -> str:
    """The id of the anomaly that `detector` found in `metric` of one event: the first 26 characters of base32 of a sha256.

    >>> anomaly_id(PartitionId("c", "t", 0), 7, 0, SeriesKey("default", "chat", "m"), "latency_ms", "zscore")
    '2a5uw23u5qorzhf6jclozgxaex'
    """
    # Names hold no control characters, so the separator cannot be forged.
    text = f"{ANOMALY_ID_VERSION}\x1f{source.cluster}\x1f{source.topic}\x1f{source.partition}\x1f{offset}.{sub}\x1f"
    digest = hashlib.sha256(f"{text}{series.tenant}\x1f{series.service}\x1f{series.model}\x1f{metric}\x1f{detector}".encode()).digest()
    # 130 bits, ten at a time: several times faster than the standard library's base32, which works in Python too.
    bits = int.from_bytes(digest[:17]) >> 6
    return "".join([_PAIRS[bits >> shift & 1023] for shift in _SHIFTS])
