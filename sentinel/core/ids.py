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
    return _base32(digest)


def fingerprint(series: SeriesKey, alert_type: str) -> str:
    """What an alert is about, the same for all its episodes and in every partition.

    >>> fingerprint(SeriesKey("default", "chat", "m"), "latency_spike")
    '44bcwpruzuq6iv7rtznotj5oqr'
    """
    return _hash("fingerprint", series.tenant, series.service, series.model, alert_type)


def alert_id(of: str, onset_ns: int) -> str:
    """The id of the episode of a fingerprint that began with the event at `onset_ns`.

    >>> alert_id("a", 1)
    'rdlzylu7pzmgthmaiwyecp3yrg'
    """
    return _hash("alert", of, str(onset_ns))


def notification_id(of: str, transition: str, repeat: int, receiver: str) -> str:
    """The id of one message about an alert to one receiver.

    >>> notification_id("a", "firing", 0, "webhook")
    'v3wacmuoykwzqgbejl5puucbmd'
    """
    return _hash("notification", of, transition, str(repeat), receiver)


def _hash(*parts: str) -> str:
    return _base32(hashlib.sha256("\x1f".join(parts).encode()).digest())


def _base32(digest: bytes) -> str:
    # 130 bits, ten at a time: several times faster than the standard library's base32, which works in Python too.
    bits = int.from_bytes(digest[:17]) >> 6
    return "".join([_PAIRS[bits >> shift & 1023] for shift in _SHIFTS])
