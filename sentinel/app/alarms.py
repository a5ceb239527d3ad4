"""The timer of the alarms about the daemon itself: it looks every second, and tells people what lasts or has ended."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Final

from sentinel.alerting.alarms import Alarm, Alarms, Condition, Look
from sentinel.api.context import Context
from sentinel.app.alerts import Alerts
from sentinel.config.schema import Config
from sentinel.core.errors import SentinelError
from sentinel.observability.logs import get
from sentinel.observability.metrics import Metrics

LOOK_S: Final = 1.0
RENEWALS: Final = 3
"""How often within `alerting.deduplication.window_secs` an open alarm is renewed, lest it be closed for being quiet."""
MOST_ENDED: Final = 100
"""Ended alarms that wait to be told while the state database is away; the oldest beyond it are given up."""

log = get(__name__)


class SelfWatch:
    """Looks at the daemon and tells of it: in metrics, status and logs at once, to people as soon as the outbox takes it.

    Args:
        config: `alarms`, and what names this daemon.
        context: what there is to look at.
        alerts: the way to people; None when there is nobody to tell.
        silent: what is known of canaries that should have come back.
        refused: why a source's state could not be read for refused credentials; None when it could.
    """

    def __init__(
        self,
        config: Config,
        context: Context,
        alerts: Alerts | None,
        silent: Callable[[], Sequence[str]],
        refused: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._context = context
        self._alerts = alerts
        self._silent = silent
        self._refused = refused
        self._instance = instance_of(config)
        self._alarms = Alarms(config.alarms)
        self._on: dict[Condition, Alarm] = {}
        self._ended: list[Alarm] = []
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        for condition in Condition:
            context.metrics.alarms.labels(condition.value).set(0)

    def reasons(self) -> list[str]:
        """The alarms that last, in words."""
        return [f"{alarm.condition.value}: {alarm.reason}" for alarm in self._on.values()]

    def start(self) -> None:
        """Begin to look."""
        self._tasks = [
            asyncio.create_task(self._look_for_ever(), name="alarms-look"),
            asyncio.create_task(self._tell_for_ever(), name="alarms-tell"),
        ]

    async def close(self) -> None:
        """Look no more; what was not told is told by the next process, if it lasts. Twice is harmless."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------------------------------------------------------ look

    async def _look_for_ever(self) -> None:
        while True:
            await self._context.clock.sleep(LOOK_S)
            if self._context.stopping:
                continue
            try:
                self._take_in(self._alarms.look(self._look()))
            except Exception:
                log.exception("looking at the daemon failed, will be tried again")

    def _look(self) -> Look:
        context, clock = self._context, self._context.clock
        pipeline, now_ns = context.pipeline, clock.now_ns()
        holds = pipeline.progress.holds
        refused = next((f"{part}: {hold.reason}" for part, hold in holds.items() if hold.credentials), None)
        accounts = list(pipeline.ledger.accounts.items())
        return Look(
            now_s=clock.monotonic(),
            now_ns=now_ns,
            imbalances={str(source): account.imbalance for source, account in accounts if account.imbalance},
            held={part: hold.reason for part, hold in holds.items()},
            refused=refused or self._refused(),
            faults=context.faults(),
            unsaved={str(source): reason for source, reason in pipeline.unsaved.items()},
            lag_records=_largest_lag(context.metrics),
            watermark_age_s=self._watermark_age_s(now_ns),
            silent=self._silent(),
        )

    def _watermark_age_s(self, now_ns: int) -> float | None:
        """Age of the newest event while something waits or is in work: an idle daemon is not late."""
        context = self._context
        busy = context.pipeline.in_flight_bytes or (context.ingest.queue_bytes if context.ingest else 0) or _largest_lag(context.metrics)
        newest = max((shard.watermark_ns for shard in list(context.pipeline.shards.values())), default=0)
        return (now_ns - newest) / 1e9 if busy and newest else None

    def _take_in(self, ended: Sequence[Alarm]) -> None:
        on = {alarm.condition: alarm for alarm in self._alarms.on}
        begun = [alarm for condition, alarm in on.items() if condition not in self._on]
        self._on = on
        for alarm in begun:
            log.error("alarm", condition=alarm.condition.value, reason=alarm.reason)
        for alarm in ended:
            log.info("alarm is over", condition=alarm.condition.value, reason=alarm.reason)
        for alarm in [*begun, *ended]:
            self._context.metrics.alarms.labels(alarm.condition.value).set(int(alarm.ended_ns is None))
        if begun or ended:
            self._ended = [*self._ended, *ended][-MOST_ENDED:]
            self._changed.set()

    # ------------------------------------------------------------------------------------------------------------ tell

    async def _tell_for_ever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._renew_s()):
                    await self._changed.wait()
            self._changed.clear()
            await self._tell()

    async def _tell(self) -> None:
        """Tell what is to be told; what cannot be written now is tried again with the next look."""
        ended, alarms = self._ended, [*self._ended, *self._on.values()]
        if not alarms or self._alerts is None:
            self._ended = []
            return
        try:
            await self._alerts.tell(alarms, self._instance)
        except SentinelError as error:
            log.warning("alarms cannot be written down, will be tried again", error=str(error))
            await self._context.clock.sleep(LOOK_S)
            self._changed.set()
        else:
            self._ended = [alarm for alarm in self._ended if alarm not in ended]

    def _renew_s(self) -> float:
        return self._alerts.window_s / RENEWALS if self._alerts is not None else LOOK_S


def instance_of(config: Config) -> str:
    """What this daemon is called among its replicas: its id in the Kafka group, else machine and port."""
    kafka = config.ingestion.kafka
    if kafka is not None and kafka.group_instance_id:
        return kafka.group_instance_id
    return f"{socket.gethostname()}:{config.api.bind_addr.rpartition(':')[2]}"


def _largest_lag(metrics: Metrics) -> int | None:
    """Of the partitions that are read here; None without Kafka."""
    lags = [sample.value for family in metrics.kafka_consumer_lag.collect() for sample in family.samples]
    return int(max(lags)) if lags else None
