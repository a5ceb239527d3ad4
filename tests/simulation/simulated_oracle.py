"""What must come of a log, in plain Python: no batches, no numpy, no code of the product.

Reads the records one after the other, as anybody would who has read the documentation: what is stored, what becomes a dead letter, which
anomalies are found, who is told of what. The simulation holds the product to this, and so do the tests that kill real processes.
"""

import base64
import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

WINDOW = 40
LEAST = 10
THRESHOLD = 3.0
RESOLUTION_MS = 1.0
LARGEST_MS = 300_000.0
SMALLEST_MS = 0.1
QUIET_NS = 20 * 1_000_000_000
RECEIVER = "webhook"
SEVERITIES = ("info", "warning", "critical")


def short_hash(*parts: str) -> str:
    """26 characters that stand for these words."""
    return base64.b32encode(hashlib.sha256("\x1f".join(parts).encode()).digest()).decode().lower()[:26]


def nanoseconds(timestamp: str) -> int:
    """Of a time with a fraction of a second in UTC."""
    whole, _, fraction = timestamp.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(whole + "+00:00").timestamp()) * 1_000_000_000 + int(fraction.ljust(9, "0"))


@dataclass
class Episode:
    """An alert, as people see it."""

    alert_id: str
    severity: int
    last_seen_ns: int
    notified_ns: int
    count: int = 1
    repeat: int = 0


@dataclass
class Expected:
    """What must come of one partition.

    Attributes:
        rows: by offset, what is stored: event id, service, latency.
        letters: by offset, the code of the dead letter.
        duplicates: offsets of repeats.
        anomalies: by id, offset and detector.
        notifications: ids of messages.
        alerts: by id, how many anomalies it counts and its severity.
    """

    rows: dict[int, tuple[str | None, str, float]] = field(default_factory=dict)
    letters: dict[int, str] = field(default_factory=dict)
    duplicates: set[int] = field(default_factory=set)
    anomalies: dict[str, tuple[int, str]] = field(default_factory=dict)
    notifications: set[str] = field(default_factory=set)
    alerts: dict[str, tuple[int, int]] = field(default_factory=dict)


class Partition:
    """One partition, read from its first record to its last; `receiver` is told of alerts."""

    def __init__(self, cluster: str, topic: str, partition: int, receiver: str = RECEIVER) -> None:
        self.log = (cluster, topic, str(partition))
        self.receiver = receiver
        self.found = Expected()
        self.seen: set[str] = set()
        self.windows: dict[tuple[str, str], list[float]] = {}
        self.episodes: dict[tuple[str, str, str, str], Episode] = {}

    def read(self, records: Iterable[tuple[int, bytes | None]]) -> Expected:
        """All records, by offset."""
        for offset, record in records:
            code, event = self.decoded(record)
            if code is not None:
                self.found.letters[offset] = code
            elif event.get("event_id") in self.seen:
                self.found.duplicates.add(offset)
            else:
                self.store(offset, event)
        return self.found

    def decoded(self, record: bytes | None) -> tuple[str | None, dict[str, Any]]:
        """Why a record cannot be an event, or the event."""
        if record is None:
            return "tombstone", {}
        try:
            event = json.loads(record)
        except ValueError:
            return "malformed_json", {}
        if not isinstance(event, dict):
            return "not_an_object", {}
        if "service_name" not in event:
            return "missing_field", {}
        if not isinstance(event["latency_ms"], int | float):
            return "wrong_type", {}
        return None, event

    def store(self, offset: int, event: dict[str, Any]) -> None:
        """An event that is new."""
        if event.get("event_id") is not None:
            self.seen.add(event["event_id"])
        service, latency = event["service_name"], float(event["latency_ms"])
        self.found.rows[offset] = (event.get("event_id"), service, latency)
        if latency > LARGEST_MS:
            self.anomaly(offset, event, "threshold", latency / LARGEST_MS)
        elif latency < SMALLEST_MS:
            self.anomaly(offset, event, "threshold", SMALLEST_MS / latency)
        else:
            self.judge(offset, event, latency)

    def judge(self, offset: int, event: dict[str, Any], latency: float) -> None:
        """Compare with what came before, then learn."""
        window = self.windows.setdefault((event["service_name"], event["model_name"]), [])
        if len(window) >= LEAST:
            mean = math.fsum(window) / len(window)
            sd = math.sqrt(math.fsum((sample - mean) ** 2 for sample in window) / (len(window) - 1))
            distance = abs(latency - mean) / max(sd, RESOLUTION_MS)
            if distance > THRESHOLD:
                self.anomaly(offset, event, "zscore", distance / THRESHOLD)
        window.append(latency)
        del window[:-WINDOW]

    def anomaly(self, offset: int, event: dict[str, Any], detector: str, score: float) -> None:
        """Something was found in an event."""
        series = ("default", event["service_name"], event["model_name"])
        self.found.anomalies[short_hash("1", *self.log, f"{offset}.0", *series, "latency_ms", detector)] = (offset, detector)
        severity = 2 if score >= 3.0 else 1 if score >= 1.5 else 0
        if severity:
            kind = "implausible_value" if detector == "threshold" else "latency_spike"
            self.alert(series, kind, severity, nanoseconds(event["timestamp"]))

    def alert(self, series: tuple[str, str, str], kind: str, severity: int, at_ns: int) -> None:
        """Something people may have to know."""
        episode = self.episodes.get((*series, kind))
        if episode is None or at_ns - episode.last_seen_ns > QUIET_NS:
            name = short_hash("alert", short_hash("fingerprint", *series, kind), str(at_ns))
            episode = self.episodes[*series, kind] = Episode(name, severity, at_ns, at_ns)
            self.tell(episode)
        else:
            episode.count += 1
            again = severity > episode.severity or at_ns - episode.notified_ns > QUIET_NS
            episode.severity = max(episode.severity, severity)
            episode.last_seen_ns = max(episode.last_seen_ns, at_ns)
            if again:
                episode.repeat += 1
                episode.notified_ns = max(episode.notified_ns, at_ns)
                self.tell(episode)
        self.found.alerts[episode.alert_id] = (episode.count, episode.severity)

    def tell(self, episode: Episode) -> None:
        """One message."""
        self.found.notifications.add(short_hash("notification", episode.alert_id, "firing", str(episode.repeat), self.receiver))
