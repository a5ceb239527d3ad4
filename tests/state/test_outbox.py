"""The outbox on both databases: what is due, to whom, once; what is dropped, and what never is."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, select
from state_databases import Make, opened

from sentinel.config.sections_alerting import Outbox
from sentinel.core.alert import Alert, AlertStatus, Notification
from sentinel.core.anomaly import Severity
from sentinel.core.errors import RetryableError
from sentinel.core.ports import OutboxDepth
from sentinel.state import outbox, room
from sentinel.state.database import StateDatabase
from sentinel.state.outbox import StateOutbox
from sentinel.state.tables import DELIVERY_ATTEMPTS, OUTBOX
from sentinel.testing.fakes import START_NS, ManualClock

SECOND = 10**9
HOUR = 3_600 * SECOND
WIDE = room.Limits(max_bytes=10**9, max_age_ns=72 * HOUR)


def notification(name: str, severity: str = "warning", receiver: str = "hook", text: str = "", created_ns: int = START_NS) -> Notification:
    """A message; `text` makes it longer."""
    alert = Alert(
        notification_id=name,
        alert_id=f"alert-{name}",
        fingerprint="f",
        status=AlertStatus.FIRING,
        severity=Severity(severity),
        title="t",
        description=text,
        service="chat",
        model="gpt",
        type="latency_spike",
        metric="latency_ms",
        started_at="2026-01-15T10:30:00.000Z",
        anomalies=[],
    )
    return Notification(id=name, receiver=receiver, alert=alert, created_ns=created_ns)


def putting(*notifications: Notification) -> Callable[[Connection], None]:
    """Work that lets them wait."""
    return lambda connection: outbox.put(connection, notifications)


def of(database: StateDatabase, owner: str = "one", clock: ManualClock | None = None, **more: Any) -> StateOutbox:
    """An outbox of a process."""
    return StateOutbox(database, Outbox(**more), clock or ManualClock(), owner)


async def names(box: StateOutbox, now_ns: int = START_NS, receiver: str = "hook", limit: int = 10) -> list[str]:
    """Ids of what is due."""
    return [found.id for found in await box.due(receiver, now_ns, limit)]


async def rows(database: StateDatabase) -> dict[str, tuple[str, int, str]]:
    """State, attempts and body of every notification."""
    asked = select(OUTBOX.c.notification_id, OUTBOX.c.state, OUTBOX.c.attempts, OUTBOX.c.body)
    return {row[0]: (row[1], row[2], row[3]) for row in await database.read(lambda connection: connection.execute(asked).all())}


async def attempts(database: StateDatabase) -> list[tuple[Any, ...]]:
    """The log of deliveries."""
    log = DELIVERY_ATTEMPTS.c
    asked = select(log.notification_id, log.receiver, log.at_ns, log.attempt, log.outcome, log.reason).order_by(log.seq)
    return [tuple(row) for row in await database.read(lambda connection: connection.execute(asked).all())]


async def test_the_most_severe_is_due_first_then_the_oldest(state: StateDatabase) -> None:
    """By severity, then in the order they were put in; no more than asked for; each receiver its own."""
    await state.run(putting(notification("w1"), notification("i1", "info"), notification("c1", "critical")))
    await state.run(putting(notification("c2", "critical"), notification("other", receiver="rabbitmq"), notification("w2")))
    assert await names(of(state), limit=3) == ["c1", "c2", "w1"]
    assert await names(of(state)) == ["w2", "i1"]
    assert await names(of(state), receiver="rabbitmq") == ["other"]
    assert await names(of(state), receiver="nobody") == []


async def test_a_notification_comes_out_as_it_went_in(state: StateDatabase) -> None:
    """Body, times and attempts survive the database."""
    given = notification("n", text="Ünïcode, 'quotes' and \u2028 lines")
    await state.run(putting(given))
    assert await of(state).due("hook", START_NS, 1) == [given]


async def test_putting_it_again_changes_nothing(state: StateDatabase) -> None:
    """Not while it waits, and not after it was sent."""
    box = of(state)
    await state.run(putting(notification("n")))
    await state.run(putting(notification("n", text="different")))
    (found,) = await box.due("hook", START_NS, 10)
    assert found.alert.description == ""
    await box.sent(found, START_NS + 5)
    await state.run(putting(notification("n")))
    assert await names(box, START_NS + HOUR) == []


async def test_sent_is_not_due_any_more_and_noted(state: StateDatabase) -> None:
    """The row stays without its body, and the log of deliveries says when."""
    box = of(state)
    await state.run(putting(notification("n")))
    (found,) = await box.due("hook", START_NS, 1)
    await box.sent(found, START_NS + 5)
    assert await names(box, START_NS + HOUR) == []
    assert await rows(state) == {"n": ("sent", 1, "")}
    assert await attempts(state) == [("n", "hook", START_NS + 5, 1, "sent", "")]
    assert await box.depth() == OutboxDepth(0, 0, None)


async def test_deferred_is_due_again_at_its_time(state: StateDatabase) -> None:
    """Not before, and with one attempt more each time; the reason is noted, cut to a bound."""
    clock = ManualClock()
    box = of(state, clock=clock)
    await state.run(putting(notification("n")))
    for attempt in (1, 2):
        again_ns = clock.now_ns() + 60 * SECOND
        (found,) = await box.due("hook", clock.now_ns(), 1)
        assert found.attempts == attempt - 1
        await box.deferred(found, again_ns, "it answered 503 " * 100)
        assert await names(box, again_ns - 1) == []
        clock.advance(60)
    assert [(entry[2], entry[3], entry[4], len(entry[5])) for entry in await attempts(state)] == [
        (START_NS, 1, "deferred", 500),
        (START_NS + 60 * SECOND, 2, "deferred", 500),
    ]


async def test_refused_is_kept_and_not_tried_again(state: StateDatabase) -> None:
    """It never comes out again, and the log says why."""
    box = of(state)
    await state.run(putting(notification("n")))
    (found,) = await box.due("hook", START_NS, 1)
    await box.refused(found, START_NS, "it answered 410")
    assert await names(box, START_NS + HOUR) == []
    assert (await rows(state))["n"][:2] == ("refused", 1)
    assert (await attempts(state))[0][4:] == ("refused", "it answered 410")


async def test_what_one_has_another_does_not_get_until_the_lease_ends(make: Make) -> None:
    """Two replicas: no notification goes to both; after `lease_secs` without a word the other takes over."""
    async with opened(make()) as first, opened(make()) as second:
        await first.run(putting(*(notification(f"n{i}") for i in range(4))))
        one, two = of(first, "one", lease_secs=30), of(second, "two", lease_secs=30)
        assert await names(one, limit=2) == ["n0", "n1"]
        assert await names(two) == ["n2", "n3"]
        assert await names(two, START_NS + 30 * SECOND - 1) == []
        assert await names(two, START_NS + 30 * SECOND, limit=2) == ["n0", "n1"]


async def test_replicas_that_ask_at_the_same_time_share(make: Make) -> None:
    """Six processes ask at once, again and again: every notification comes out exactly once."""
    async with opened(make()) as first:
        await first.run(putting(*(notification(f"n{i}") for i in range(60))))
    databases = [make() for _ in range(6)]
    await asyncio.gather(*(database.open() for database in databases))

    async def take(database: StateDatabase, owner: str) -> list[str]:
        taken: list[str] = []
        while got := await names(of(database, owner), limit=4):
            taken += got
        return taken

    taken = await asyncio.gather(*(take(database, str(i)) for i, database in enumerate(databases)))
    assert sorted(name for one in taken for name in one) == sorted(f"n{i}" for i in range(60))
    await asyncio.gather(*(database.close() for database in databases))


async def test_an_orderly_stop_gives_back_what_it_had(state: StateDatabase) -> None:
    """`close` frees our own leases and nobody else's."""
    await state.run(putting(notification("n0"), notification("n1")))
    one, two = of(state, "one"), of(state, "two")
    await names(one, limit=1)
    await names(two, limit=1)
    await one.close()
    assert await names(of(state, "three")) == ["n0"]


