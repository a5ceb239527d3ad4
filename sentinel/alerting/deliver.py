"""Delivery: one courier for each configured receiver, so that a slow one never delays another."""

import asyncio
from collections.abc import Sequence

from sentinel.alerting.backoff import Schedule
from sentinel.alerting.channel import Channel, ChannelStatus
from sentinel.alerting.courier import Courier
from sentinel.alerting.rabbitmq import RabbitMQ
from sentinel.alerting.webhook import Webhook
from sentinel.config.sections_alerting import Batching
from sentinel.config.sections_alerting import RabbitMQ as RabbitMQConfig
from sentinel.config.sections_alerting import Webhook as WebhookConfig
from sentinel.core.errors import StartupError
from sentinel.core.ports import Clock, Outbox
from sentinel.observability.logs import get
from sentinel.observability.metrics import Metrics

log = get(__name__)


def channels(
    rabbitmq: RabbitMQConfig | None, webhook: WebhookConfig | None, batching: Batching | None, clock: Clock, metrics: Metrics
) -> list[Channel]:
    """The channels of a configuration. The receivers' names, by which the outbox knows them, are `rabbitmq` and `webhook`."""
    batching = batching or Batching()
    together = batching.max_alerts if batching.enabled else 1
    max_wait_s = batching.max_wait_ms / 1e3
    found = []
    if rabbitmq is not None:
        retry = rabbitmq.retry_config
        schedule = Schedule(retry.max_attempts, retry.initial_delay_ms / 1e3, retry.backoff_multiplier, retry.max_delay_ms / 1e3)
        receiver = RabbitMQ(rabbitmq, metrics)
        found.append(Channel("rabbitmq", "rabbitmq", receiver, schedule, rabbitmq.max_in_flight, together, max_wait_s))
    if webhook is not None and webhook.enabled:
        schedule = Schedule(1 + webhook.max_retries, webhook.retry_delay_ms / 1e3, webhook.backoff_multiplier)
        found.append(Channel("webhook", "webhook", Webhook(webhook, clock, metrics), schedule, webhook.max_in_flight, together, max_wait_s))
    return found


class Couriers:
    """All couriers. A receiver that is down makes nobody wait, and is no reason for the daemon not to be ready; `status` tells of it.

    Args:
        channels: one for each receiver.
        outbox: where notifications wait.
        clock, metrics: as for a courier.
    """

    def __init__(self, channels: Sequence[Channel], outbox: Outbox, clock: Clock, metrics: Metrics) -> None:
        self._channels = channels
        self._couriers = [Courier(channel, outbox, clock, metrics) for channel in channels]
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Get the receivers ready and begin. No receiver need be up. Raises StartupError with place and cure."""
        try:
            for channel in self._channels:
                await channel.receiver.open()
        except StartupError:
            await self.close()
            raise
        self._tasks = [asyncio.create_task(courier.run(), name=f"courier-{courier.status().name}") for courier in self._couriers]

    def nudge(self, *, urgent: bool = False) -> None:
        """Something new is in the outbox. `urgent`: it is critical, and does not wait for others to share its message."""
        for courier in self._couriers:
            courier.nudge(urgent=urgent)

    def status(self) -> list[ChannelStatus]:
        """How each receiver does."""
        return [courier.status() for courier in self._couriers]

    async def close(self, limit_s: float = 10.0) -> None:
        """Finish what is under way within `limit_s` seconds; what remains waits in the outbox. Twice is harmless."""
        for courier in self._couriers:
            courier.stop()
        tasks, self._tasks = self._tasks, []
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=limit_s)
            for task in late:
                log.warning("a receiver did not confirm in time; its alerts stay in the outbox", task=task.get_name(), limit_s=limit_s)
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for channel in self._channels:
            await channel.receiver.close()
