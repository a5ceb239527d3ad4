"""The alerts that would have been: the live rules of episodes, with nobody told."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sentinel.alerting import wording
from sentinel.alerting.episodes import EXPIRED, GATHERED, Episode, Ranked, Rules, step
from sentinel.alerting.sightings import Sighting, Subject
from sentinel.core.alert import AlertStatus
from sentinel.core.anomaly import SEVERITIES, Anomaly
from sentinel.core.timestamp import nanoseconds

MOST_ALERTS: Final = 10_000
"""Alerts kept with all they say; further ones are only counted. Nobody reads more, and a few hundred bytes each are bounded."""


@dataclass(frozen=True, slots=True)
class PastAlert:
    """One alert of the past.

    Attributes:
        severity: index into SEVERITIES, the highest it had.
        started_ns, last_seen_ns: event times of its first and its last anomaly; at the first, people are told.
        count: anomalies it gathers; messages: how often each receiver is told.
        strongest: the anomaly that stands out most, and makes the words.
    """

    alert_id: str
    subject: Subject
    severity: int
    started_ns: int
    last_seen_ns: int
    count: int
    messages: int
    strongest: Anomaly

    @property
    def since_ns(self) -> int:
        """When the trouble itself began, as far as the strongest anomaly knows: before people were told."""
        since = self.strongest.since
        return self.started_ns if since is None else min(self.started_ns, nanoseconds(since))

    @property
    def title(self) -> str:
        """The alert in a line, as it is told."""
        return wording.title(SEVERITIES[self.severity], [self.strongest], gathered=self.subject.type == GATHERED)

    @property
    def description(self) -> str:
        """The alert in a sentence, as it is told."""
        gathered = self.subject.type == GATHERED
        return wording.description([self.strongest], self.count, self.started_ns, self.last_seen_ns, gathered=gathered)


class PastAlerts:
    """Gathers alerts as anomalies come, by the rules of the live intake. Memory grows with the series and with MOST_ALERTS, not with time.

    Args:
        rules: of episodes; nobody is to be told, so without routes.
        least: anomalies of a lower severity make no alert, an index into SEVERITIES.

    Attributes:
        by_severity: how many alerts there were, in the order of SEVERITIES; messages: how often a receiver was told.
        all_before_ns: event time before which every alert is kept; None when all are.
    """

    def __init__(self, rules: Rules, least: int) -> None:
        self.rules = rules
        self.least = least
        self.by_severity = [0] * len(SEVERITIES)
        self.messages = 0
        self.all_before_ns: int | None = None
        self._known: dict[Subject, Episode] = {}
        self._open: set[Subject] = set()
        self._past: list[PastAlert] = []

    @property
    def total(self) -> int:
        """All alerts, once `finished` was asked for."""
        return sum(self.by_severity)

    def see(self, seen: Sequence[Sighting], watermark_ns: int) -> None:
        """Some anomalies in log order, and how far event time has come."""
        worthy = [sighting for sighting in seen if sighting.severity >= self.least]
        if worthy:
            done = step(self.rules, self._known, len(self._open), worthy)
            for episode in done.episodes:
                self._take(episode)
        self._close(watermark_ns)

    def finished(self) -> list[PastAlert]:
        """All alerts by the time they began, those that were still going on as well. Nothing can be seen afterwards."""
        for episode in self._known.values():
            self._end(episode)
        self._known.clear()
        return sorted(self._past, key=lambda alert: (alert.started_ns, alert.alert_id))

    def _take(self, episode: Episode) -> None:
        if not episode.current:
            self._end(episode)
            self._open.discard(episode.subject)
            return
        # The anomalies are made now: what they would be made of later is a whole batch.
        anomalies = episode.anomalies()
        episode.strongest = [Ranked(ranked.rank, anomalies, at) for at, ranked in enumerate(episode.strongest)]
        self._known[episode.subject] = episode
        self._open.add(episode.subject)

    def _close(self, watermark_ns: int) -> None:
        """End what has been quiet: a limit on open alerts counts only what is open."""
        for subject in [subject for subject in self._open if watermark_ns - self._known[subject].last_seen_ns > self.rules.window_ns]:
            episode = self._known[subject]
            episode.status, episode.ended_ns, episode.resolve_reason = AlertStatus.RESOLVED, episode.last_seen_ns, EXPIRED
            self._open.discard(subject)

    def _end(self, episode: Episode) -> None:
        self.by_severity[episode.severity] += 1
        self.messages += episode.repeat + 1
        if len(self._past) < MOST_ALERTS:
            self._past.append(_past(episode))
        else:
            self.all_before_ns = min(self.all_before_ns or episode.started_ns, episode.started_ns)


def _past(episode: Episode) -> PastAlert:
    return PastAlert(
        alert_id=episode.alert_id,
        subject=episode.subject,
        severity=episode.severity,
        started_ns=episode.started_ns,
        last_seen_ns=episode.last_seen_ns,
        count=episode.count,
        messages=episode.repeat + 1,
        strongest=episode.anomalies()[0],
    )
