"""A courier in virtual time: order, schedule, breaker, records."""

import asyncio
from collections.abc import Callable

import pytest
from delivery_inputs import ScriptedReceiver, channel, notification

from sentinel.alerting.backoff import Schedule
from sentinel.alerting.breaker import Circuit
from sentinel.alerting.courier import QUEUED, Courier
from sentinel.alerting.errors import GoneError, RefusedError
from sentinel.core.anomaly import Severity
from sentinel.core.errors import PermanentError, RetryableError
from sentinel.observability.metrics import Metrics
from sentinel.testing.fakes import START_NS, ManualClock
from sentinel.testing.outbox import MemoryOutbox

LATER_NS = START_NS + 10**9


def down(after_s: float | None = None) -> RetryableError:
    """What an outage looks like."""
    return RetryableError("it is down", after_s)


async def settled(happened: Callable[[], bool]) -> None:
    """Give others their turn until it happened."""
    async with asyncio.timeout(10):
        while not happened():  # noqa: ASYNC110  virtual time passes with turns, not with events
            await asyncio.sleep(0)


class Scene:
    """A courier with its surroundings; time passes only while everybody waits."""

    def __init__(self, receiver: ScriptedReceiver, **settings: object) -> None:
        self.receiver = receiver
        self.outbox = MemoryOutbox()
        self.clock = ManualClock(LATER_NS)
        self.metrics = Metrics()
        self.courier = Courier(channel(receiver, **settings), self.outbox, self.clock, self.metrics, lambda: 0.5)

    async def until(self, happened: Callable[[], bool]) -> None:
        """Run until something happened, then stop in order."""
        running = asyncio.create_task(self.courier.run())
        await settled(happened)
        self.courier.stop()
        await running

    async def until_sent(self, count: int) -> None:
        """Run until so many are recorded as sent."""
        await self.until(lambda: len(self.outbox.ids("sent")) >= count)

    @property
    def elapsed_s(self) -> float:
        """How much virtual time has passed."""
        return (self.clock.now_ns() - LATER_NS) / 1e9


async def test_the_most_severe_goes_first() -> None:
    """Critical before warning before info, whatever came first."""
    scene = Scene(ScriptedReceiver())
    severities = [Severity.INFO, Severity.WARNING, Severity.CRITICAL] * 3
    scene.outbox.put(notification(number, severity=severity) for number, severity in enumerate(severities))
    await scene.until_sent(9)
    assert [int(one[-1]) for one in scene.receiver.taken] == [2, 5, 8, 1, 4, 7, 0, 3, 6]


async def test_only_its_own_receiver_gets_them() -> None:
    """What is for another receiver stays where it is."""
    scene = Scene(ScriptedReceiver())
    scene.outbox.put([notification(1), notification(2, receiver="other")])
    await scene.until_sent(1)
    assert scene.receiver.taken == ["ntf-000001"]
    assert scene.outbox.ids("waiting") == ["ntf-000002"]


async def test_sent_is_recorded_after_the_confirm() -> None:
    """While the receiver has not confirmed, the outbox does not say so."""
    scene = Scene(ScriptedReceiver())
    scene.receiver.gate.clear()
    scene.outbox.put([notification(1)])
    running = asyncio.create_task(scene.courier.run())
    await settled(lambda: bool(scene.receiver.running))
    assert scene.outbox.ids("sent") == []
    scene.receiver.gate.set()
    scene.courier.stop()
    await running
    assert scene.outbox.ids("sent") == ["ntf-000001"]


async def test_a_failure_is_tried_again_by_the_schedule() -> None:
    """Three attempts with 1 s and 2 s between, then half a minute, and the same id each time; what failed is on record."""
    scene = Scene(ScriptedReceiver([down()] * 4))
    scene.outbox.put([notification(1)])
    await scene.until_sent(1)
    assert scene.receiver.tried == [["ntf-000001"]] * 5
    assert scene.elapsed_s == pytest.approx(1 + 2 + 30 + 1, abs=0.2)
    assert scene.outbox.entries["ntf-000001"].reasons == ["it is down"] * 4


