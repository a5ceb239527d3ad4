"""The intake on both databases: episodes, notifications and progress in one transaction, and a replay that changes nothing."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from alert_anomalies import LOG, START_NS, Found, anomalies, columns
from sqlalchemy import Connection, event, select, text
from state_databases import BOTH, Make, maker, opened

from sentinel.alerting.intake import AlertIntake
from sentinel.alerting.sightings import alert_worthy
from sentinel.config.sections_alerting import Alerting, Deduplication, Outbox
from sentinel.core.alert import AlertWrite, Worth
from sentinel.core.batch import PartitionId
from sentinel.core.errors import RetryableError
from sentinel.observability.metrics import Metrics
from sentinel.state.alerts import AlertQuery, Alerts
from sentinel.state.database import StateDatabase
from sentinel.state.outbox import StateOutbox
from sentinel.state.tables import ALERT_PROGRESS, ALERTS, OUTBOX
from sentinel.testing.fakes import ManualClock

ALL = (("hook", "info"), ("pager", "critical"))


@pytest.fixture(params=BOTH)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes accesses to one new database."""
    return maker(request, tmp_path)


@pytest.fixture
async def state(make: Make) -> AsyncIterator[StateDatabase]:
    """One open access to a new database."""
    async with opened(make()) as database:
        yield database


def intake_of(
    database: StateDatabase,
    section: Alerting | None = None,
    owner: str = "one",
    clock: Any = None,
    receivers: Sequence[tuple[str, str]] = ALL,
    metrics: Metrics | None = None,
) -> AlertIntake:
    """An intake of a process."""
    return AlertIntake(database, section or Alerting(), receivers, metrics or Metrics(), clock or ManualClock(START_NS), owner)


def write(*found: Found, first: int = 0, epoch: int = 1, log: PartitionId = LOG) -> AlertWrite:
    """The alert-worthy anomalies of one delivery at consecutive offsets."""
    return AlertWrite(log, epoch, first + len(found), anomalies(*found, first_offset=first, log=log))


async def everything(database: StateDatabase) -> dict[str, list[dict[str, Any]]]:
    """All that the intake writes, without the numbers a database gives out by itself."""

    def work(connection: Connection) -> dict[str, list[dict[str, Any]]]:
        tables = {ALERTS: ALERTS.c.alert_id, OUTBOX: OUTBOX.c.seq, ALERT_PROGRESS: ALERT_PROGRESS.c.topic}
        return {
            table.name: [{**row, "seq": None} for row in connection.execute(select(table).order_by(key)).mappings()]
            for table, key in tables.items()
        }

    return await database.read(work)


async def messages(database: StateDatabase) -> list[tuple[str, str]]:
    """Receiver and id of everything in the outbox, in order."""
    return [(row["receiver"], row["notification_id"]) for row in (await everything(database))["outbox"]]


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """A metric's value."""
    return metrics.registry.get_sample_value(f"sentinel_{name}", labels) or 0.0


async def test_anomalies_become_alerts_and_messages(state: StateDatabase) -> None:
    """What is written can be asked for, and each receiver has its message waiting."""
    metrics = Metrics()
    intake = intake_of(state, metrics=metrics)
    await intake.write([write(Found(0), Found(1), Found(2, "critical", service="search"))])
    found = {record.service: record for record in await Alerts(state).find(AlertQuery())}
    assert {service: (record.severity, record.count, record.status) for service, record in found.items()} == {
        "chat": ("warning", 2, "firing"),
        "search": ("critical", 1, "firing"),
    }
    outbox = StateOutbox(state, Outbox(), ManualClock(START_NS), "one")
    assert [(n.alert.service, n.created_ns) for n in await outbox.due("hook", START_NS, 10)] == [("search", START_NS), ("chat", START_NS)]
    assert [n.alert.service for n in await outbox.due("pager", START_NS, 10)] == ["search"]
    assert value(metrics, "alerts_opened_total", severity="warning") == 1
    assert value(metrics, "alerts_opened_total", severity="critical") == 1
    assert value(metrics, "alerts_deduplicated_total") == 1
    assert value(metrics, "alerts_open") == 2


async def test_a_replay_changes_nothing(state: StateDatabase) -> None:
    """The same delivery again, whole, in part, or as the begin of a longer one; only what is new counts."""
    intake = intake_of(state)
    first = write(Found(0), Found(1), Found(2))
    await intake.write([first])
    before = await everything(state)
    await intake.write([first])
    await intake.write([write(Found(0), Found(1))])
    assert await everything(state) == before
    longer = [Found(0), Found(1), Found(2), Found(3)]
    await intake.write([write(*longer)])
    (record,) = await Alerts(state).find(AlertQuery())
    assert record.count == 4


