"""Episodes to rows of the state database and back. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from sentinel.alerting.episodes import Episode, Ranked
from sentinel.alerting.sightings import Subject
from sentinel.core.alert import AlertStatus
from sentinel.core.anomaly import Anomaly
from sentinel.core.batch import SeriesKey
from sentinel.core.ids import fingerprint


def row_of(episode: Episode, now_ns: int) -> dict[str, Any]:
    """The row of an episode that changed now, by wall clock."""
    series, kind = episode.subject
    anomalies = episode.anomalies()
    return {
        "alert_id": episode.alert_id,
        "fingerprint": fingerprint(series, kind),
        "tenant": series.tenant,
        "service": series.service,
        "model": series.model,
        "type": kind,
        "metric": anomalies[0].metric,
        "status": episode.status.value,
        "severity": episode.severity,
        "started_ns": episode.started_ns,
        "last_seen_ns": episode.last_seen_ns,
        "notified_ns": episode.notified_ns,
        "ended_ns": episode.ended_ns,
        "resolve_reason": episode.resolve_reason,
        "repeat": episode.repeat,
        "count": episode.count,
        "title": episode.title(),
        "description": episode.description(),
        "strongest": msgspec.json.encode(anomalies).decode(),
        "current": episode.current,
        "created_ns": now_ns,
        "updated_ns": now_ns,
    }


def episode_of(row: Mapping[Any, Any]) -> Episode:
    """The episode of a row."""
    anomalies = msgspec.json.decode(row["strongest"], type=list[Anomaly])
    return Episode(
        alert_id=row["alert_id"],
        subject=Subject(SeriesKey(row["tenant"], row["service"], row["model"]), row["type"]),
        severity=row["severity"],
        started_ns=row["started_ns"],
        last_seen_ns=row["last_seen_ns"],
        notified_ns=row["notified_ns"],
        status=AlertStatus(row["status"]),
        ended_ns=row["ended_ns"],
        resolve_reason=row["resolve_reason"],
        repeat=row["repeat"],
        count=row["count"],
        current=row["current"],
        strongest=[Ranked(-anomaly.score, anomalies, at) for at, anomaly in enumerate(anomalies)],
    )