async def test_after_a_crash_the_only_process_begins_at_once(make: Make) -> None:
    """SQLite: what a process that died had leased is free at the next start. PostgreSQL: it may be alive, so its leases run out."""
    async with opened(make()) as first:
        await first.run(putting(notification("n")))
        assert await names(of(first, "died")) == ["n"]
    async with opened(make()) as second:
        box = of(second, "next", lease_secs=30)
        await box.open()
        assert await names(box, START_NS) == ([] if second.shared else ["n"])
        assert await names(box, START_NS + 200 * SECOND) == ["n"]


async def test_depth_counts_what_waits(state: StateDatabase) -> None:
    """Number, bytes and the oldest, leased or not."""
    box = of(state)
    assert await box.depth() == OutboxDepth(0, 0, None)
    await state.run(putting(notification("a", created_ns=START_NS + 1), notification("b", created_ns=START_NS)))
    await names(box, START_NS, limit=1)
    depth = await box.depth()
    assert (depth.notifications, depth.oldest_ns) == (2, START_NS)
    assert depth.size_bytes == sum(len(body.encode()) for _, _, body in (await rows(state)).values())


# ------------------------------------------------------------------------------------------------------------------------- limits


def size(*notifications: Notification) -> int:
    """What they count."""
    return sum(len(msgspec.json.encode(one.alert)) for one in notifications)