async def test_a_replay_by_another_process_changes_nothing(make: Make) -> None:
    """After a crash the successor's epochs begin low again; what it applies a second time is left out by position all the same."""
    async with opened(make()) as first:
        await intake_of(first, owner="died").write([write(Found(0), Found(1), epoch=7)])
    async with opened(make()) as second:
        before = await everything(second)
        intake = intake_of(second, owner="next")
        await intake.write([write(Found(0), Found(1), epoch=1)])
        after = await everything(second)
        assert after["alerts"] == before["alerts"]
        assert after["outbox"] == before["outbox"]
        await intake.write([write(Found(2), first=2, epoch=1)])
        assert (await Alerts(second).find(AlertQuery()))[0].count == 3


async def test_an_older_epoch_of_this_process_writes_nothing(state: StateDatabase) -> None:
    """Work of an assignment that was lost and came back is dropped, wherever its offsets lie."""
    intake = intake_of(state)
    await intake.write([write(Found(0), epoch=2)])
    before = await everything(state)
    await intake.write([write(Found(1), Found(2), Found(3), first=0, epoch=1)])
    assert await everything(state) == before
    await intake.write([write(Found(1), first=1, epoch=2)])
    assert (await Alerts(state).find(AlertQuery()))[0].count == 2


async def test_a_log_that_begins_anew_is_heard_again(state: StateDatabase) -> None:
    """After `forget` its offsets count from the start; what was told before is told with the same ids, so not again."""
    intake = intake_of(state)
    await intake.write([write(Found(0), Found(1), Found(2))])
    told = await messages(state)
    await intake.rewind(LOG, 0)
    await intake.write([write(Found(0))])
    assert await messages(state) == told
    await intake.write([write(Found(5000), first=1)])
    assert len(await messages(state)) == 2


async def test_logs_have_their_own_progress(state: StateDatabase) -> None:
    """Offsets of one partition say nothing about another's; their anomalies of one series are one alert."""
    intake = intake_of(state)
    other = LOG._replace(partition=1)
    await intake.write([write(Found(0), Found(1), Found(2)), write(Found(3), log=other)])
    (record,) = await Alerts(state).find(AlertQuery())
    assert (record.count, len(await messages(state))) == (4, 1)


async def test_how_deliveries_were_cut_makes_no_difference(make: Make, tmp_path: Path) -> None:
    """The same stream in one write, in random pieces, and with random repeats: the same rows to the last word."""
    rng = random.Random(4)  # noqa: S311  reproducible, no secret
    found = [
        Found(float(rng.randrange(3_000)), rng.choice(["warning", "critical"]), rng.choice("abcdef"), rng.choice([1.6, 2.0, 3.3]))
        for _ in range(150)
    ]
    async with opened(make()) as database:
        await intake_of(database).write([write(*found)])
        whole = await everything(database)
        await database.run(lambda c: [c.execute(text(f"DELETE FROM {table}")) for table in ("alerts", "outbox", "alert_progress")])
        intake, at = intake_of(database), 0
        while at < len(found):
            end = min(len(found), at + rng.randrange(1, 20))
            start = max(0, at - rng.randrange(10))
            await intake.write([write(*found[start:end], first=start)])
            at = end
        assert await everything(database) == whole


async def test_columns_and_objects_give_the_same(make: Make) -> None:
    """Anomalies taken lazily from columns become the same rows as those made beforehand."""
    found = [Found(i * 40.0, ("warning", "critical")[i % 2], f"s{i % 3}") for i in range(30)]
    batch, judged = columns(found)
    async with opened(make()) as database:
        await intake_of(database).write(
            [AlertWrite(LOG, 1, len(found), alert_worthy(batch, judged, (), Worth("info", events=True, costly_usd=None)))]
        )
        lazily = await everything(database)
        await database.run(lambda c: [c.execute(text(f"DELETE FROM {table}")) for table in ("alerts", "outbox", "alert_progress")])
        await intake_of(database).write([write(*found)])
        assert await everything(database) == lazily


async def test_two_replicas_tell_once(make: Make) -> None:
    """Two processes with a partition each see the same series at the same time: one alert, one message for each receiver."""
    async with opened(make()) as first, opened(make()) as second:
        one, two = intake_of(first, owner="one"), intake_of(second, owner="two")
        await asyncio.gather(
            *(one.write([write(Found(float(i)), first=i)]) for i in range(20)),
            *(two.write([write(Found(float(i)), first=i, log=LOG._replace(partition=1))]) for i in range(20)),
        )
        (record,) = await Alerts(first).find(AlertQuery())
        assert record.count == 40
        assert [receiver for receiver, _ in await messages(first)] == ["hook"]


