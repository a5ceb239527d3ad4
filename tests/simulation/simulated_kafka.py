"""A topic and its consumer group as a broker and a client keep them: eager rebalances, generations, fenced commits, expulsion."""

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, KafkaConnectionError
from simulated_weather import Weather

from sentinel.ingestion.kafka_client import Survey
from sentinel.testing.fakes import START_NS

TOPIC = "llm.telemetry"
CLUSTER = "simulated"
HEARTBEAT_S = 0.7
SESSION_S = 2.5
JOIN_S = 3.0

_AT, _OFFSET = attrgetter("at_s"), attrgetter("offset")


class Message(NamedTuple):
    """One record; it is there from `at_s` on."""

    offset: int
    at_s: float
    value: bytes | None

    @property
    def timestamp(self) -> int:
        """Append time in milliseconds."""
        return START_NS // 1_000_000 + round(self.at_s * 1e3)


@dataclass(slots=True, eq=False)
class Member:
    """A consumer as the broker knows it."""

    consumer: "Consumer"
    heard_s: float
    joining: "asyncio.Future[tuple[int, list[int]]] | None" = None

    @property
    def waits(self) -> bool:
        """Whether it has joined and waits for its share; one that died meanwhile does not."""
        return self.joining is not None and not self.joining.done()


@dataclass(slots=True)
class Broker:
    """The log and the group's coordinator. It outlives every process.

    Attributes:
        log: by partition its messages, in order.
        committed: the group's offsets.
        wrong: promises that were broken.
    """

    weather: Weather
    log: dict[int, list[Message]]
    durable_to: Any
    committed: dict[int, int] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    generation: int = 0
    owners: dict[int, "Consumer"] = field(default_factory=dict)
    rebalancing_since: float | None = None
    wrong: list[str] = field(default_factory=list)

    def end(self, partition: int) -> int:
        """The offset after the last message that is there by now."""
        log = self.log[partition]
        there = bisect_right(log, self.weather.loop.time(), key=_AT)
        return log[there - 1].offset + 1 if there else 0

    def enter(self, consumer: "Consumer") -> Member:
        """A new member; everybody has to join anew."""
        member = Member(consumer, self.weather.loop.time())
        self.members.append(member)
        self.shuffle()
        return member

    def drop(self, member: Member) -> None:
        """A member left, or was not heard of."""
        if member in self.members:
            self.members.remove(member)
            self.shuffle()

    def shuffle(self) -> None:
        """Begin a rebalance."""
        if self.rebalancing_since is None:
            self.rebalancing_since = self.weather.loop.time()

    async def coordinate(self) -> None:
        """Expel who is silent, and end a rebalance once all have joined or had their time."""
        while True:
            await asyncio.sleep(0.1)
            now_s = self.weather.loop.time()
            for member in list(self.members):
                if now_s - member.heard_s > SESSION_S and not member.waits:
                    self.weather.struck["expelled"] += 1
                    self.weather.note(f"expelled {member.consumer.name}")
                    self.drop(member)
            if self.rebalancing_since is None:
                continue
            if now_s - self.rebalancing_since > JOIN_S:
                self.members = [member for member in self.members if member.waits]
            if self.members and all(member.waits for member in self.members):
                self._deal()

    def _deal(self) -> None:
        self.generation += 1
        self.rebalancing_since = None
        hands: list[list[int]] = [[] for _ in self.members]
        before = self.owners
        self.owners = {}
        for partition in self.log:
            at = self.weather.random.randrange(len(hands))
            hands[at].append(partition)
            self.owners[partition] = self.members[at].consumer
            if before.get(partition) is self.owners[partition]:
                self.weather.struck["regained"] += 1
        self.weather.struck["rebalance"] += 1
        self.weather.note(f"generation {self.generation}: {[(m.consumer.name, h) for m, h in zip(self.members, hands, strict=True)]}")
        for member, hand in zip(self.members, hands, strict=True):
            joining, member.joining, member.heard_s = member.joining, None, self.weather.loop.time()
            if joining is not None and not joining.done():
                joining.set_result((self.generation, hand))

    def commit(self, consumer: "Consumer", offsets: dict[int, int]) -> None:
        """Take a commit of a member of this generation."""
        known = any(member.consumer is consumer for member in self.members)
        if not known or consumer.generation != self.generation or self.weather.strikes("commits refused"):
            raise CommitFailedError("the group has moved on")
        for partition, offset in offsets.items():
            before = self.committed.get(partition, 0)
            if self.owners.get(partition) is not consumer:
                self.wrong.append(f"{consumer.name} committed {partition}, which is not its own")
            if offset < before:
                self.wrong.append(f"the committed offset of {partition} went back from {before} to {offset}")
            if offset > self.durable_to(partition):
                self.wrong.append(f"{offset} was committed of {partition}, of which only {self.durable_to(partition)} is durable")
            self.committed[partition] = offset
            self.weather.note(f"committed {partition} {offset}")


