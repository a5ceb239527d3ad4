"""Canaries in the outbox, on both databases: they make room for all others and leave nothing behind."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import func, select
from state_databases import BOTH, maker, opened

from sentinel.alerting.loopback import canary_notification
from sentinel.config.sections_alerting import Outbox
from sentinel.core.batch import PartitionId
from sentinel.core.canary import Canary
from sentinel.state.canaries import CanaryOutbox
from sentinel.state.database import StateDatabase
from sentinel.state.room import Limits
from sentinel.state.tables import ALERTS, DELIVERY_ATTEMPTS, OUTBOX
from sentinel.testing.fakes import START_NS, ManualClock

ROOM = Limits(1 << 20, 1 << 60)
CANARY = canary_notification(Canary(PartitionId("c", "t", 0), 7, 0, "canary-a-b", START_NS), "canary here", START_NS)


@pytest.fixture(params=BOTH)
async def state(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StateDatabase]:
    """One open access to a new database."""
    async with opened(maker(request, tmp_path)()) as database:
        yield database


@pytest.fixture
def outbox(state: StateDatabase) -> CanaryOutbox:
    """The outbox as canaries see it."""
    return CanaryOutbox(state, Outbox(), ManualClock(START_NS), "one")


async def rows(state: StateDatabase) -> list[int]:
    """How many rows there are in each table of alerts."""
    tables = (ALERTS, OUTBOX, DELIVERY_ATTEMPTS)
    return await state.read(
        lambda connection: [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]
    )


async def test_a_canary_waits_is_delivered_and_is_gone(state: StateDatabase, outbox: CanaryOutbox) -> None:
    """Once delivered there is no trace of it in the state database; only its own receiver gets it."""
    assert await outbox.post([CANARY], ROOM)
    assert await outbox.due("webhook", START_NS, 10) == []
    (due,) = await outbox.due("canary here", START_NS, 10)
    assert due.alert.anomalies[0].event_id == "canary-a-b"
    assert await rows(state) == [0, 1, 0]
    await outbox.sent(due, START_NS)
    assert await rows(state) == [0, 0, 0]


async def test_a_full_outbox_takes_no_canary(state: StateDatabase, outbox: CanaryOutbox) -> None:
    """It pushes nothing out, and no write fails for it."""
    assert await outbox.post([CANARY], Limits(1, 1 << 60))
    other = canary_notification(Canary(PartitionId("c", "t", 0), 8, 0, "canary-c-d", START_NS), "canary here", START_NS)
    assert not await outbox.post([other], Limits(1, 1 << 60))
    assert await rows(state) == [0, 1, 0]


async def test_what_an_earlier_process_left_is_forgotten(state: StateDatabase, outbox: CanaryOutbox) -> None:
    """Only of this daemon: another's canaries stay."""
    theirs = canary_notification(Canary(PartitionId("c", "t", 1), 1, 0, "canary-e-f", START_NS), "canary there", START_NS)
    await outbox.post([CANARY, theirs], ROOM)
    await outbox.forget("canary here")
    assert await outbox.due("canary here", START_NS, 10) == []
    assert len(await outbox.due("canary there", START_NS, 10)) == 1
