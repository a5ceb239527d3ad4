"""Simulated traffic into Kafka that is as bad as real traffic: producers send twice, some records cannot be events, series misbehave."""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np

from sentinel.testing.faults import NS, Fault, FaultKind
from sentinel.testing.playback import paced, play
from sentinel.testing.profiles import Fleet, make_fleet, model_profiles, service_profiles
from sentinel.testing.simulator import Block, Simulator
from sentinel.testing.targets import KafkaTarget

DUPLICATES = 0.05
"""Share of records that a producer sends a second time, some hundred records later."""
POISON = 0.01
"""Share of records that cannot be events."""
LATER = 300
LONGEST_S = 3_600
"""No traffic of these tests lasts longer."""


def fleet_of(name: str) -> Fleet:
    """Enough series that each of twelve partitions has some."""
    services, models = [f"{name}-{number}" for number in range(10)], [f"model-{number}" for number in range(6)]
    return make_fleet(service_profiles(services), model_profiles(models))


FLEET = fleet_of("service")


class Spoiled:
    """A target that hands on what it gets, with duplicates and poison among it.

    Attributes:
        sent: records so far.
        poisoned: of these, records that cannot be events.
        repeated: of these, records that had been sent before.
    """

    def __init__(self, target: KafkaTarget, seed: int) -> None:
        self._target = target
        self._chance = random.Random(f"spoil {seed}")  # noqa: S311  traffic, not a secret
        self._later: deque[tuple[int, bytes, bytes]] = deque()
        self.accepted = self.rejected = 0
        self.sent = self.poisoned = self.repeated = 0

    async def open(self) -> None:
        """Connect."""
        await self._target.open()

    async def send(self, block: Block) -> None:
        """Hand on."""
        records: list[bytes] = []
        keys: list[bytes] = []
        for record, key in zip(block.records, block.keys, strict=True):
            for one in (self._as_sent(record, key), *self._due()):
                records.append(one[0])
                keys.append(one[1])
                self.sent += 1
        times = np.full(len(records), block.ts_ns[-1] if len(block.ts_ns) else 0, np.int64)
        await self._target.send(Block(records, keys, times))

    async def close(self) -> None:
        """Wait until everything is in the topic."""
        await self._target.close()

    def _as_sent(self, record: bytes, key: bytes) -> tuple[bytes, bytes]:
        dice = self._chance.random()
        if dice < POISON:
            self.poisoned += 1
            return self._chance.choice(_poisons(record)), key
        if dice < POISON + DUPLICATES:
            self._later.append((self.sent + self._chance.randint(1, LATER), record, key))
        return record, key

    def _due(self) -> Sequence[tuple[bytes, bytes]]:
        due = []
        while self._later and self._later[0][0] <= self.sent:
            _, record, key = self._later.popleft()
            due.append((record, key))
        self.repeated += len(due)
        return due


@asynccontextmanager
async def flowing(bootstrap: str, topic: str, *, rate: float, seed: int, fleet: Fleet = FLEET) -> AsyncIterator[Spoiled]:
    """Traffic of a fleet at about `rate` events a second while the block runs; after it all of it is in the topic."""
    start_ns, over, began = time.time_ns(), asyncio.Event(), time.monotonic()
    simulator = Simulator(seed, fleet=fleet, rate=rate, daily_swing=0.0, faults=_faults(start_ns, fleet))
    spoiled = Spoiled(KafkaTarget([bootstrap], topic), seed)
    await spoiled.open()
    blocks = paced(simulator, start_ns, None, lambda: time.monotonic() - began, asyncio.sleep)
    playing = asyncio.create_task(play(blocks, spoiled, None, over.is_set, lambda _: None))
    try:
        yield spoiled
    finally:
        over.set()
        await playing
        await spoiled.close()


def _poisons(record: bytes) -> Sequence[bytes]:
    """What cannot be an event: cut off, nothing, no object, a field that is missing, one of another type."""
    return (
        record[:30],
        b"",
        b"[1]",
        record.replace(b'"service_name"', b'"whose"'),
        record.replace(b'"latency_ms":', b'"latency_ms":"slow","was":'),
    )


def _faults(start_ns: int, fleet: Fleet) -> Sequence[Fault]:
    """Each series is slow for a second now and then, one after the other, so that alerts are made all the time."""
    return [
        Fault(FaultKind.LATENCY_SPIKE, start_ns + at * NS, start_ns + (at + 1) * NS, 12.0, series.service, series.model)
        for place, series in enumerate(fleet.series)
        for at in range(2 + place % 30, LONGEST_S, 30)
    ]