class CrashError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("statement", range(12))
async def test_a_failure_at_any_statement_leaves_all_or_nothing(make: Make, statement: int) -> None:
    """Whichever statement of the transaction fails, nothing of it stays, and the same write afterwards does all of it once."""
    async with opened(make()) as database:
        intake = intake_of(database)
        await intake.write([write(Found(0))])
        before = await everything(database)
        again = write(Found(1, "critical"), Found(2, service="search"), first=1)
        count = 0

        def fail(*_args: Any) -> None:
            nonlocal count
            count += 1
            if count > statement:
                raise CrashError

        event.listen(database._engine, "before_cursor_execute", fail)
        try:
            await intake.write([again])
            failed = False
        except CrashError:
            failed = True
        finally:
            event.remove(database._engine, "before_cursor_execute", fail)
        assert failed == (statement < count)
        if failed:
            assert await everything(database) == before
        await intake.write([again])
        assert sorted(record.count for record in await Alerts(database).find(AlertQuery())) == [1, 2]
        assert len(await messages(database)) == 4


async def test_an_outbox_full_of_critical_alerts_stops_the_write(state: StateDatabase) -> None:
    """Nothing of the write stays, so it can be tried again; nothing critical is dropped."""
    metrics = Metrics()
    intake = intake_of(state, Alerting(outbox=Outbox(max_bytes=65_536)), metrics=metrics)
    storm = [Found(float(i), "critical", service=f"s{i}") for i in range(100)]
    with pytest.raises(RetryableError, match=r"alerting\.outbox\.max_bytes"):
        await intake.write([write(*storm)])
    assert await everything(state) == {"alerts": [], "outbox": [], "alert_progress": []}
    assert value(metrics, "alerts_opened_total", severity="critical") == 0
    await intake_of(state).write([write(*storm)])  # with the default of 64 MiB
    assert len(await messages(state)) == 200


async def test_warnings_make_room_and_are_counted(state: StateDatabase) -> None:
    """Beyond `max_bytes` the oldest warnings go, the critical stay, and a metric tells."""
    metrics = Metrics()
    intake = intake_of(state, Alerting(outbox=Outbox(max_bytes=65_536)), metrics=metrics)
    await intake.write([write(*(Found(float(i), service=f"s{i}") for i in range(100)))])
    dropped = value(metrics, "outbox_dropped_total", kind="full")
    waiting = [row["receiver"] for row in (await everything(state))["outbox"] if row["state"] == "waiting"]
    assert 0 < dropped < 100
    assert len(waiting) == 100 - dropped
    assert len(await Alerts(state).find(AlertQuery(limit=1000))) == 100


# ------------------------------------------------------------------------------------------------------------------ configuration


async def test_the_window_is_configured(state: StateDatabase) -> None:
    """`deduplication.window_secs` and `enabled` decide what is told."""
    found = [Found(0), Found(20), Found(40)]
    for at, (section, told) in enumerate(
        (
            (Deduplication(), 1),
            (Deduplication(window_secs=30), 2),
            (Deduplication(enabled=False), 3),
            (Deduplication(window_secs=10), 3),
        )
    ):
        log = LOG._replace(topic=f"t{at}")
        before = len(await messages(state))
        named = [one._replace(service=f"s{at}") for one in found]
        await intake_of(state, Alerting(deduplication=section)).write([write(*named, log=log)])
        assert len(await messages(state)) - before == told


async def test_max_open_alerts_is_configured(state: StateDatabase) -> None:
    """Beyond it new subjects share one alert, which the metric counts."""
    metrics = Metrics()
    await intake_of(state, Alerting(max_open_alerts=2), metrics=metrics).write([write(*(Found(0, service=s) for s in "abcd"))])
    assert sorted(record.type for record in await Alerts(state).find(AlertQuery())) == ["alert_overflow", "latency_spike", "latency_spike"]
    assert value(metrics, "alerts_gathered_total") == 2


async def test_external_url_makes_links(state: StateDatabase) -> None:
    """Messages link to the configured address."""
    await intake_of(state, Alerting(external_url="https://sentinel.example")).write([write(Found(0))])
    (found,) = await StateOutbox(state, Outbox(), ManualClock(START_NS), "one").due("hook", START_NS, 1)
    assert found.alert.links["dashboard"].startswith("https://sentinel.example/")


