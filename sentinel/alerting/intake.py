"""Where alert-worthy anomalies become alerts: one transaction for episodes, outgoing notifications and progress.

A replay changes nothing: what lies below a log's progress is left out, and so is everything of an assignment older than the last one this
process has written for. Epochs are numbers of one process, so they are compared only within one; between processes the position alone
decides. That is enough: anomalies are a function of the log, so whoever applies an offset first applies the same ones.
"""

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from sentinel.alerting.episode_rows import episode_of, row_of
from sentinel.alerting.episodes import Episode, Route, Rules, Step, gathering, step
from sentinel.alerting.sightings import SEVERITY_INDEX, Sighting, Subject, sightings
from sentinel.config.sections_alerting import Alerting, Deduplication
from sentinel.core.alert import AlertWrite, Notification
from sentinel.core.anomaly import SEVERITIES
from sentinel.core.batch import PartitionId
from sentinel.core.errors import SentinelError
from sentinel.core.ids import fingerprint
from sentinel.core.ports import Clock
from sentinel.observability.logs import get
from sentinel.observability.metrics import Metrics
from sentinel.state import alert_rows, outbox, progress, room
from sentinel.state.database import StateDatabase
from sentinel.state.progress import Progress
from sentinel.state.retention import Keeping, tidy

_SECOND_NS = 1_000_000_000
_HOUR_NS = 3_600 * _SECOND_NS

log = get(__name__)


@dataclass(frozen=True, slots=True)
class Applied:
    """What a write has changed: the episodes' step, and how many notifications had to make room for it."""

    step: Step
    dropped: int