async def test_an_outage_of_an_hour_loses_nothing_and_asks_seldom() -> None:
    """100 alerts, the receiver down for an hour: all arrive afterwards, and it was asked no more than twice a minute on average."""
    receiver = ScriptedReceiver()
    scene = Scene(receiver, in_flight=10)
    receiver.verdict = lambda _: down() if scene.elapsed_s < 3_600 else None
    scene.outbox.put(notification(number) for number in range(100))
    await scene.until_sent(100)
    assert sorted(receiver.taken) == [f"ntf-{number:06d}" for number in range(100)]
    assert scene.elapsed_s < 3_600 + 60 + 330
    assert len(receiver.tried) - 100 < 120
    assert scene.courier.status().circuit is Circuit.CLOSED


async def test_after_an_outage_the_critical_ones_come_first() -> None:
    """What came in while the breaker was open goes out by severity, not by age."""
    receiver = ScriptedReceiver([down()] * 8)
    scene = Scene(receiver, in_flight=4)
    scene.outbox.put(notification(number, severity=Severity.INFO) for number in range(40))
    running = asyncio.create_task(scene.courier.run())
    await settled(lambda: scene.courier.status().circuit is Circuit.OPEN)
    scene.outbox.put([notification(99, severity=Severity.CRITICAL)])
    await settled(lambda: bool(receiver.taken))
    scene.courier.stop()
    await running
    assert receiver.taken[0] == "ntf-000099"


async def test_a_half_open_breaker_tries_one_message() -> None:
    """After it was open a single one is sent, and the others only when that went well."""
    receiver = ScriptedReceiver([down()] * 10)
    scene = Scene(receiver, in_flight=10)
    scene.outbox.put(notification(number) for number in range(30))
    sizes: list[int] = []
    real_due = scene.outbox.due

    async def spied(name: str, now_ns: int, limit: int) -> list:
        sizes.append(limit)
        return await real_due(name, now_ns, limit)

    scene.outbox.due = spied  # type: ignore[method-assign]  # to look over its shoulder
    await scene.until_sent(30)
    assert sizes[:3] == [10, 1, 10]


@pytest.mark.parametrize(("error", "waited_s"), [(down(after_s=120.0), 120.0), (RefusedError("wrong URL"), 30.0)])
async def test_how_long_depends_on_the_error(error: RetryableError, waited_s: float) -> None:
    """A receiver that asks for time gets it; what a person must mend is not tried in a burst."""
    scene = Scene(ScriptedReceiver([error]))
    scene.outbox.put([notification(1)])
    await scene.until_sent(1)
    assert scene.elapsed_s == pytest.approx(waited_s, rel=0.1)


async def test_a_receiver_that_asks_for_time_is_left_alone() -> None:
    """Retry-After holds for all messages, not only for the one that was answered with it."""
    scene = Scene(ScriptedReceiver([down(after_s=60.0)]))
    scene.outbox.put([notification(1), notification(2)])
    await scene.until(lambda: len(scene.receiver.taken) == 2)
    assert scene.elapsed_s >= 60.0


@pytest.mark.parametrize("limit", [1, 10])
async def test_the_end_of_an_alert_never_overtakes_its_beginning(limit: int) -> None:
    """While the first message about an alert waits to be tried again, the second waits behind it; other alerts do not."""
    scene = Scene(ScriptedReceiver([down()]), in_flight=limit)
    scene.outbox.put([notification(1, alert="x"), notification(2, alert="x"), notification(3, alert="y")])
    await scene.until_sent(3)
    assert scene.receiver.taken == ["ntf-000003", "ntf-000001", "ntf-000002"]
    assert scene.outbox.entries["ntf-000002"].reasons == [QUEUED]


async def test_a_rise_in_severity_waits_for_nothing() -> None:
    """The warning waits to be tried again; the critical message about the same alert is tried at once all the same."""
    scene = Scene(ScriptedReceiver([RefusedError("mend it")]))
    scene.outbox.put([notification(1, alert="x")])
    running = asyncio.create_task(scene.courier.run())
    await settled(lambda: bool(scene.outbox.entries["ntf-000001"].reasons))
    scene.outbox.put([notification(2, alert="x", severity=Severity.CRITICAL)])
    scene.courier.nudge(urgent=True)
    await settled(lambda: bool(scene.outbox.ids("sent")))
    scene.courier.stop()
    await running
    assert scene.receiver.taken[0] == "ntf-000002"
    assert scene.outbox.entries["ntf-000002"].reasons == []


async def test_what_is_refused_for_ever_is_kept_as_such() -> None:
    """It is recorded with the reason, not tried again, and the next one goes out."""
    scene = Scene(ScriptedReceiver([PermanentError("never")]))
    scene.outbox.put([notification(1), notification(2)])
    await scene.until_sent(1)
    assert scene.outbox.ids("refused") == ["ntf-000001"]
    assert scene.outbox.entries["ntf-000001"].reasons == ["never"]
    assert scene.courier.status().refused == 1


