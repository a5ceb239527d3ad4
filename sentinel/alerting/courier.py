"""A courier takes what is due for one receiver out of the outbox to it, and records what became of it."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from sentinel.alerting.breaker import Breaker, Circuit
from sentinel.alerting.channel import Channel, ChannelStatus
from sentinel.alerting.errors import GoneError, RefusedError
from sentinel.alerting.parcels import Lane, Parcel, lanes
from sentinel.alerting.report import Report
from sentinel.core.alert import Notification
from sentinel.core.anomaly import SEVERITIES, Severity
from sentinel.core.errors import PermanentError, RetryableError
from sentinel.core.ports import Clock, Outbox
from sentinel.observability.logs import frames, get
from sentinel.observability.metrics import Metrics

POLL_S: Final = 5.0
"""How often the outbox is asked when nobody says that it holds something new: another replica may have put it there."""
FIRST_RETRY_S: Final = 0.1
LAST_RETRY_S: Final = 10.0
"""Delays while the outbox itself fails."""
QUEUED: Final = "waits for what is to be said of the same alert before it"

log = get(__name__)


class Courier:
    """Sends what is due for one receiver, the most severe first, until it is told to stop.

    It is recorded as sent only after the receiver confirmed. A failure is recorded with the time it is due again, so a restart forgets
    nothing. What is said of an alert at one severity never overtakes what was said of it before; a higher one may. While the breaker is
    open nothing is taken out.

    Args:
        channel: the receiver; it is open.
        outbox: where notifications wait.
        clock: of waits and records.
        metrics: where outcomes are counted.
        chance: numbers from 0 to 1, evenly distributed, for jitter.
    """

    def __init__(
        self, channel: Channel, outbox: Outbox, clock: Clock, metrics: Metrics, chance: Callable[[], float] = random.random
    ) -> None:
        self._channel = channel
        self._outbox = outbox
        self._clock = clock
        self._chance = chance
        self._breaker = Breaker()
        self._report = Report(channel, metrics)
        self._held: dict[tuple[str, Severity], int] = {}  # alert id and severity -> when what is still to be said of it is due again
        self._nudged = asyncio.Event()
        self._urgent = asyncio.Event()
        self._stopping = asyncio.Event()

    def nudge(self, *, urgent: bool = False) -> None:
        """Something new is in the outbox; `urgent`: do not wait for others to share its message."""
        self._nudged.set()
        if urgent:
            self._urgent.set()

    def stop(self) -> None:
        """Finish what is under way and take out nothing more; `run` then returns."""
        self._stopping.set()

    def status(self) -> ChannelStatus:
        """How the receiver does."""
        return replace(self._report.status, circuit=self._circuit())

    async def run(self) -> None:
        """Deliver until told to stop, or until the receiver is gone."""
        delay_s = FIRST_RETRY_S
        while not self._stopping.is_set() and self._report.status.state != "gone":
            try:
                await self._step()
            except RetryableError as error:
                log.warning("the outbox does not answer", receiver=self._channel.name, error=str(error), wait_s=delay_s)
                await self._pause(delay_s)
                delay_s = min(delay_s * 2, LAST_RETRY_S)
            except Exception as error:  # noqa: BLE001  alerts must go out after a fault of ours, too
                self._tell("a courier failed; it goes on", error)
                await self._pause(LAST_RETRY_S)
            else:
                delay_s = FIRST_RETRY_S

    async def _step(self) -> None:
        """Send what is due, or wait until something is."""
        wait_s = self._breaker.wait_s(self._clock.monotonic())
        if wait_s > 0:
            await self._pause(wait_s)
            return
        # Cleared before the look into the outbox: what is put there meanwhile rings again.
        self._nudged.clear()
        self._urgent.clear()
        circuit = self._circuit()
        self._report.circuit(circuit)
        limit = 1 if circuit is Circuit.HALF_OPEN else max(self._channel.in_flight, self._channel.together)
        due = await self._outbox.due(self._channel.name, self._clock.now_ns(), limit)
        if due:
            async with asyncio.TaskGroup() as group:
                for lane in lanes(due, self._channel.together, self._channel.schedule.attempts):
                    group.create_task(self._send_in_order(lane))
            self._report.circuit(self._circuit())
        else:
            await self._rest()

    # ----------------------------------------------------------------------------------------------------------------- sending

    async def _send_in_order(self, lane: Lane) -> None:
        for parcel in lane:
            if self._report.status.state == "gone":
                return
            now_ns = self._clock.now_ns()
            ready = []
            for notification in parcel:
                again_ns = self._held_until_ns(notification)
                if again_ns > now_ns:
                    await self._defer([notification], again_ns, QUEUED)
                else:
                    ready.append(notification)
            if ready:
                await self._deliver(ready)

    async def _deliver(self, parcel: Parcel) -> None:
        """One attempt, and the record of it."""
        try:
            await self._send(parcel)
        except GoneError as error:
            self._report.gone(str(error), self._clock.now_ns())
            await self._put_back(parcel, error, slow=True)
        except PermanentError as error:
            await self._refuse(parcel, str(error))
        except RetryableError as error:
            self._breaker.failed(self._clock.monotonic(), error.after_s)
            self._report.failed(parcel, str(error), self._clock.now_ns())
            await self._put_back(parcel, error, slow=isinstance(error, RefusedError))
        else:
            await self._confirm(parcel)

    async def _send(self, parcel: Parcel) -> None:
        receiver = self._channel.receiver
        try:
            if len(parcel) == 1:
                await receiver.send(parcel[0])
            else:
                await receiver.send_together(parcel)
        except (RetryableError, PermanentError):
            raise
        except Exception as error:
            self._tell("a receiver failed unforeseen", error)
            raise RetryableError(f"failed unforeseen with {type(error).__name__}; the log says where") from error

    def _tell(self, what: str, error: Exception) -> None:
        """Log a fault of ours by its place alone: its text may quote what an event held."""
        log.error(what, receiver=self._channel.name, error=type(error).__name__, frames=frames(error))

    # --------------------------------------------------------------------------------------------------------------- recording

    async def _confirm(self, parcel: Parcel) -> None:
        self._breaker.succeeded()
        now_ns = self._clock.now_ns()
        self._report.confirmed(parcel, now_ns)
        self._release(parcel)
        await self._record(parcel, lambda notification: self._outbox.sent(notification, now_ns))

    async def _refuse(self, parcel: Parcel, reason: str) -> None:
        now_ns = self._clock.now_ns()
        self._report.refused(parcel, reason, now_ns)
        self._release(parcel)
        await self._record(parcel, lambda notification: self._outbox.refused(notification, now_ns, reason))

    async def _put_back(self, parcel: Parcel, error: RetryableError | PermanentError, *, slow: bool) -> None:
        """Let them be due again by the schedule, all at the same time: together they can share a message again."""
        asked_s = error.after_s if isinstance(error, RetryableError) else None
        tried = 1 + max(notification.attempts for notification in parcel)
        delay_s = self._channel.schedule.delay_s(tried, self._chance(), slow=slow, asked_s=asked_s)
        await self._defer(parcel, self._clock.now_ns() + int(delay_s * 1e9), str(error))

    async def _defer(self, parcel: Parcel, again_ns: int, reason: str) -> None:
        self._held |= {_place(notification): again_ns for notification in parcel}
        await self._record(parcel, lambda notification: self._outbox.deferred(notification, again_ns, reason))

    def _held_until_ns(self, notification: Notification) -> int:
        """When what was to be said before is due: of the same alert, and not less severe. A rise in severity waits for nothing."""
        alert_id, severity = _place(notification)
        at_least = SEVERITIES[SEVERITIES.index(severity) :]
        return max(self._held.get((alert_id, held), 0) for held in at_least)

    def _release(self, parcel: Parcel) -> None:
        for notification in parcel:
            self._held.pop(_place(notification), None)

    async def _record(self, parcel: Parcel, write: Callable[[Notification], Awaitable[None]]) -> None:
        """Write it down for each of them, and insist: a record that is lost is an alert sent twice, or too soon."""
        for notification in parcel:
            delay_s = FIRST_RETRY_S
            while True:
                try:
                    await write(notification)
                except RetryableError as error:
                    log.warning("the outbox does not answer", receiver=self._channel.name, error=str(error), wait_s=delay_s)
                    await self._clock.sleep(delay_s)
                    delay_s = min(delay_s * 2, LAST_RETRY_S)
                else:
                    break

    # ----------------------------------------------------------------------------------------------------------------- waiting

    def _circuit(self) -> Circuit:
        return self._breaker.state(self._clock.monotonic())

    async def _rest(self) -> None:
        """Nothing is due: wait for a nudge, for what was put back, or for the next poll; then for others to share a message."""
        now_ns = self._clock.now_ns()
        self._held = {place: again_ns for place, again_ns in self._held.items() if again_ns > now_ns}
        next_s = (min(self._held.values(), default=now_ns + int(POLL_S * 1e9)) - now_ns) / 1e9
        await self._pause(min(next_s, POLL_S), self._nudged)
        if self._channel.together > 1 and self._nudged.is_set() and not self._urgent.is_set():
            await self._pause(self._channel.max_wait_s, self._urgent)

    async def _pause(self, seconds: float, bell: asyncio.Event | None = None) -> None:
        """Wait for so long, or until the bell rings, or until we are told to stop."""
        waits = [asyncio.ensure_future(self._clock.sleep(seconds)), asyncio.ensure_future(self._stopping.wait())]
        if bell is not None:
            waits.append(asyncio.ensure_future(bell.wait()))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


def _place(notification: Notification) -> tuple[str, Severity]:
    return notification.alert.alert_id, notification.alert.severity
