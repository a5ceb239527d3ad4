"""Deterministic ids: the same effect has the same id on every replay, so a repeat is harmless."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from sentinel.core.batch import PartitionId, SeriesKey

ANOMALY_ID_VERSION = "1"


_ALPHABET = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", np.uint8)


def anomaly_id(source: PartitionId, offset: int, sub: int, series: SeriesKey, metric: str, detector: str) -> str:
    """The id of the anomaly that `detector` found in `metric` of one event: the first 26 characters of base32 of a sha256.

    >>> anomaly_id(PartitionId("c", "t", 0), 7, 0, SeriesKey("default", "chat", "m"), "latency_ms", "zscore")
    '2a5uw23u5qorzhf6jclozgxaex'
    """
    return anomaly_ids(source, [(offset, sub, series, metric, detector)])[0]


def anomaly_ids(source: PartitionId, found: Iterable[tuple[int, int, SeriesKey, str, str]]) -> list[str]:
    """The ids of many anomalies of one log, each as of `anomaly_id`, at half the cost.

    Args:
        source: the log.
        found: offset and sub of the event, its series, metric and detector, of each anomaly.
    """
    # Names hold no control characters, so the separator cannot be forged.
    head = f"{ANOMALY_ID_VERSION}\x1f{source.cluster}\x1f{source.topic}\x1f{source.partition}\x1f"
    digests = [
        hashlib.sha256(f"{head}{offset}.{sub}\x1f{tenant}\x1f{service}\x1f{model}\x1f{metric}\x1f{detector}".encode()).digest()
        for offset, sub, (tenant, service, model), metric, detector in found
    ]
    return _base32_of(digests)


def tick_anomaly_id(source: PartitionId, tick: int, series: SeriesKey, metric: str, detector: str) -> str:
    """The id of what `detector` found in `metric` of a series when a tick closed.

    Args:
        source: the log.
        tick: the tick's first nanosecond since the epoch.
        series: where.
        metric: what was judged, by name.
        detector: who found it, by name.

    >>> tick_anomaly_id(PartitionId("c", "t", 0), 30_000_000_000, SeriesKey("default", "chat", "m"), "error_rate", "rate")
    'vnu3pxkxwlmgrirajjgyyubwty'
    """
    log = source.cluster, source.topic, str(source.partition)
    return _hash(ANOMALY_ID_VERSION, *log, f"tick {tick}", *series, metric, detector)


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
    return _base32_of([hashlib.sha256("\x1f".join(parts).encode()).digest()])[0]


def _base32_of(digests: Sequence[bytes]) -> list[str]:
    """The first 26 characters of base32, in lower case, of each of some sha256 digests."""
    bits = np.unpackbits(np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)[:, :17], axis=1)[:, :130]
    letters = _ALPHABET[np.packbits(bits.reshape(-1, 5), axis=1).ravel() >> 3].tobytes().decode()
    return [letters[at : at + 26] for at in range(0, len(letters), 26)]