class Consumer:
    """What `AIOKafkaConsumer` is to the Kafka source: the part of its interface that the source uses.

    Args:
        broker: where it connects to.
        name: of its process.
    """

    def __init__(self, broker: Broker, name: str) -> None:
        self.name = name
        self.generation = -1
        self._coordinator = self
        self._broker = broker
        self._weather = broker.weather
        self._listener: Any = None
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._member: Member | None = None
        self._task: asyncio.Task[None] | None = None

    def subscribe(self, topics: Sequence[str], listener: Any) -> None:
        """Whose rebalances are told to whom."""
        assert list(topics) == [TOPIC]
        self._listener = listener

    async def start(self) -> None:
        """Become a member."""
        await self._reach()
        self._member = self._broker.enter(self)
        self._task = asyncio.create_task(self._belong(), name=f"coordinator of {self.name}")

    async def stop(self) -> None:
        """Leave the group."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        self._positions.clear()
        await self._weather.delay()
        if self._member is not None:
            self._broker.drop(self._member)

    async def _belong(self) -> None:
        """Heartbeats, and joining anew when the group moves."""
        while True:
            assert self._member is not None
            self._weather.arrive()
            if self._member not in self._broker.members or self.generation < 0 or self._broker.rebalancing_since is not None:
                await self._rejoin()
            self._member.heard_s = self._weather.loop.time()
            await asyncio.sleep(HEARTBEAT_S)

    async def _rejoin(self) -> None:
        if self._member is None or self._member not in self._broker.members:
            self.generation = -1  # expelled: as aiokafka does, before anything else
        await self._listener.on_partitions_revoked(set(self._positions))
        self._positions.clear()
        self._paused.clear()
        await self._weather.delay()
        if self._member is None or self._member not in self._broker.members:
            self._member = self._broker.enter(self)
        self._broker.shuffle()
        self._member.joining = asyncio.get_running_loop().create_future()
        self.generation, hand = await self._member.joining
        assigned = {TopicPartition(TOPIC, partition) for partition in hand}
        self._positions = dict.fromkeys(sorted(assigned), -1)
        await self._listener.on_partitions_assigned(assigned)

    # -------------------------------------------------------------------------------------------------- reading

    def pause(self, *tps: TopicPartition) -> None:
        """Give nothing of these."""
        self._paused.update(tps)

    def resume(self, *tps: TopicPartition) -> None:
        """Give something of these again."""
        self._paused.difference_update(tps)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Go on from there."""
        if tp in self._positions:
            self._positions[tp] = offset

    async def getmany(self, *tps: TopicPartition, timeout_ms: int = 0, max_records: int = 1) -> dict[TopicPartition, list[Message]]:
        """What is there; waits for some."""
        await asyncio.sleep(self._weather.random.uniform(0.0005, 0.005))
        taken = self._take(tps, max_records)
        if not taken and timeout_ms:
            await asyncio.sleep(timeout_ms / 1e3)
            taken = self._take(tps, max_records)
        self._weather.arrive()
        return taken

    def _take(self, tps: Sequence[TopicPartition], most: int) -> dict[TopicPartition, list[Message]]:
        taken: dict[TopicPartition, list[Message]] = {}
        if self._weather.strikes("brokers away"):
            return taken
        open_ones = [tp for tp in (tps or self._positions) if tp not in self._paused and self._positions.get(tp, -1) >= 0]
        for tp in self._weather.random.sample(open_ones, len(open_ones)):
            end, room = self._broker.end(tp.partition), most - sum(map(len, taken.values()))
            log = self._broker.log[tp.partition]
            first = bisect_left(log, self._positions[tp], key=_OFFSET)
            part = [m for m in log[first : first + min(room, self._weather.random.randint(1, 20))] if m.offset < end]
            if part:
                taken[tp] = part
                self._positions[tp] = part[-1].offset + 1
        return taken

    # ------------------------------------------------------------------------------------------------- questions

    async def commit(self, offsets: dict[TopicPartition, Any]) -> None:
        """Commit offsets; what is refused raises CommitFailedError."""
        await self._reach()
        self._broker.commit(self, {tp.partition: position.offset for tp, position in offsets.items()})
        if self._weather.strikes("commits lose replies"):
            await asyncio.sleep(3_600.0)

    async def committed(self, tp: TopicPartition) -> int | None:
        """The group's offset."""
        await self._reach()
        return self._broker.committed.get(tp.partition)

    async def position(self, tp: TopicPartition) -> int:
        """Where the next record comes from."""
        return self._positions.get(tp, 0)

    async def beginning_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The first offsets that are left."""
        await self._reach()
        return dict.fromkeys(tps, 0)

    async def end_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The offsets after the last records."""
        await self._reach()
        return {tp: self._broker.end(tp.partition) for tp in tps}

    async def _reach(self) -> None:
        await self._weather.delay()
        if self._weather.strikes("brokers away"):
            raise KafkaConnectionError("no broker answers")

    def survey(self) -> Survey:
        """What the brokers say before we join."""
        return Survey(CLUSTER, len(self._broker.log), begun=bool(self._broker.committed))
