"""Alerts, wired: the intake that makes them, the outbox where they wait, the couriers that deliver them."""

import secrets
from collections.abc import Sequence

from sentinel.alerting.alarm_alerts import Sender, tell
from sentinel.alerting.alarms import Alarm
from sentinel.alerting.channel import Channel, ChannelStatus
from sentinel.alerting.deliver import Couriers, channels
from sentinel.alerting.intake import AlertIntake, rules_of
from sentinel.alerting.sightings import sightings
from sentinel.config.schema import Alerting, Config, Deduplication
from sentinel.core.alert import AlertWrite, Worth
from sentinel.core.anomaly import SEVERITIES, Severity
from sentinel.core.batch import PartitionId
from sentinel.core.ports import Clock
from sentinel.observability.metrics import Metrics
from sentinel.state import room
from sentinel.state.canaries import CanaryOutbox
from sentinel.state.database import StateDatabase
from sentinel.state.outbox import StateOutbox

_CRITICAL = SEVERITIES.index(Severity.CRITICAL)


def wanted(section: Alerting) -> bool:
    """Whether alerts are made at all."""
    if section.enabled is not None:
        return section.enabled
    return section.rabbitmq is not None or (section.webhook is not None and section.webhook.enabled)


class Alerts:
    """The `AlertSink` of the pipeline, with everything behind it.

    Args:
        config: checked by the caller.
        database: opened before, closed after.
        clock, metrics: as everywhere.
    """

    def __init__(self, config: Config, database: StateDatabase, clock: Clock, metrics: Metrics) -> None:
        section, owner = config.alerting, secrets.token_hex(8)
        self._section = section
        self._database, self._clock, self._metrics, self._owner = database, clock, metrics, owner
        self._channels = channels(section.rabbitmq, section.webhook, section.batching, clock, metrics)
        self._outbox = StateOutbox(database, section.outbox, clock, owner)
        self._intake = AlertIntake(database, section, _receivers(section, self._channels), metrics, clock, owner)
        self._couriers = Couriers(self._channels, self._outbox, clock, metrics)
        self._is_open = False

    @property
    def worth(self) -> Worth:
        """Which anomalies become alerts."""
        return Worth(self._section.min_severity, self._section.event_anomalies, self._section.costly_event_usd)

    def configure(self, section: Alerting) -> None:
        """Go by other severities, windows and limits from the next write on; the receivers stay."""
        self._section = section
        self._intake.configure(section, _receivers(section, self._channels))

    async def open(self) -> None:
        """Begin to deliver what waits. No receiver need be up. Raises StartupError with place and cure."""
        await self._outbox.open()
        self._is_open = True
        await self._intake.open()
        await self._couriers.open()

    async def write(self, items: Sequence[AlertWrite]) -> None:
        """Make alerts of anomalies, and wake the couriers. Raises RetryableError or PermanentError; nothing was changed then."""
        await self._intake.write(items)
        self._couriers.nudge(urgent=any(seen.severity == _CRITICAL for item in items for seen in sightings(item.anomalies)))

    async def rewind(self, source: PartitionId, offset: int) -> None:
        """From this offset on a log holds other records than before. Raises RetryableError."""
        await self._intake.rewind(source, offset)

    @property
    def window_s(self) -> float:
        """How long an alert may be quiet before it is closed, in seconds."""
        return (self._section.deduplication or Deduplication()).window_secs

    async def tell(self, alarms: Sequence[Alarm], instance: str) -> None:
        """Tell people of the daemon itself. Telling the same again changes nothing. Raises RetryableError or PermanentError."""
        sender = Sender(instance, rules_of(self._section, _receivers(self._section, self._channels)), self._limits)
        now_ns = self._clock.now_ns()
        dropped = await self._database.run(lambda connection: tell(connection, alarms, sender, now_ns))
        if dropped:
            self._metrics.outbox_dropped.labels("full").inc(dropped)
        self._couriers.nudge(urgent=True)

    def canary_outbox(self) -> tuple[CanaryOutbox, room.Limits]:
        """The outbox as canaries see it, and its room."""
        return CanaryOutbox(self._database, self._section.outbox, self._clock, self._owner), self._limits

    @property
    def _limits(self) -> room.Limits:
        outbox = self._section.outbox
        return room.Limits(outbox.max_bytes, int(outbox.max_age_hours * 3_600e9))

    def status(self) -> list[ChannelStatus]:
        """How each receiver does."""
        return self._couriers.status()

    async def close(self) -> None:
        """Finish what is under way; the rest waits in the outbox. Twice is harmless."""
        await self._couriers.close()
        await self._intake.close()
        if self._is_open:  # else the database may not be open either, and nothing was taken out
            self._is_open = False
            await self._outbox.close()


def _receivers(section: Alerting, found: Sequence[Channel]) -> list[tuple[str, str]]:
    """Who is told, each with the least severe alert it wants."""
    wishes = {"rabbitmq": section.rabbitmq, "webhook": section.webhook}
    return [(channel.name, wish.min_severity) for channel in found if (wish := wishes[channel.name]) is not None]