async def test_beyond_its_bytes_the_least_severe_and_oldest_go(state: StateDatabase) -> None:
    """As few as needed, told in the log of deliveries."""
    waiting = [
        notification("w0"),
        notification("i0", "info"),
        notification("i1", "info"),
        notification("c0", "critical"),
        notification("w1"),
    ]
    await state.run(putting(*waiting))
    limits = room.Limits(size(*waiting) - size(waiting[1]) - 1, HOUR)
    assert await state.run(lambda connection: room.within_bytes(connection, limits, START_NS)) == 2
    assert {name: row[0] for name, row in (await rows(state)).items() if row[0] != "waiting"} == {"i0": "dropped", "i1": "dropped"}
    assert [(entry[0], entry[4]) for entry in await attempts(state)] == [("i0", "dropped"), ("i1", "dropped")]
    assert await state.run(lambda connection: room.within_bytes(connection, limits, START_NS)) == 0
    half = room.Limits(size(waiting[3]), HOUR)
    assert await state.run(lambda connection: room.within_bytes(connection, half, START_NS)) == 2
    assert await names(of(state)) == ["c0"]


async def test_critical_ones_are_never_dropped_for_room(state: StateDatabase) -> None:
    """When they alone are too much, the write fails as retryable, with a cure, and nothing is changed."""
    await state.run(putting(notification("c0", "critical")))

    def work(connection: Connection) -> int:
        putting(notification("w", "warning"), notification("c1", "critical"))(connection)
        return room.within_bytes(connection, room.Limits(size(notification("c0", "critical")), HOUR), START_NS)

    with pytest.raises(RetryableError, match=r"alerting\.outbox\.max_bytes"):
        await state.run(work)
    assert await names(of(state)) == ["c0"]


async def test_what_is_being_delivered_is_not_dropped(state: StateDatabase) -> None:
    """A leased one stays; the next takes its place."""
    first, second = notification("w0"), notification("w1")
    await state.run(putting(first, second))
    assert await names(of(state), limit=1) == ["w0"]
    assert await state.run(lambda connection: room.within_bytes(connection, room.Limits(size(first), HOUR), START_NS)) == 1
    assert (await rows(state))["w1"][0] == "dropped"


async def test_what_waits_too_long_goes_unless_it_is_critical(state: StateDatabase) -> None:
    """By age all but the critical are dropped; those as well once their receiver is no longer configured."""
    old = START_NS - 2 * HOUR
    await state.run(
        putting(
            notification("old", created_ns=old),
            notification("new"),
            notification("c", "critical", created_ns=old),
            notification("gone", "critical", "removed", created_ns=old),
        )
    )
    limits = room.Limits(10**9, HOUR)
    assert await state.run(lambda connection: room.within_age(connection, limits, ["hook"], START_NS)) == 2
    assert {name: row[0] for name, row in (await rows(state)).items()} == {
        "old": "dropped",
        "new": "waiting",
        "c": "waiting",
        "gone": "dropped",
    }
    assert await state.run(lambda connection: room.within_age(connection, WIDE, ["hook"], START_NS)) == 0


async def test_a_drop_that_was_delivered_after_all_is_sent(state: StateDatabase) -> None:
    """A confirm that comes after the lease ended and the row was dropped is true all the same."""
    box = of(state, lease_secs=1)
    await state.run(putting(notification("n")))
    (found,) = await box.due("hook", START_NS, 1)
    await state.run(lambda connection: room.within_bytes(connection, room.Limits(0, HOUR), START_NS + 2 * SECOND))
    await box.sent(found, START_NS + 3 * SECOND)
    assert (await rows(state))["n"][0] == "sent"


async def test_thousands_are_dropped_in_portions(state: StateDatabase) -> None:
    """More than one portion at once."""
    many = [notification(f"n{i}") for i in range(2 * room.PORTION + 5)]
    await state.run(putting(*many))
    assert await state.run(lambda connection: room.within_bytes(connection, room.Limits(size(many[-1]), HOUR), START_NS)) == len(many) - 1


async def test_failures_of_the_database_are_retryable(make: Make) -> None:
    """A closed database is told as such, whatever is asked."""
    box = of(make())
    for call in (box.due("hook", 0, 1), box.sent(notification("n"), 0), box.depth(), box.close()):
        with pytest.raises(RetryableError, match="not open"):
            await call
