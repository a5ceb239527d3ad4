"""Episodes: when anomalies of one type in one series begin to be an alert, go on, are told again, and end. Pure.

An episode begins with the first anomaly of its subject and goes on as long as no two of them, in order of event time, lie further apart
than the window. People are told when it begins, when its severity rises, and again when the last telling is longer ago than the window
and it still goes on; all other anomalies are only counted.

Time is event time, so a replay and a backlog give the same alerts as the live stream. An anomaly that is not newer than the newest one
of its episode is counted there, however old it is: it never begins or ends an episode, and tells people only by raising the severity.

Whether a quiet episode has been closed meanwhile makes no difference: the next anomaly within the window continues it.

The result depends on the order of the anomalies, and not on how they were cut into writes.
"""

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from msgspec import structs

from sentinel.alerting import wording
from sentinel.alerting.sightings import Sighting, Subject
from sentinel.core.alert import Alert, AlertStatus
from sentinel.core.anomaly import SEVERITIES, Anomaly
from sentinel.core.batch import OVERFLOW
from sentinel.core.ids import alert_id, fingerprint, notification_id
from sentinel.core.timestamp import rfc3339

STRONGEST: Final = 5
"""Anomalies an alert shows."""
GATHERED: Final = "alert_overflow"
"""Type of the alert that stands for all that were too many."""
EXPIRED: Final = "expired"
"""Reason of an end that nobody decided: it was quiet."""
FIRING: Final = "firing"
"""The transition that begins an episode, or tells of it again."""


class Route(NamedTuple):
    """A receiver and the least severe alert it wants, as an index into SEVERITIES."""

    receiver: str
    min_severity: int


@dataclass(frozen=True, slots=True)
class Rules:
    """What the step goes by.

    Attributes:
        window_ns: how long repeats are only counted, and how long an episode may be quiet, in event time.
        deduplicate: false tells of every anomaly.
        max_open: episodes open at the same time; further ones of a tenant are gathered in one.
        routes: who is told of what.
        external_url: where people reach the daemon, None for alerts without links.
    """

    window_ns: int
    deduplicate: bool
    max_open: int
    routes: tuple[Route, ...]
    external_url: str | None = None


class Ranked(NamedTuple):
    """One of an episode's strongest anomalies: where it is, and its rank (strongest first, the earlier first among equals)."""

    rank: float
    origin: Sequence[Anomaly]
    at: int


@dataclass(slots=True)
class Episode:
    """One episode. Times are event times; `severity` is the highest so far, `repeat` the number of the last telling, from 0.

    Attributes:
        current: the newest of its subject.
        notified_ns: event time up to which people were told; never more than a window before `last_seen_ns`.
    """

    alert_id: str
    subject: Subject
    severity: int
    started_ns: int
    last_seen_ns: int
    notified_ns: int
    status: AlertStatus = AlertStatus.FIRING
    ended_ns: int | None = None
    resolve_reason: str | None = None
    repeat: int = 0
    count: int = 1
    current: bool = True
    strongest: list[Ranked] = field(default_factory=list)

    @property
    def gathered(self) -> bool:
        """Whether it stands for many series."""
        return self.subject.type == GATHERED

    def anomalies(self) -> list[Anomaly]:
        """The strongest few, strongest first."""
        return [ranked.origin[ranked.at] for ranked in self.strongest]

    def title(self) -> str:
        """One line for people."""
        return wording.title(SEVERITIES[self.severity], self.anomalies(), gathered=self.gathered)

    def description(self) -> str:
        """One sentence for people."""
        return wording.description(self.anomalies(), self.count, self.started_ns, self.last_seen_ns, gathered=self.gathered)

    def rank(self, sighting: Sighting) -> None:
        """Keep the anomaly if it is one of the strongest."""
        if len(self.strongest) < STRONGEST or -sighting.score < self.strongest[-1].rank:
            insort(self.strongest, Ranked(-sighting.score, sighting.origin, sighting.at), key=lambda ranked: ranked.rank)
            del self.strongest[STRONGEST:]


@dataclass(frozen=True, slots=True)
class Told:
    """One message: what a receiver is to be told."""

    receiver: str
    alert: Alert


@dataclass(frozen=True, slots=True)
class Step:
    """What anomalies have changed.

    Attributes:
        episodes: those that changed, as they are now; those that are not `current` any more come first.
        told: messages, in the order they came about.
        opened: severities the new episodes began with.
        counted: anomalies nobody was told of, because people know already.
        gathered: anomalies that went to an alert for all that were too many.
        open_count: episodes that are open now.
    """

    episodes: list[Episode]
    told: list[Told]
    opened: list[int]
    counted: int
    gathered: int
    open_count: int


def gathering(tenant: str) -> Subject:
    """The subject of the alert that takes what is too much of a tenant."""
    return Subject(OVERFLOW._replace(tenant=tenant), GATHERED)


def step(rules: Rules, known: Mapping[Subject, Episode], open_count: int, seen: Iterable[Sighting]) -> Step:
    """Apply anomalies, in order.

    Args:
        rules: what to go by.
        known: the newest episode of every subject that is seen, and of the `gathering` of every tenant; they are not changed.
        open_count: episodes that are open now, over all subjects.
        seen: alert-worthy anomalies.

    Cost: some 3 us an anomaly, besides what is told.
    """
    fold = _Fold(rules, known, open_count)
    for sighting in seen:
        fold.see(sighting)
    return Step([*fold.ended, *fold.touched.values()], fold.told, fold.opened, fold.counted, fold.gathered, fold.open_count)


