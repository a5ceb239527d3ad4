"""Send events to Kafka from an asyncio program: one flat JSON object per LLM request, keyed by service and model.

    pip install aiokafka
    python producer.py --brokers 127.0.0.1:9092 --topic llm.telemetry --events 100

Every twentieth request is slow and dear, so that there is something to find.
"""

import argparse
import asyncio
import json
import random
import sys
import uuid
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError


def make_event(number: int) -> dict[str, object]:
    """One LLM request as the flat dialect spells it; only service, model and latency are required."""
    odd = number % 20 == 19
    prompt, completion = random.randint(200, 1_200), random.randint(50, 400)  # noqa: S311  traffic, not secrets
    return {
        "event_id": uuid.uuid4().hex,  # sending an event twice is harmless: it counts once
        "timestamp": datetime.now(UTC).isoformat(),
        "service_name": "example-chat",
        "model_name": "example-model",
        "latency_ms": round((200 + 12 * completion) * (10 if odd else 1) * random.lognormvariate(0, 0.15), 1),
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "cost_usd": round((prompt * 2.5e-6 + completion * 1e-5) * (30 if odd else 1), 6),
        "trace_id": uuid.uuid4().hex,
        "user_id": f"user-{random.randint(1, 50)}",  # noqa: S311  likewise; replaced by a pseudonym before anything is stored
        "finish_reason": "stop",
    }


async def produce(brokers: str, topic: str, events: int) -> None:
    """Send the events and return when the brokers have confirmed every one."""
    producer = AIOKafkaProducer(bootstrap_servers=brokers, acks="all", enable_idempotence=True, linger_ms=5)
    await producer.start()
    try:
        confirms = []
        for number in range(events):
            event = make_event(number)
            # One key per service and model keeps its events in order, in one partition, judged against one baseline.
            key = f"{event['service_name']}:{event['model_name']}"
            confirms.append(await producer.send(topic, json.dumps(event).encode(), key=key.encode()))
            if len(confirms) == 1_000:
                await asyncio.gather(*confirms)
                confirms.clear()
        await asyncio.gather(*confirms)
    finally:
        await producer.stop()
    print(f"{events} events sent to {topic}")


def main() -> int:
    """Read the command line and send. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Send example LLM events to Kafka.")
    parser.add_argument("--brokers", default="127.0.0.1:9092", help="host:port, several separated by commas")
    parser.add_argument("--topic", default="llm.telemetry")
    parser.add_argument("--events", type=int, default=100)
    wanted = parser.parse_args()
    try:
        asyncio.run(produce(wanted.brokers, wanted.topic, wanted.events))
    except KafkaConnectionError as error:
        print(f"no Kafka broker answers at {wanted.brokers}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
