"""The log of one run: what producers wrote, when, and with which mistakes."""

import json
import random

from simulated_kafka import Message

from sentinel.core.timestamp import rfc3339
from sentinel.testing.fakes import START_NS

PARTITIONS = 3


def written(seed: int, seconds: float) -> dict[int, list[Message]]:
    """By partition its messages over so many seconds; each partition has series of its own."""
    chance = random.Random(f"traffic {seed}")  # noqa: S311  traffic, not a secret
    return {partition: _partition(chance, partition, seconds) for partition in range(PARTITIONS)}


def _partition(chance: random.Random, partition: int, seconds: float) -> list[Message]:
    messages: list[Message] = []
    at_s, offset, ids = 0.0, 0, [f"p{partition}"]
    while True:
        at_s += chance.expovariate(1.3)
        if at_s > seconds:
            return messages
        if chance.random() < 0.03:
            offset += chance.randint(1, 5)  # a transaction's markers, or what compaction has removed
        burst = chance.randint(20, 40) if chance.random() < 0.03 else chance.randint(1, 6)
        for _ in range(burst):
            messages.append(Message(offset, at_s, _record(chance, partition, offset, at_s, ids)))
            offset += 1


def _record(chance: random.Random, partition: int, offset: int, at_s: float, ids: list[str]) -> bytes | None:
    """Mostly good ones; `ids` are those given so far."""
    kind = chance.random()
    if kind < 0.02:
        return None
    if kind < 0.04:
        return chance.choice((b"{nope", b"[1]", b'{"model_name":"m","latency_ms":1}', b'{"service_name":"s","latency_ms":"x"}'))
    event_id: str | None = f"{partition}-{offset}"
    if kind < 0.09:
        event_id = chance.choice(ids)  # sent twice
    elif kind < 0.15:
        event_id = None
    else:
        ids.append(str(event_id))
    latency = 100.0 + chance.randint(0, 20)
    if kind > 0.97:
        latency = chance.choice((400.0, 5_000.0, 700_000.0))
    event = {
        "service_name": f"chat-{partition}-{chance.randint(0, 1)}",
        "model_name": "m",
        "timestamp": rfc3339(START_NS + round(at_s * 1e3) * 1_000_000),
        "latency_ms": latency,
        "prompt_tokens": 10,
    }
    return json.dumps(event if event_id is None else {"event_id": event_id, **event}).encode()
