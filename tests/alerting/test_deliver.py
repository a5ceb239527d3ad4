"""All couriers together: independence, life cycle, and what each key of the configuration changes."""

import asyncio
from collections.abc import Callable

import pytest
from delivery_inputs import ScriptedReceiver, channel, notification

from sentinel.alerting.deliver import Couriers, channels
from sentinel.alerting.webhook import Webhook
from sentinel.app.clock import SystemClock
from sentinel.config.sections_alerting import Batching, RabbitMQ, RetryConfig
from sentinel.config.sections_alerting import Webhook as WebhookConfig
from sentinel.core.errors import StartupError
from sentinel.core.ports import Receiver
from sentinel.observability.metrics import Metrics
from sentinel.testing.fakes import ManualClock
from sentinel.testing.outbox import MemoryOutbox


async def happened(what: Callable[[], bool]) -> None:
    """Give others their turn until it is so."""
    async with asyncio.timeout(10):
        while not what():  # noqa: ASYNC110  the fakes tell nobody
            await asyncio.sleep(0.001)


async def test_a_slow_receiver_delays_nobody_else() -> None:
    """One never confirms; the other gets all of its alerts meanwhile."""
    slow, quick = ScriptedReceiver(), ScriptedReceiver()
    slow.gate.clear()
    outbox = MemoryOutbox()
    outbox.put(notification(number, receiver=("slow", "quick")[number % 2]) for number in range(40))
    couriers = Couriers([channel(slow, "slow"), channel(quick, "quick")], outbox, SystemClock(), Metrics())
    await couriers.open()
    await happened(lambda: len(quick.taken) == 20)
    assert slow.taken == []
    await couriers.close(limit_s=0.05)
    assert len(outbox.ids("waiting")) == 20
    assert (slow.closed, quick.closed) == (1, 1)


async def test_a_nudge_wakes_all() -> None:
    """What was put into the outbox goes out at once, not at the next poll."""
    receivers = [ScriptedReceiver(), ScriptedReceiver()]
    outbox = MemoryOutbox()
    couriers = Couriers([channel(receiver, f"r{number}") for number, receiver in enumerate(receivers)], outbox, SystemClock(), Metrics())
    await couriers.open()
    async with asyncio.timeout(3):  # less than a poll
        for number in range(20):
            outbox.put([notification(number, receiver=f"r{number % 2}")])
            couriers.nudge(urgent=True)
            await happened(lambda number=number: len(outbox.ids("sent")) == number + 1)
    await couriers.close()


async def test_the_status_names_every_receiver() -> None:
    """In the order of the configuration."""
    couriers = Couriers([channel(ScriptedReceiver(), "a"), channel(ScriptedReceiver(), "b")], MemoryOutbox(), ManualClock(), Metrics())
    assert [(status.name, status.state, status.circuit) for status in couriers.status()] == [
        ("a", "idle", "closed"),
        ("b", "idle", "closed"),
    ]


async def test_closing_twice_or_unopened_is_harmless() -> None:
    """Whatever state it is in."""
    couriers = Couriers([channel(ScriptedReceiver())], MemoryOutbox(), SystemClock(), Metrics())
    await couriers.close()
    await couriers.open()
    await couriers.close()
    await couriers.close()


async def test_a_receiver_that_cannot_open_undoes_the_others() -> None:
    """The error goes to the caller, and nothing is left running."""

    class Broken(ScriptedReceiver):
        async def open(self) -> None:
            raise StartupError("no such file")

    good = ScriptedReceiver()
    couriers = Couriers([channel(good, "a"), channel(Broken(), "b")], MemoryOutbox(), SystemClock(), Metrics())
    with pytest.raises(StartupError):
        await couriers.open()
    assert good.closed == 1


def built(**sections: object) -> list:
    """The channels of some sections."""
    wanted = {"rabbitmq": None, "webhook": None, "batching": None} | sections
    return channels(**wanted, clock=ManualClock(), metrics=Metrics())


def test_only_what_is_configured_is_built() -> None:
    """A section that is absent or switched off makes no channel."""
    webhook = WebhookConfig(enabled=True, url="https://alerts.example/")
    assert built() == []
    assert [one.name for one in built(rabbitmq=RabbitMQ(), webhook=webhook)] == ["rabbitmq", "webhook"]
    assert built(webhook=webhook.model_copy(update={"enabled": False})) == []


def test_the_keys_reach_the_channel() -> None:
    """Attempts, delays, limits and batching are those of the configuration."""
    retry = RetryConfig(max_attempts=5, initial_delay_ms=200, backoff_multiplier=3, max_delay_ms=900)
    (rabbit,) = built(
        rabbitmq=RabbitMQ(retry_config=retry, max_in_flight=7), batching=Batching(enabled=True, max_alerts=9, max_wait_ms=250)
    )
    assert (rabbit.in_flight, rabbit.together, rabbit.max_wait_s) == (7, 9, 0.25)
    assert [rabbit.schedule.delay_s(tried, 0.5) for tried in (1, 2, 3, 4, 5)] == pytest.approx([0.2, 0.6, 0.9, 0.9, 30.0])
    section = WebhookConfig(
        enabled=True, url="https://a.example/", max_retries=1, retry_delay_ms=100, backoff_multiplier=1, max_in_flight=2
    )
    (webhook,) = built(webhook=section, batching=Batching(enabled=False, max_alerts=9))
    assert (webhook.in_flight, webhook.together) == (2, 1)
    assert [webhook.schedule.delay_s(tried, 0.5) for tried in (1, 2)] == pytest.approx([0.1, 30.0])


def test_receivers_keep_the_contract_of_the_port() -> None:
    """Both are receivers to the type checker, which this line asks."""
    receiver: Receiver = Webhook(WebhookConfig(url="https://alerts.example/"), ManualClock(), Metrics())
    assert receiver