class AlertIntake:
    """The `Sink` of alert-worthy anomalies. Written before the store: what the store has, people are told of.

    Args:
        database: open before `open` and until after `close`.
        section: the alerting configuration.
        receivers: who is told, each with the least severe alert it wants.
        metrics: counts what became of anomalies, once it is durable.
        clock: wall clock of rows and notifications, and the timer of `tidy`.
        owner: this process, different from every other one's.
    """

    def __init__(
        self, database: StateDatabase, section: Alerting, receivers: Sequence[tuple[str, str]], metrics: Metrics, clock: Clock, owner: str
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._clock = clock
        self._owner = owner
        self._timer: asyncio.Task[None] | None = None
        self.configure(section, receivers)

    def configure(self, section: Alerting, receivers: Sequence[tuple[str, str]]) -> None:
        """Go by this from the next write on."""
        repeats = section.deduplication or Deduplication()
        self._rules = rules_of(section, receivers)
        self._keeping = Keeping(
            quiet_ns=self._rules.window_ns,
            history_ns=int(section.history_days * 24 * _HOUR_NS),
            history_rows=section.history_rows,
            outbox=room.Limits(section.outbox.max_bytes, int(section.outbox.max_age_hours * _HOUR_NS)),
        )
        self._tidy_every_s = repeats.cleanup_interval_secs

    async def open(self) -> None:
        """Begin to tidy up, every `alerting.deduplication.cleanup_interval_secs`."""
        self._timer = asyncio.create_task(self._tidy_for_ever(), name="alerts-tidy")

    async def write(self, items: Sequence[AlertWrite]) -> None:
        """Make alerts of anomalies: when it returns, episodes and notifications are durable. Writing the same again changes nothing.

        Raises:
            RetryableError: nothing was changed; the database failed, or the outbox is full of critical alerts.
            PermanentError: nothing was changed; the database cannot hold these rows.
        """
        now_ns = self._clock.now_ns()
        applied = await self._database.run(
            lambda connection: apply(connection, items, self._rules, self._keeping.outbox, self._owner, now_ns)
        )
        self._count(applied)

    async def rewind(self, source: PartitionId, offset: int) -> None:
        """From this offset on a log holds other records than before. Raises RetryableError.

        Anomalies that were told and come again are told with the same ids.
        """
        await self._database.run(lambda connection: progress.rewind(connection, source, offset))

    async def tidy(self) -> None:
        """Close what was quiet, drop what is too old to be delivered, delete old history. Raises RetryableError."""
        now_ns, receivers = self._clock.now_ns(), [route.receiver for route in self._rules.routes]
        dropped = await self._database.run(lambda connection: tidy(connection, self._keeping, receivers, now_ns))
        self._metrics.alerts_open.set(await self._database.read(alert_rows.open_count))
        self._dropped(dropped, "old")

    async def close(self) -> None:
        """Stop tidying up. Twice is harmless."""
        if self._timer is not None:
            self._timer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._timer
            self._timer = None

    async def _tidy_for_ever(self) -> None:
        while True:
            await self._clock.sleep(self._tidy_every_s)
            try:
                await self.tidy()
            except SentinelError as error:
                log.warning("alerts could not be tidied up, will be tried again", error=str(error))

    def _count(self, applied: Applied) -> None:
        for severity in applied.step.opened:
            self._metrics.alerts_opened.labels(SEVERITIES[severity]).inc()
        self._metrics.alerts_deduplicated.inc(applied.step.counted)
        self._metrics.alerts_gathered.inc(applied.step.gathered)
        self._metrics.alerts_open.set(applied.step.open_count)
        self._dropped(applied.dropped, "full")

    def _dropped(self, count: int, kind: str) -> None:
        if count:
            self._metrics.outbox_dropped.labels(kind).inc(count)
            log.warning("notifications dropped from the outbox; their alerts are kept", count=count, kind=kind)


def rules_of(section: Alerting, receivers: Sequence[tuple[str, str]]) -> Rules:
    """The rules of a configuration."""
    repeats = section.deduplication or Deduplication()
    return Rules(
        window_ns=int(repeats.window_secs * _SECOND_NS),
        deduplicate=repeats.enabled,
        max_open=section.max_open_alerts,
        routes=tuple(Route(name, SEVERITY_INDEX[severity]) for name, severity in receivers),
        external_url=section.external_url,
    )


def apply(connection: Connection, items: Sequence[AlertWrite], rules: Rules, limits: room.Limits, owner: str, now_ns: int) -> Applied:
    """One write, in the transaction of this connection."""
    alert_rows.alone(connection)
    seen, moved = _fresh(connection, items, owner)
    known = _known(connection, {sighting.subject for sighting in seen})
    done = step(rules, known, alert_rows.open_count(connection), seen)
    alert_rows.save(connection, [row_of(episode, now_ns) for episode in done.episodes])
    messages = [
        Notification(id=told.alert.notification_id, receiver=told.receiver, alert=told.alert, created_ns=now_ns) for told in done.told
    ]
    outbox.put(connection, messages)
    dropped = room.within_bytes(connection, limits, now_ns) if messages else 0
    progress.save(connection, moved, now_ns)
    return Applied(done, dropped)


def _fresh(connection: Connection, items: Sequence[AlertWrite], owner: str) -> tuple[list[Sighting], dict[PartitionId, Progress]]:
    """What was not applied before, and the progress of the logs afterwards."""
    seen: list[Sighting] = []
    moved: dict[PartitionId, Progress] = {}
    for item in items:
        before = moved.get(item.source) or progress.load(connection, item.source)
        if before is None:
            before = Progress(owner, item.epoch, 0)
        if before.owner == owner and item.epoch < before.epoch:
            continue
        seen += [sighting for sighting in sightings(item.anomalies) if sighting.offset >= before.next_offset]
        moved[item.source] = Progress(owner, item.epoch, max(before.next_offset, item.next_offset))
    return seen, moved


def _known(connection: Connection, subjects: Collection[Subject]) -> dict[Subject, Episode]:
    """The newest episode of each subject, and of what takes over when there are too many."""
    asked = {*subjects, *(gathering(subject.series.tenant) for subject in subjects)}
    rows = alert_rows.current(connection, sorted(fingerprint(*subject) for subject in asked))
    return {episode.subject: episode for episode in map(episode_of, rows)}