async def test_a_receiver_that_is_gone_is_out_of_use() -> None:
    """After 410 nothing more is sent, the courier ends, everything waits, and the status and the metric say so."""
    scene = Scene(ScriptedReceiver([GoneError("it answered 410")]))
    scene.outbox.put([notification(1), notification(2)])
    await scene.courier.run()
    assert scene.outbox.ids("waiting") == ["ntf-000001", "ntf-000002"]
    assert len(scene.receiver.tried) == 1
    assert (scene.courier.status().state, scene.courier.status().last_error) == ("gone", "it answered 410")
    assert scene.metrics.registry.get_sample_value("sentinel_circuit_state", {"sink": "webhook"}) == 3


async def test_a_fault_of_a_receiver_loses_nothing() -> None:
    """An error nobody foresaw counts as a failure; its text, which may quote an event, is neither recorded nor told."""
    scene = Scene(ScriptedReceiver([KeyError("secret of an event")]))
    scene.outbox.put([notification(1)])
    await scene.until_sent(1)
    assert "KeyError" in scene.outbox.entries["ntf-000001"].reasons[0]
    assert "secret" not in str(scene.outbox.entries["ntf-000001"].reasons) + str(scene.courier.status())


async def test_a_fault_of_the_outbox_does_not_end_the_courier() -> None:
    """After an error nobody foresaw it waits, and goes on."""
    scene = Scene(ScriptedReceiver())
    scene.outbox.put([notification(1)])
    scene.outbox.failures = [KeyError("a fault")]  # type: ignore[list-item]  # what no outbox should raise
    await scene.until_sent(1)
    assert scene.elapsed_s == pytest.approx(10.0)


async def test_gone_holds_for_what_was_taken_out_already() -> None:
    """The second message about the same alert is not sent after the 410."""
    scene = Scene(ScriptedReceiver([GoneError("it answered 410")]), in_flight=5)
    scene.outbox.put([notification(1, alert="x"), notification(2, alert="x")])
    await scene.courier.run()
    assert scene.receiver.tried == [["ntf-000001"]]
    assert len(scene.outbox.ids("waiting")) == 2


@pytest.mark.parametrize("failing", [1, 2, 7])
async def test_an_outbox_that_fails_is_asked_again(failing: int) -> None:
    """Reading and recording are repeated with growing delays; the alert is sent once, and recorded."""
    scene = Scene(ScriptedReceiver())
    scene.outbox.put([notification(1)])
    scene.outbox.failures = [RetryableError("the database is locked") for _ in range(failing)]
    real_sent = scene.outbox.sent

    async def failing_once(one: object, now_ns: int, _left: list[int] = [1]) -> None:  # noqa: B006  a counter of its own
        if _left:
            scene.outbox.failures = [RetryableError("the database is locked") for _ in range(failing)]
            _left.clear()
        await real_sent(one, now_ns)  # type: ignore[arg-type]  # whatever it is, it is passed on

    scene.outbox.sent = failing_once  # type: ignore[method-assign]  # to fail in the middle
    await scene.until_sent(1)
    assert scene.receiver.taken == ["ntf-000001"]
    assert 2 * 0.1 * (2**failing - 1) == pytest.approx(scene.elapsed_s, abs=0.5)


