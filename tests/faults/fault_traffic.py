"""Simulated traffic into Kafka of which everything is known: what was sent, what cannot be an event, what its store is to refuse."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer

from sentinel.testing.faults import NS, Fault, FaultKind
from sentinel.testing.playback import paced, play
from sentinel.testing.profiles import make_fleet
from sentinel.testing.simulator import Block, Simulator
from sentinel.testing.targets import KafkaTarget

BAD_EVERY = 997
"""One in so many records cannot be an event."""
POISON = "poison-"
"""How the ids of events begin that the store is to refuse."""
STORM_S = 3_600
"""How long the storm lasts; longer than any test."""


class Known:
    """A target that spoils some records, and knows what it has handed on.

    Attributes:
        sent: records so far.
        bad: of these, records that cannot be events.
        poisoned: events that the store is to refuse.
        good: ids of all other events.
        prompt_tokens, completion_tokens: their sums over the good ones.
    """

    def __init__(self, target: KafkaTarget, poison_every: int) -> None:
        self._target = target
        self._poison_every = poison_every
        self.accepted = self.rejected = 0
        self.sent = self.bad = self.poisoned = 0
        self.good: set[str] = set()
        self.prompt_tokens = self.completion_tokens = 0

    async def open(self) -> None:
        """Connect."""
        await self._target.open()

    async def send(self, block: Block) -> None:
        """Hand on."""
        await self._target.send(block._replace(records=list(map(self._noted, block.records))))

    async def close(self) -> None:
        """Wait until everything is in the topic."""
        await self._target.close()

    def sums(self) -> dict[str, Any]:
        """What a store must hold when nothing was lost and nothing doubled."""
        n = len(self.good)
        return {"events": n, "ids": n, "prompt": self.prompt_tokens, "completion": self.completion_tokens}

    def _noted(self, record: bytes) -> bytes:
        number, self.sent = self.sent, self.sent + 1
        if number % BAD_EVERY == 7:
            self.bad += 1
            return record[:30]
        event = json.loads(record)
        if self._poison_every and number % self._poison_every == 11:
            self.poisoned += 1
            return record.replace(b'"event_id":"', f'"event_id":"{POISON}'.encode(), 1)
        self.good.add(event["event_id"])
        self.prompt_tokens += event["prompt_tokens"]
        self.completion_tokens += event["completion_tokens"]
        return record


@asynccontextmanager
async def flowing(bootstrap: str, topic: str, *, rate: float, storm: bool = False, poison_every: int = 0) -> AsyncIterator[Known]:
    """Traffic at `rate` events a second while the block runs; after it all of it is in the topic."""
    start_ns, over = time.time_ns(), asyncio.Event()
    simulator = Simulator(7, rate=rate, daily_swing=0.0, faults=storm_faults(start_ns) if storm else ())
    began = time.monotonic()
    known = Known(KafkaTarget([bootstrap], topic), poison_every)
    await known.open()
    blocks = paced(simulator, start_ns, None, lambda: time.monotonic() - began, asyncio.sleep)
    playing = asyncio.create_task(play(blocks, known, None, over.is_set, lambda _: None))
    try:
        yield known
    finally:
        over.set()
        await playing
        await known.close()


def storm_faults(start_ns: int) -> Sequence[Fault]:
    """Something is wrong with every series every few seconds, each time something else, at a different moment in each."""
    kinds = ((FaultKind.LATENCY_SPIKE, 8.0), (FaultKind.TOKEN_SURGE, 6.0), (FaultKind.COST_RUNAWAY, 20.0))
    return [
        Fault(kind, start_ns + int(at * NS), start_ns + int((at + 0.4) * NS), strength, series.service, series.model)
        for place, series in enumerate(make_fleet().series)
        for turn in range(STORM_S // 3)
        for kind, strength in (kinds[(place + turn) % len(kinds)],)
        for at in (turn * 3 + place * 0.25,)
    ]


def configuration(bootstrap: str, topic: str, **more: Any) -> dict[str, Any]:
    """What the daemons of these tests share: the topic from its start, small deliveries, windows that warm up quickly."""
    kafka = {
        "brokers": [bootstrap],
        "topic": topic,
        "group_id": topic,
        "group_instance_id": "one",
        "auto_offset_reset": "earliest",
        "max_poll_records": 500,
        "dead_letter_topic": f"{topic}.dlq",
    }
    return {
        "ingestion": {"kafka": kafka},
        "detection": {"baseline": {"update_interval_secs": 1.0, "window_size": 100}},
        **more,
    }


async def dead_letters(bootstrap: str, topic: str) -> dict[tuple[int, int], str]:
    """The codes of all dead letters by partition and offset; repeats fall together."""
    consumer = AIOKafkaConsumer(f"{topic}.dlq", bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=None)
    await consumer.start()
    found: dict[tuple[int, int], str] = {}
    while batch := await consumer.getmany(timeout_ms=1_000):
        for letter in (json.loads(record.value or b"") for records in batch.values() for record in records):
            found[letter["partition"], letter["offset"]] = letter["code"]
    await consumer.stop()
    return found


async def until(happened: Callable[[], bool | Awaitable[bool]], what: str, within_s: float = 120.0) -> None:
    """Look again until it has happened."""
    deadline = time.monotonic() + within_s
    while True:
        found = happened()
        if found if isinstance(found, bool) else await found:
            return
        assert time.monotonic() < deadline, f"{what}: not within {within_s:g} s"
        await asyncio.sleep(0.05)