async def test_another_configuration_counts_from_the_next_write_on(state: StateDatabase) -> None:
    """`configure` changes rules and receivers of a running intake."""
    intake = intake_of(state)
    await intake.write([write(Found(0))])
    intake.configure(Alerting(deduplication=Deduplication(enabled=False)), [("new", "info")])
    await intake.write([write(Found(1), first=1)])
    assert [receiver for receiver, _ in await messages(state)] == ["hook", "new"]


# ----------------------------------------------------------------------------------------------------------------------- tidying


async def test_a_quiet_alert_is_closed_and_can_go_on(state: StateDatabase) -> None:
    """After a window without anomalies it has ended where it was last seen; one that continues it after all opens it again, untold."""
    clock, metrics = ManualClock(START_NS), Metrics()
    intake = intake_of(state, clock=clock, metrics=metrics)
    await intake.write([write(Found(0), Found(7))])
    clock.advance(299)
    await intake.tidy()
    assert (await Alerts(state).find(AlertQuery()))[0].status == "firing"
    clock.advance(2)
    await intake.tidy()
    (record,) = await Alerts(state).find(AlertQuery())
    assert (record.status, record.ended_at, record.resolve_reason) == ("resolved", "2026-01-15T10:30:07.000Z", "expired")
    assert value(metrics, "alerts_open") == 0
    await intake.write([write(Found(290), first=2)])
    (record,) = await Alerts(state).find(AlertQuery())
    assert (record.status, record.ended_at, record.count) == ("firing", None, 3)
    assert len(await messages(state)) == 1


async def test_history_is_deleted_by_age(state: StateDatabase) -> None:
    """Ended alerts go `history_days` after they were last changed; what is open or newer stays."""
    clock = ManualClock(START_NS)
    intake = intake_of(state, Alerting(history_days=1), clock=clock)
    await intake.write([write(Found(0))])
    clock.advance(86_400 - 100)
    await intake.write([write(Found(86_300, service="search"), first=1)])
    await intake.tidy()
    assert {record.service: record.status for record in await Alerts(state).find(AlertQuery())} == {"chat": "resolved", "search": "firing"}
    clock.advance(200)
    await intake.tidy()
    assert {record.service: record.status for record in await Alerts(state).find(AlertQuery())} == {"search": "firing"}


async def test_history_is_deleted_by_number(state: StateDatabase) -> None:
    """Beyond `history_rows` the oldest ended alerts go."""
    clock = ManualClock(START_NS)
    intake = intake_of(state, Alerting(history_rows=1_000), clock=clock)
    await intake.write([write(*(Found(float(i), service=f"s{i}") for i in range(1_003)))])
    clock.advance(301)
    await intake.tidy()
    left = {record.service for record in await Alerts(state).find(AlertQuery(limit=2_000))}
    assert len(left) == 1_000


async def test_what_is_too_old_to_deliver_is_dropped_and_counted(state: StateDatabase) -> None:
    """`outbox.max_age_hours` bounds how long a warning waits; the critical one waits on."""
    clock, metrics = ManualClock(START_NS), Metrics()
    intake = intake_of(state, Alerting(outbox=Outbox(max_age_hours=1)), clock=clock, metrics=metrics)
    await intake.write([write(Found(0), Found(0, "critical", service="search"))])
    clock.advance(3_601)
    await intake.tidy()
    outbox = StateOutbox(state, Outbox(), clock, "one")
    assert [n.alert.service for n in await outbox.due("hook", clock.now_ns(), 10)] == ["search"]
    assert value(metrics, "outbox_dropped_total", kind="old") == 1


@dataclass
class HeldClock(ManualClock):
    """A clock whose sleepers wait until they are let go."""

    asked: list[float] = field(default_factory=list)
    asleep: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        super().__init__(START_NS)

    async def sleep(self, seconds: float) -> None:
        """Wait for `go`."""
        self.asked.append(seconds)
        self.asleep.set()
        await self.go.wait()
        self.go.clear()


async def test_it_tidies_up_as_often_as_configured(make: Make) -> None:
    """Every `cleanup_interval_secs`, also after a round that failed; `close` ends it, twice is harmless."""
    clock = HeldClock()
    async with opened(make()) as database:
        intake = intake_of(database, Alerting(deduplication=Deduplication(cleanup_interval_secs=7)), clock=clock)
        await intake.open()
        await clock.asleep.wait()
        await intake.write([write(Found(0))])
        await database.close()
        clock.advance(301)
        await _round(clock)
        await database.open()
        await _round(clock)
        assert (await Alerts(database).find(AlertQuery()))[0].status == "resolved"
        await intake.close()
        await intake.close()
        assert clock.asked == [7, 7, 7]


async def _round(clock: HeldClock) -> None:
    """Let it tidy up once."""
    clock.asleep.clear()
    clock.go.set()
    await clock.asleep.wait()