async def test_a_nudge_ends_the_wait() -> None:
    """With a clock that stands still, only the nudge can make the courier look again."""
    scene = Scene(ScriptedReceiver())
    asleep = asyncio.Event()

    async def for_ever(_: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    scene.clock.sleep = for_ever  # type: ignore[method-assign]  # time does not pass
    running = asyncio.create_task(scene.courier.run())
    await asleep.wait()
    scene.outbox.put([notification(1)])
    scene.courier.nudge()
    await settled(lambda: bool(scene.outbox.ids("sent")))
    scene.courier.stop()
    await running


async def test_without_a_nudge_it_looks_every_few_seconds() -> None:
    """What another replica put there is found too."""
    scene = Scene(ScriptedReceiver())
    running = asyncio.create_task(scene.courier.run())
    await settled(lambda: bool(scene.clock.slept))
    scene.outbox.put([notification(1)])
    await settled(lambda: bool(scene.outbox.ids("sent")))
    scene.courier.stop()
    await running
    assert max(scene.clock.slept) == 5.0


@pytest.mark.parametrize("limit", [1, 3, 8])
async def test_no_more_are_under_way_than_allowed(limit: int) -> None:
    """The limit of messages in flight is reached and not passed."""
    scene = Scene(ScriptedReceiver(), in_flight=limit)
    scene.outbox.put(notification(number) for number in range(30))
    await scene.until_sent(30)
    assert scene.receiver.most_running == limit


async def test_batches_are_full_or_as_full_as_they_get() -> None:
    """Seven alerts, at most three in a message: 3, 3, 1, and each is recorded."""
    scene = Scene(ScriptedReceiver(), together=3, max_wait_s=1.0)
    scene.outbox.put(notification(number) for number in range(7))
    await scene.until_sent(7)
    assert [len(ids) for ids in scene.receiver.tried] == [3, 3, 1]


async def wait_after_nudge(max_wait_s: float, *, urgent: bool) -> list[float]:
    """The waits of a courier that was nudged while it slept."""
    scene = Scene(ScriptedReceiver(), together=3, max_wait_s=max_wait_s)
    running = asyncio.create_task(scene.courier.run())
    await settled(lambda: bool(scene.clock.slept))
    scene.clock.slept.clear()
    scene.courier.nudge(urgent=urgent)
    scene.outbox.put([notification(1)])
    await settled(lambda: bool(scene.outbox.ids("sent")))
    waits = list(scene.clock.slept)
    scene.courier.stop()
    await running
    return waits


@pytest.mark.parametrize("max_wait_s", [0.2, 3.0])
async def test_an_alert_waits_for_others_as_long_as_configured(max_wait_s: float) -> None:
    """After a nudge the courier waits that long before it looks; an urgent nudge makes it look at once."""
    assert max_wait_s in await wait_after_nudge(max_wait_s, urgent=False)
    assert max_wait_s not in await wait_after_nudge(max_wait_s, urgent=True)


async def test_one_that_is_never_taken_does_not_hold_up_its_batch() -> None:
    """After a burst together they travel alone: the others arrive, the bad one goes on waiting."""
    receiver = ScriptedReceiver()
    receiver.verdict = lambda one: RefusedError("too large") if one.id.endswith("3") else None
    scene = Scene(receiver, together=10, schedule=Schedule(attempts=2))
    scene.outbox.put(notification(number) for number in range(6))
    await scene.until_sent(5)
    assert scene.outbox.ids("waiting") == ["ntf-000003"]


async def test_told_to_stop_it_finishes_what_is_under_way() -> None:
    """What was sent is recorded, what was not stays, and a stop while it waits returns at once."""
    scene = Scene(ScriptedReceiver(), in_flight=2)
    scene.receiver.gate.clear()
    scene.outbox.put(notification(number) for number in range(5))
    running = asyncio.create_task(scene.courier.run())
    await settled(lambda: scene.receiver.running == 2)
    scene.courier.stop()
    scene.receiver.gate.set()
    await running
    assert len(scene.outbox.ids("sent")) == 2
    assert len(scene.outbox.ids("waiting")) == 3


async def test_the_status_and_the_metrics_tell_what_happened() -> None:
    """Counts, the last error in our own words, and when; after success the error stays to be read."""
    scene = Scene(ScriptedReceiver([down(), None, None]))
    assert scene.courier.status().state == "idle"
    scene.outbox.put([notification(1), notification(2)])
    await scene.until_sent(2)
    status = scene.courier.status()
    assert (status.state, status.sent, status.failed, status.last_error) == ("ok", 2, 1, "it is down")
    assert status.last_sent_ns is not None
    assert status.last_error_ns is not None
    for name, wanted in [("alerts_sent_total", 2), ("alert_failures_total", 1), ("alert_delivery_seconds_count", 2)]:
        assert scene.metrics.registry.get_sample_value(f"sentinel_{name}", {"channel": "webhook"}) == wanted


async def test_the_circuit_is_a_metric() -> None:
    """It is open after five failures in a row."""
    scene = Scene(ScriptedReceiver([down()] * 5), in_flight=5)
    scene.outbox.put(notification(number) for number in range(5))
    await scene.until(lambda: len(scene.receiver.tried) >= 5)
    assert scene.metrics.registry.get_sample_value("sentinel_circuit_state", {"sink": "webhook"}) == 2
