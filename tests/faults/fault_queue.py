"""A RabbitMQ queue that gets every alert."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aio_pika
from aio_pika.abc import AbstractQueue


class Queue:
    """A durable queue of this name, and an exchange of the same name that it can be bound to.

    Args:
        url: of the server.
        name: of both.
    """

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self.name = name

    def section(self, **more: Any) -> dict[str, Any]:
        """The daemon's `alerting.rabbitmq`; it declares no queue, so alerts go here or nowhere."""
        return {"url": f"amqp://127.0.0.1:{urlsplit(self._url).port}", "exchange": self.name, "queue": None, **more}

    async def bind(self) -> None:
        """Get alerts from now on."""
        async with self._opened() as queue:
            await queue.bind(self.name, "alert.#")

    async def unbind(self) -> None:
        """Get none any more."""
        async with self._opened() as queue:
            await queue.unbind(self.name, "alert.#")

    async def message_ids(self) -> list[str]:
        """The ids of all messages in it; they are taken out."""
        found: list[str] = []
        async with self._opened() as queue:
            while (message := await queue.get(no_ack=True, fail=False)) is not None:
                found.append(str(message.message_id))
        return found

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[AbstractQueue]:
        async with await aio_pika.connect(self._url) as connection:
            channel = await connection.channel()
            await channel.declare_exchange(self.name, aio_pika.ExchangeType.TOPIC, durable=True)
            yield await channel.declare_queue(self.name, durable=True)
