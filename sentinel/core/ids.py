"""Deterministic ids: the same effect has the same id on every replay, so a repeat is harmless."""

import hashlib
from base64 import b32encode

from sentinel.core.batch import PartitionId, SeriesKey

ANOMALY_ID_VERSION = "1"


def anomaly_id(source: PartitionId, offset: int, sub: int, series: SeriesKey, metric: str, detector: str) -> str:
    """The id of the anomaly that `detector` found in `metric` of one event: 26 characters of base32.

    >>> anomaly_id(PartitionId("c", "t", 0), 7, 0, SeriesKey("default", "chat", "m"), "latency_ms", "zscore")
    '2a5uw23u5qorzhf6jclozgxaex'
    """
    # Names hold no control characters, so the separator cannot be forged.
    text = "\x1f".join(
        (ANOMALY_ID_VERSION, source.cluster, source.topic, str(source.partition), f"{offset}.{sub}", *series, metric, detector)
    )
    return b32encode(hashlib.sha256(text.encode()).digest())[:26].decode().lower()
