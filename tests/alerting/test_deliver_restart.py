"""Delivery out of the real outbox, over the death of the process."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from delivery_inputs import ScriptedReceiver, channel, notification

from sentinel.alerting.deliver import Couriers
from sentinel.app.clock import SystemClock
from sentinel.config.sections_alerting import Outbox
from sentinel.config.sections_state import StateDatabase as Section
from sentinel.core.alert import Notification
from sentinel.core.errors import RetryableError
from sentinel.observability.metrics import Metrics
from sentinel.state.database import StateDatabase
from sentinel.state.outbox import StateOutbox, put


class Stuck(ScriptedReceiver):
    """Takes ten, fails three, and never answers the others."""

    def __init__(self) -> None:
        super().__init__([None] * 10 + [RetryableError("it is down")] * 3)
        self.stuck = asyncio.Event()

    async def send_together(self, notifications: Sequence[Notification]) -> None:
        """By the number of the attempt."""
        if len(self.tried) >= 13:
            self.gate.clear()
            self.stuck.set()
        await super().send_together(notifications)


async def test_what_was_not_confirmed_is_delivered_by_the_next_process(tmp_path: Path) -> None:
    """Some confirmed, some failed, some under way when the process ends: the next one delivers exactly the rest, with the same ids."""
    clock, alerts = SystemClock(), [notification(number) for number in range(30)]
    first, database = Stuck(), StateDatabase(Section(), tmp_path / "state.db")
    await database.open()
    await database.run(lambda connection: put(connection, alerts))
    couriers = Couriers([channel(first, in_flight=13)], StateOutbox(database, Outbox(), clock, "first"), clock, Metrics())
    await couriers.open()
    async with asyncio.timeout(20):
        await first.stuck.wait()
    await couriers.close(limit_s=0.01)
    await database.close()

    second, again = ScriptedReceiver(), StateDatabase(Section(), tmp_path / "state.db")
    await again.open()
    outbox = StateOutbox(again, Outbox(), clock, "second")
    await outbox.open()
    couriers = Couriers([channel(second, in_flight=5)], outbox, clock, Metrics())
    await couriers.open()
    async with asyncio.timeout(30):
        while (await outbox.depth()).notifications:  # noqa: ASYNC110  a database tells nobody
            await asyncio.sleep(0.01)
    await couriers.close()
    await again.close()
    assert len(first.taken) == 10
    assert sorted(first.taken + second.taken) == [alert.id for alert in alerts]