class _Fold:
    """The step while it runs: episodes are copied when they are first touched, and changed from then on."""

    def __init__(self, rules: Rules, known: Mapping[Subject, Episode], open_count: int) -> None:
        self._rules = rules
        self._known = known
        self.open_count = open_count
        self.touched: dict[Subject, Episode] = {}
        self.ended: list[Episode] = []
        self.told: list[Told] = []
        self.opened: list[int] = []
        self.counted = 0
        self.gathered = 0

    def see(self, sighting: Sighting) -> None:
        """One anomaly."""
        subject = self._place(sighting.subject)
        episode = self._newest(subject)
        if episode is not None and sighting.ts_ns - episode.last_seen_ns <= self._rules.window_ns:
            self._go_on(episode, sighting)
        else:
            if episode is not None:
                self._end(episode)
            self._begin(subject, sighting)

    def _newest(self, subject: Subject) -> Episode | None:
        """The newest episode of a subject, ours to change."""
        episode = self.touched.get(subject)
        if episode is None and subject in self._known:
            known = self._known[subject]
            episode = self.touched[subject] = replace(known, strongest=list(known.strongest))
        return episode

    def _place(self, subject: Subject) -> Subject:
        """The subject itself while there is room for its episode, else that of its tenant's gathering."""
        if self.open_count < self._rules.max_open:
            return subject
        episode = self.touched.get(subject) or self._known.get(subject)
        if episode is not None and episode.ended_ns is None:
            return subject
        self.gathered += 1
        return gathering(subject.series.tenant)

    def _begin(self, subject: Subject, sighting: Sighting) -> None:
        at = sighting.ts_ns
        episode = Episode(alert_id(fingerprint(*subject), at), subject, sighting.severity, at, at, at)
        episode.rank(sighting)
        self.touched[subject] = episode
        self.open_count += 1
        self.opened.append(episode.severity)
        self._tell(episode)

    def _go_on(self, episode: Episode, sighting: Sighting) -> None:
        if episode.ended_ns is not None:
            episode.status, episode.ended_ns, episode.resolve_reason = AlertStatus.FIRING, None, None
            self.open_count += 1
        rose = sighting.severity > episode.severity
        again = rose or not self._rules.deduplicate or sighting.ts_ns - episode.notified_ns > self._rules.window_ns
        episode.count += 1
        episode.severity = max(episode.severity, sighting.severity)
        episode.last_seen_ns = max(episode.last_seen_ns, sighting.ts_ns)
        episode.rank(sighting)
        if again:
            episode.repeat += 1
            episode.notified_ns = max(episode.notified_ns, sighting.ts_ns)
            self._tell(episode)
        else:
            self.counted += 1

    def _end(self, episode: Episode) -> None:
        """A newer one takes its place."""
        episode.current = False
        if episode.ended_ns is None:
            episode.status, episode.ended_ns, episode.resolve_reason = AlertStatus.RESOLVED, episode.last_seen_ns, EXPIRED
            self.open_count -= 1
        self.ended.append(episode)

    def _tell(self, episode: Episode) -> None:
        """One message for everybody who wants this severity."""
        receivers = [route.receiver for route in self._rules.routes if episode.severity >= route.min_severity]
        if receivers:
            alert = alert_of(episode, self._rules.external_url)
            for name in receivers:
                message = notification_id(episode.alert_id, FIRING, episode.repeat, name)
                self.told.append(Told(name, structs.replace(alert, notification_id=message)))


def alert_of(episode: Episode, external_url: str | None) -> Alert:
    """The alert as it is now, without the id of a message."""
    anomalies = episode.anomalies()
    series, metric = episode.subject.series, anomalies[0].metric
    return Alert(
        notification_id="",
        alert_id=episode.alert_id,
        fingerprint=fingerprint(*episode.subject),
        status=episode.status,
        severity=SEVERITIES[episode.severity],
        title=episode.title(),
        description=episode.description(),
        service=series.service,
        model=series.model,
        type=episode.subject.type,
        metric=metric,
        started_at=rfc3339(episode.started_ns),
        ended_at=None if episode.ended_ns is None else rfc3339(episode.ended_ns),
        resolve_reason=episode.resolve_reason,
        anomalies=anomalies,
        count=episode.count,
        labels={"service": series.service, "model": series.model, "type": episode.subject.type, "metric": metric, "tenant": series.tenant},
        links=links(external_url, episode.alert_id),
        tenant=series.tenant,
    )


def links(external_url: str | None, alert: str) -> dict[str, str]:
    """Where people find more about an alert; ids need no escaping.

    >>> links("https://sentinel.example/", "abc")["dashboard"]
    'https://sentinel.example/?alert=abc'
    """
    if external_url is None:
        return {}
    base = external_url.rstrip("/")
    return {"dashboard": f"{base}/?alert={alert}", "api": f"{base}/api/v1/alerts/{alert}"}
