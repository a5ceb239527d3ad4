"""Read LLM-Sentinel's alerts from RabbitMQ and print them.

    pip install aio-pika
    python rabbitmq_subscriber.py --url amqp://guest:guest@127.0.0.1:5672/

Without --binding it reads the queue that the daemon declares, which holds every alert. With --binding alert.critical it makes a queue of
its own that gets the critical ones only; `alert.#` gets all.
"""

import argparse
import asyncio
import json
import sys
from typing import Any

import aio_pika
from aio_pika.exceptions import CONNECTION_EXCEPTIONS


def show(alert: dict[str, Any]) -> None:
    """One alert, on one line. Put here what you do with one."""
    subject = f"{alert['service']}/{alert['model']}"
    print(f"{alert['severity'].upper():8} {alert['status']:8} {subject}: {alert['title']} [{alert['notification_id']}]", flush=True)


async def subscribe(url: str, exchange: str, queue_name: str, binding: str | None, count: int) -> None:
    """Print alerts until `count` messages were read; 0 = for ever."""
    connection = await aio_pika.connect_robust(url)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=100)
        if binding is None:
            queue = await channel.get_queue(queue_name)
        else:
            queue = await channel.declare_queue(queue_name, durable=True)
            await queue.bind(exchange, binding)
        print(f"waiting for alerts in {queue_name}; Ctrl-C ends it", flush=True)
        # An alert can come twice, after a failure, with the same id: what you do with it should not care, or look the id up.
        seen: set[str] = set()
        async with queue.iterator() as messages:
            async for message in messages:
                # `process` acks when this block ends well, and gives the message back to the queue when it does not.
                async with message.process(requeue=True):
                    body = json.loads(message.body)
                    for alert in body.get("alerts", [body]):  # several, when batching is on
                        if alert["notification_id"] not in seen:
                            show(alert)
                        seen.add(alert["notification_id"])
                count -= 1
                if count == 0:
                    return


def main() -> int:
    """Read the command line and subscribe. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Print LLM-Sentinel's alerts from RabbitMQ.")
    parser.add_argument("--url", default="amqp://guest:guest@127.0.0.1:5672/")
    parser.add_argument("--exchange", default="sentinel.alerts")
    parser.add_argument("--queue", default="sentinel.alerts.all", help="queue to read; with --binding, one to make")
    parser.add_argument("--binding", help="bind the queue to the exchange with this key, like alert.critical")
    parser.add_argument("--count", type=int, default=0, help="end after so many messages")
    wanted = parser.parse_args()
    try:
        asyncio.run(subscribe(wanted.url, wanted.exchange, wanted.queue, wanted.binding, wanted.count))
    except CONNECTION_EXCEPTIONS as error:
        print(
            f"RabbitMQ cannot be used: {error!r}. Is it up, and does the queue exist? The daemon declares it at its first alert.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
