"""Canaries, wired: sent on a schedule into each log that is read here, and followed until they come back.

A canary takes the way of every record: the log, decoding, sanitizing, the worker, the group of deliveries that is written. There it is
taken out; once the store stands behind it, its alert waits in the outbox, and a courier brings it to a receiver in this process. Writing
it into the outbox is tried once, and beside the loop: a canary never holds up an event.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from sentinel.alerting.deliver import Couriers
from sentinel.alerting.flights import Flights
from sentinel.alerting.loopback import canary_notification, loopback_channel
from sentinel.config.sections_alarms import Canary as Section
from sentinel.core.batch import PartitionId
from sentinel.core.canary import NONCE_BYTES, Canary, canary_id, canary_record, nonce_of
from sentinel.core.errors import FullError, RetryableError
from sentinel.core.ports import Clock
from sentinel.observability.logs import get
from sentinel.observability.metrics import Metrics
from sentinel.state.canaries import CanaryOutbox
from sentinel.state.room import Limits

WAITING: Final = 1_000
"""Canaries that may wait to be written into the outbox; further ones are lost."""

log = get(__name__)


class Perch(Protocol):
    """Where canaries are let go."""

    async def open(self) -> None:
        """Get ready. Raises StartupError."""
        ...

    async def send(self, to: PartitionId, record: bytes) -> None:
        """Put a record into a log; returns when it is there, or later. Raises RetryableError or FullError."""
        ...

    async def close(self) -> None:
        """Let go. Twice is harmless."""
        ...


class Canaries:
    """Sends canaries and measures their way back. The pipeline tells it what is stored.

    Args:
        section: the configuration.
        latency_ms: a plausible one.
        key: of canary ids.
        outbox, limits: where their alerts wait, and its room; None where no alerts are made: then they have arrived once stored.
        instance: what this daemon is called.
        metrics, clock: as everywhere.
    """

    def __init__(
        self,
        section: Section,
        latency_ms: float,
        key: bytes,
        outbox: tuple[CanaryOutbox, Limits] | None,
        instance: str,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._section = section
        self._latency_ms = latency_ms
        self._key = key
        self._perch: Perch | None = None
        self._outbox = outbox
        self._metrics = metrics
        self._clock = clock
        self._flights = Flights(section.silence_secs)
        self._channel = loopback_channel(instance, self._arrived)
        # Metrics of its own, which nobody asks for: what people see of receivers is about theirs.
        self._couriers = Couriers([self._channel], outbox[0], clock, Metrics()) if outbox is not None else None
        self._back: asyncio.Queue[Canary] = asyncio.Queue(WAITING)
        self._sending: dict[PartitionId, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, perch: Perch, owned: Callable[[], Sequence[PartitionId]]) -> None:
        """Begin, from there, with the logs that are read here at each time. Raises StartupError."""
        await perch.open()
        self._perch = perch
        if self._couriers is not None and self._outbox is not None:
            await self._forget(self._outbox[0])
            await self._couriers.open()
        self._tasks = [
            asyncio.create_task(self._send_for_ever(perch, owned), name="canary-send"),
            asyncio.create_task(self._post_for_ever(), name="canary-post"),
        ]

    async def _forget(self, outbox: CanaryOutbox) -> None:
        try:
            await outbox.forget(self._channel.name)
        except RetryableError as error:
            log.warning("canaries of an earlier process stay in the outbox, and will be delivered to nobody", error=str(error))

    async def close(self) -> None:
        """End; what is under way is nobody's. Twice is harmless."""
        tasks, self._tasks = [*self._tasks, *self._sending.values()], []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._couriers is not None:
            await self._couriers.close()
        if self._perch is not None:
            await self._perch.close()

    def silent(self) -> list[str]:
        """The logs that are silent for too long, and what is known of each."""
        self._measure_silence()
        return self._flights.silent(self._clock.monotonic())

    def stored(self, canaries: Sequence[Canary]) -> None:
        """The store stands behind these. Those of others, and those that are read a second time, go no further."""
        for canary in canaries:
            if not self._flights.stored(canary.event_id):
                continue
            if self._outbox is None:
                self._arrived(canary.event_id)
            elif not self._back.full():
                self._back.put_nowait(canary)

    def _measure_silence(self) -> None:
        self._metrics.canary_silence_seconds.set(self._flights.longest_s(self._clock.monotonic()))

    # ------------------------------------------------------------------------------------------------------------ send

    async def _send_for_ever(self, perch: Perch, owned: Callable[[], Sequence[PartitionId]]) -> None:
        while True:
            logs = owned()
            self._flights.owned(logs, self._clock.monotonic())
            self._measure_silence()
            for source in logs:
                # One that is still on its way into a log is enough: the log takes nothing.
                if source not in self._sending:
                    self._sending[source] = asyncio.create_task(self._send(perch, source), name=f"canary {source}")
            await self._clock.sleep(self._section.interval_secs)

    async def _send(self, perch: Perch, source: PartitionId) -> None:
        event_id = canary_id(self._key, source, nonce_of(secrets.token_bytes(NONCE_BYTES)))
        self._flights.sent(event_id, source, self._clock.monotonic())
        try:
            await perch.send(source, canary_record(event_id, self._clock.now_ns(), self._latency_ms))
        except (RetryableError, FullError) as error:
            self._flights.unsent(event_id, str(error))
            log.warning("a canary could not be sent", partition=str(source), error=str(error))
        else:
            self._metrics.canaries.labels("sent").inc()
        finally:
            self._sending.pop(source, None)

    # ------------------------------------------------------------------------------------------------------------ back

    async def _post_for_ever(self) -> None:
        while True:
            canary = await self._back.get()
            if self._outbox is not None and self._couriers is not None:
                await self._post(*self._outbox, canary)
                self._couriers.nudge(urgent=True)

    async def _post(self, outbox: CanaryOutbox, limits: Limits, canary: Canary) -> None:
        try:
            taken = await outbox.post([canary_notification(canary, self._channel.name, self._clock.now_ns())], limits)
        except RetryableError as error:
            log.warning("a canary could not be put into the outbox", partition=str(canary.source), error=str(error))
        else:
            if not taken:
                log.warning("a canary found no room in the outbox", partition=str(canary.source))

    def _arrived(self, event_id: str) -> None:
        seconds = self._flights.arrived(event_id, self._clock.monotonic())
        if seconds is not None:
            self._metrics.canaries.labels("arrived").inc()
            self._metrics.canary_seconds.observe(seconds)
