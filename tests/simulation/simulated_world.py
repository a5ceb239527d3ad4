"""One run: replicas of the real pipeline in a world of fakes, where everything goes wrong that a seed has in store."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Final
from unittest import mock

from simulated_database import SimulatedDatabase
from simulated_kafka import CLUSTER, TOPIC, Broker, Consumer
from simulated_oracle import Expected, Partition
from simulated_replica import Replica, rules
from simulated_stores import SimulatedCheckpoints, SimulatedDeadLetters, SimulatedStore, never
from simulated_traffic import PARTITIONS, written
from simulated_weather import Weather

from sentinel.core.batch import PartitionId
from sentinel.core.delivery import Delivery
from sentinel.core.errors import StartupError
from sentinel.core.ports import Outcome
from sentinel.ingestion.kafka_client import Survey
from sentinel.testing.virtual_loop import PROCESS, VirtualLoop, in_process

STORMY_S: Final = 16.0
"""How long things go wrong; records are written meanwhile."""
SETTLED_WITHIN_S: Final = 600.0
"""Virtual seconds after which everything must be in its place."""
REPLICAS: Final = 2


@dataclass(slots=True)
class Place:
    """Where a replica runs: it is started again whenever it ends.

    Attributes:
        process: of its present life.
    """

    number: int
    lives: int = 0
    process: str = ""
    replica: Replica | None = None


class World:
    """The world of one seed.

    Args:
        seed: everything follows from it.
        verbose: keep the lines of the trace.
        clock_steps: when the wall clock of the replicas is set, in seconds, and by how many seconds.

    Attributes:
        wrong: promises that were broken; empty when all is well.
    """

    def __init__(self, seed: int, *, verbose: bool = False, clock_steps: Sequence[tuple[float, float]] = ()) -> None:
        self.seed = seed
        self.clock_steps = clock_steps
        self.loop = VirtualLoop(seed)
        self.weather = Weather(self.loop, seed)
        self.weather.verbose = verbose
        self.loop.work_s = self.weather.disk_s
        self.log = written(seed, STORMY_S)
        self.expected: dict[int, Expected] = {}
        for partition, messages in self.log.items():
            reader = Partition(CLUSTER, TOPIC, partition)
            self.expected[partition] = reader.read((message.offset, message.value) for message in messages)
            if any(two.offset - one.offset > 1 for one, two in pairwise(messages)):
                self.weather.struck["gap in offsets"] += 1
        self.broker = Broker(self.weather, self.log, self.durable_to)
        self.store = SimulatedStore(self.weather, self.crash, atomic=bool(seed % 2))
        self.letters = SimulatedDeadLetters(self.weather, self.crash)
        self.database = SimulatedDatabase(self.weather, self.crash)
        self.checkpoints = SimulatedCheckpoints(self.weather)
        self.places = [Place(number) for number in range(REPLICAS)]
        self.wrong: list[str] = []
        self._armed = False
        self._over = False
        self._due = {
            partition: sorted([(offset, True) for offset in found.rows] + [(offset, False) for offset in found.letters])
            for partition, found in self.expected.items()
        }

    # --------------------------------------------------------------------------------------------------------- running

    def run(self) -> None:
        """From the first record until everything is in its place."""
        with (
            _seeded(self.seed),
            mock.patch.multiple("sentinel.ingestion.kafka_group", AIOKafkaConsumer=self._consumer, survey=self._survey),
        ):
            self.loop.run_until_complete(self._run())
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.weather.note(f"{self.loop.steps} steps")
        self.loop.close()
        self.wrong += self.broker.wrong + self.store.wrong
        self.wrong += [f"nobody caught: {failure.get('exception') or failure['message']!r}" for failure in self.loop.failures]

    async def _run(self) -> None:
        around = [asyncio.create_task(work) for work in (self.broker.coordinate(), self.weather.blow(STORMY_S), self._disturb())]
        around += [asyncio.create_task(self._keep_up(place)) for place in self.places]
        try:
            async with asyncio.timeout(SETTLED_WITHIN_S):
                await around[2]
                while not self._settled():  # noqa: ASYNC110  of five parts none of which tells
                    await asyncio.sleep(1.0)
        except TimeoutError:
            self.wrong.append(f"not settled after {SETTLED_WITHIN_S:g} s: {self._standing()}")
        self._examine()
        self._over = True
        for place in self.places:
            await self.loop.kill(place.process)
        for task in around:
            task.cancel()
        await asyncio.gather(*around, return_exceptions=True)

    async def _keep_up(self, place: Place) -> None:
        """Start a replica whenever there is none."""
        while not self._over:
            place.lives += 1
            place.process = f"r{place.number}.{place.lives}"
            place.replica = Replica(self, place.process)
            task = self.loop.create_task(place.replica.live(), context=in_process(place.process))
            await asyncio.wait({task})
            self._look_at_end(place, task)
            place.replica = None
            await asyncio.sleep(self.weather.random.uniform(0.1, 4.0))

    def _look_at_end(self, place: Place, task: "asyncio.Task[None]") -> None:
        self.weather.note(f"ended {place.process}")
        if task.cancelled() or place.replica is None or not self.loop.alive(place.process):
            return
        error = task.exception()
        if error is not None and not isinstance(error, StartupError):
            self.wrong.append(f"{place.process} ended with {error!r}")
        self.wrong += place.replica.unbalanced()

    # ------------------------------------------------------------------------------------------------------- disturbing

    async def _disturb(self) -> None:
        """Kill, freeze, restart, reload and rebalance, at random times."""
        deeds = (self._kill, self._arm, self._freeze, self._restart, self._reload, self._rebalance)
        while self.loop.time() < STORMY_S:
            await asyncio.sleep(self.weather.random.expovariate(1 / 2.5))
            place = self.weather.random.choice(self.places)
            await self.weather.random.choice(deeds)(place)
        self._armed = False

    async def _kill(self, place: Place) -> None:
        self.weather.struck["kill"] += 1
        self.weather.note(f"kill {place.process}")
        await self.loop.kill(place.process)

    async def _arm(self, place: Place) -> None:
        """The next process that has had a lasting effect dies right after it."""
        del place
        self._armed = True

    async def crash(self) -> None:
        """Called behind every lasting effect."""
        self.weather.arrive()
        process = PROCESS.get()
        if self._armed and process and self.weather.random.random() < 0.3:
            self._armed = False
            self.weather.struck["kill in a write"] += 1
            self.weather.note("killed in a write")
            self._killing = self.loop.create_task(self.loop.kill(process), context=in_process(""))
            await never()

    async def _freeze(self, place: Place) -> None:
        self.weather.struck["freeze"] += 1
        process = place.process
        self.weather.note(f"freeze {process}")
        self.loop.freeze(process)
        self.loop.call_later(self.weather.random.uniform(0.5, 8.0), self.loop.thaw, process)

    async def _restart(self, place: Place) -> None:
        if place.replica is not None and self.loop.alive():
            self.weather.struck["restart"] += 1
            self.weather.note(f"stop {place.process}")
            place.replica.stop()

    async def _reload(self, place: Place) -> None:
        if place.replica is not None and place.replica.pipeline is not None:
            self.weather.struck["reload"] += 1
            self.weather.note(f"reload {place.process}")
            reload = place.replica.reload(self.weather.random.choice((0.5, 2.5, 6.0)))
            await asyncio.wait({self.loop.create_task(reload, context=in_process(place.process))}, timeout=5)

    async def _rebalance(self, place: Place) -> None:
        del place
        self.broker.shuffle()

    # -------------------------------------------------------------------------------------------------------- examining

    def durable_to(self, partition: int) -> float:
        """The first offset of a partition that has to be somewhere and is not; infinity when there is none."""
        source, due = PartitionId(CLUSTER, TOPIC, partition), self._due[partition]
        rows = self.store.rows.get(source, {})
        while due:
            offset, is_row = due[0]
            if not ((offset, 0) in rows if is_row else (source, offset) in self.letters.places):
                return offset
            del due[0]
        return float("inf")

    def check_ack(self, delivery: Delivery, outcome: Outcome) -> None:
        """What a replica says of a delivery must be what the log says."""
        expected, offsets = self.expected[delivery.source.partition], delivery.offsets.tolist()
        must = [sum(offset in kind for offset in offsets) for kind in (expected.rows, expected.letters, expected.duplicates)]
        told = [outcome.stored, len(outcome.dead_letters), outcome.duplicates]
        if must != told:
            self.wrong.append(f"stored, dead-lettered and duplicate of {delivery.source} {offsets[0]} to {offsets[-1]}: {told}, not {must}")

    def _owner(self, partition: int) -> Replica | None:
        consumer = self.broker.owners.get(partition)
        return next((place.replica for place in self.places if consumer is not None and place.process == consumer.name), None)

    def _settled(self) -> bool:
        idle = all(place.replica is None or place.replica.in_flight == 0 for place in self.places)
        return idle and all(self._is_settled(partition) for partition in range(PARTITIONS))

    def _is_settled(self, partition: int) -> bool:
        end, owner = self.broker.end(partition), self._owner(partition)
        shard = owner.shard(partition) if owner is not None else None
        return shard is not None and shard.next_offset == end and self.broker.committed.get(partition) == end

    def _standing(self) -> dict[int, tuple[int, int | None, object]]:
        return {p: (self.broker.end(p), self.broker.committed.get(p), (o := self._owner(p)) and o.faults()) for p in range(PARTITIONS)}

    def _examine(self) -> None:
        for partition, expected in self.expected.items():
            self._compare(partition, expected)
        anomalies = {id_: found for expected in self.expected.values() for id_, found in expected.anomalies.items()}
        self._same("anomalies", anomalies, self.store.anomalies)
        told = sorted(id_ for expected in self.expected.values() for id_ in expected.notifications)
        self._same("notifications", told, self.database.notifications())
        alerts = {id_: alert for expected in self.expected.values() for id_, alert in expected.alerts.items()}
        self._same("alerts", alerts, self.database.alerts())
        for place in self.places:
            if place.replica is not None and self.loop.alive(place.process):
                self.wrong += place.replica.unbalanced()

    def _compare(self, partition: int, expected: Expected) -> None:
        source = PartitionId(CLUSTER, TOPIC, partition)
        stored = {place: (row.event_id, row.name.service, row.metrics[0]) for place, row in self.store.rows.get(source, {}).items()}
        self._same(f"rows of {partition}", {(offset, 0): row for offset, row in expected.rows.items()}, stored)
        letters = sorted({(offset, code) for log, offset, _, code in self.letters.written if log == source})
        self._same(f"dead letters of {partition}", sorted(expected.letters.items()), letters)
        owner = self._owner(partition)
        if owner is not None:
            self._same(f"state of {partition}", rules().replayed(source, self.log[partition]), owner.state(partition))

    def _same(self, what: str, expected: object, found: object) -> None:
        if expected != found:
            self.wrong.append(f"{what}: {difference(expected, found)}")

    def _consumer(self, **_options: object) -> Consumer:
        return Consumer(self.broker, PROCESS.get())

    async def _survey(self, _config: object) -> Survey:
        await self.weather.delay()
        return self._consumer().survey()


def difference(expected: object, found: object) -> str:
    """What is missing and what is too much, shortened."""
    if isinstance(expected, dict) and isinstance(found, dict):
        expected, found = list(expected.items()), list(found.items())
    if isinstance(expected, list) and isinstance(found, list):
        missing, surplus = ([one for one in these if one not in those][:3] for these, those in ((expected, found), (found, expected)))
        return f"{len(found)} instead of {len(expected)}, missing {missing}, too much {surplus}"[:400]
    return f"{expected!r:.200} -> {found!r:.200}"


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Jitter of the product comes from the global generator."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
