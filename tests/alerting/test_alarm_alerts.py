"""Alarms on their way to people, on both databases: told once when they begin, once when they are over, whatever is repeated."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select
from state_databases import BOTH, Make, maker, opened

from sentinel.alerting.alarm_alerts import Sender, tell
from sentinel.alerting.alarms import Alarm, Condition
from sentinel.alerting.intake import AlertIntake, rules_of
from sentinel.config.sections_alerting import Alerting, Outbox
from sentinel.core.alert import Notification
from sentinel.observability.metrics import Metrics
from sentinel.state.alerts import AlertQuery, AlertRecord, Alerts
from sentinel.state.database import StateDatabase
from sentinel.state.outbox import StateOutbox
from sentinel.state.room import Limits
from sentinel.state.tables import OUTBOX
from sentinel.testing.fakes import ManualClock

START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000
AUTH = Alarm(Condition.AUTH_FAILED, START_NS, "http://influx refuses our credentials (401): set storage.influxdb.token")
OVER = Alarm(Condition.AUTH_FAILED, START_NS, AUTH.reason, START_NS + 90 * SECOND_NS)
UNSAVED = Alarm(Condition.STATE_UNSAVED, START_NS, "disk full")
RECEIVERS = (("hook", "info"), ("pager", "critical"))


@pytest.fixture(params=BOTH)
async def state(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StateDatabase]:
    """One open access to a new database."""
    make: Make = maker(request, tmp_path)
    async with opened(make()) as database:
        yield database


async def told(state: StateDatabase, *alarms: Alarm, at_ns: int = START_NS, instance: str = "replica-0") -> None:
    """Tell of alarms as one daemon does."""
    sender = Sender(instance, rules_of(Alerting(external_url="https://sentinel.example"), RECEIVERS), Limits(1 << 20, 1 << 60))
    await state.run(lambda connection: tell(connection, alarms, sender, at_ns))


async def messages(state: StateDatabase) -> list[tuple[str, str]]:
    """Receiver and id of everything in the outbox, in order."""
    asked = select(OUTBOX.c.receiver, OUTBOX.c.notification_id).order_by(OUTBOX.c.seq)
    return await state.read(lambda connection: [(row.receiver, row.notification_id) for row in connection.execute(asked)])


async def waiting(state: StateDatabase, receiver: str) -> list[Notification]:
    """What a courier would be given."""
    return await StateOutbox(state, Outbox(), ManualClock(START_NS), "one").due(receiver, START_NS + 3_600 * SECOND_NS, 100)


async def records(state: StateDatabase) -> list[AlertRecord]:
    """What people see."""
    return await Alerts(state).find(AlertQuery())


async def test_an_alarm_is_an_alert_of_the_daemon(state: StateDatabase) -> None:
    """It has the fields of every alert, names the daemon, what is wrong and the cure, and can be asked for."""
    await told(state, AUTH)
    (notification,) = await waiting(state, "pager")
    alert = notification.alert
    assert (alert.service, alert.model, alert.type, alert.status, alert.severity) == (
        "llm-sentinel",
        "replica-0",
        "daemon_auth_failed",
        "firing",
        "critical",
    )
    assert alert.labels["instance"] == "replica-0"
    assert "refuses our credentials (401): set storage.influxdb.token" in alert.description
    assert notification.id == alert.notification_id
    assert alert.links["dashboard"].endswith(alert.alert_id)
    (record,) = await records(state)
    assert (record.alert_id, record.status, record.title) == (alert.alert_id, "firing", alert.title)


async def test_an_alarm_that_lasts_is_told_once_and_its_end_once(state: StateDatabase) -> None:
    """Renewals and repeats after a failed write say nothing more; the end has the id of the begin."""
    for second in range(0, 90, 10):
        await told(state, AUTH, at_ns=START_NS + second * SECOND_NS)
    begun = await messages(state)
    assert [receiver for receiver, _ in begun] == ["hook", "pager"]
    for _ in range(2):
        await told(state, OVER, at_ns=START_NS + 90 * SECOND_NS)
    assert len(await messages(state)) == 4
    first, last = await waiting(state, "hook")
    assert (first.alert.alert_id, first.alert.status) == (last.alert.alert_id, "firing")
    assert (last.alert.status, last.alert.resolve_reason, last.alert.ended_at) == ("resolved", "recovered", "2023-11-14T22:14:50.000Z")
    (record,) = await records(state)
    assert (record.status, record.resolve_reason, record.notified_count) == ("resolved", "recovered", 2)


async def test_ids_follow_from_daemon_condition_and_begin(state: StateDatabase) -> None:
    """Another daemon's alarm is another alert; the next one of the same daemon too."""
    await told(state, AUTH)
    await told(state, AUTH, instance="replica-1")
    await told(state, OVER)
    await told(state, Alarm(Condition.AUTH_FAILED, START_NS + 500 * SECOND_NS, "again"), at_ns=START_NS + 500 * SECOND_NS)
    assert len({record.alert_id for record in await records(state)}) == 3
    assert [record.status for record in await records(state) if record.model == "replica-0"] == ["firing", "resolved"]
    assert [record.status for record in await records(state) if record.model == "replica-1"] == ["firing"]


async def test_a_restart_goes_on_with_the_alert_that_is_open(state: StateDatabase) -> None:
    """The new process sees the condition later; people hear nothing new, and the end is that of the first."""
    await told(state, AUTH)
    later = Alarm(Condition.AUTH_FAILED, START_NS + 30 * SECOND_NS, AUTH.reason)
    await told(state, later, at_ns=START_NS + 30 * SECOND_NS)
    assert len(await messages(state)) == 2
    await told(state, Alarm(later.condition, later.begun_ns, later.reason, START_NS + 90 * SECOND_NS))
    (record,) = await records(state)
    assert record.status == "resolved"
    assert {notification.alert.alert_id for notification in await waiting(state, "hook")} == {record.alert_id}


async def test_what_nobody_renews_is_closed_and_opened_again(state: StateDatabase) -> None:
    """A daemon that died leaves no alert open for ever; one that only could not write goes on with its own."""
    await told(state, AUTH)
    clock = ManualClock(START_NS + 400 * SECOND_NS)
    intake = AlertIntake(state, Alerting(), RECEIVERS, Metrics(), clock, "one")
    await intake.tidy()
    assert [record.resolve_reason for record in await records(state)] == ["expired"]
    await told(state, AUTH, at_ns=clock.now_ns())
    assert [record.status for record in await records(state)] == ["firing"]
    assert len(await messages(state)) == 2


async def test_an_end_without_a_begin_is_not_told(state: StateDatabase) -> None:
    """Where the database was away the whole time, nobody hears that something unheard of is over."""
    await told(state, OVER)
    assert await messages(state) == []
    assert await records(state) == []


async def test_receivers_get_the_severities_they_want(state: StateDatabase) -> None:
    """A warning does not wake who asked for what is critical."""
    await told(state, UNSAVED, AUTH)
    assert [(n.alert.type, n.alert.severity) for n in await waiting(state, "pager")] == [("daemon_auth_failed", "critical")]
    assert {n.alert.type for n in await waiting(state, "hook")} == {"daemon_auth_failed", "daemon_state_unsaved"}
