"""Shipped fakes: time that moves when told, a source that follows a script, a sink that fails on demand."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

import numpy as np

from sentinel.core.batch import PartitionId
from sentinel.core.delivery import Delivery
from sentinel.core.errors import SentinelError
from sentinel.core.ports import Outcome, PartitionOwner, Store, StoredMetrics, StoreWrite

T = TypeVar("T")

START_NS = 1_700_000_000_000_000_000


class ManualClock:
    """A `Clock` whose time moves only when told, or by the seconds somebody sleeps.

    Attributes:
        slept: every wait so far, in seconds.
    """

    def __init__(self, now_ns: int = START_NS) -> None:
        self._now_ns = now_ns
        self.slept: list[float] = []

    def now_ns(self) -> int:
        """Wall-clock time, nanoseconds since the epoch."""
        return self._now_ns

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self._now_ns / 1e9

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now_ns += int(seconds * 1e9)

    async def sleep(self, seconds: float) -> None:
        """Note the wait, let that time pass at once, and give others their turn."""
        self.slept.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)


class Step(Enum):
    """What a script may hold besides records."""

    WAIT = "wait"
    """Hand over nothing more until the test calls `go_on`."""
    REVOKE = "revoke"
    """Lose the partition and get it back: its work in flight is of an old epoch now."""


Script = Sequence[Sequence[bytes | None] | Step | SentinelError]


class ScriptedSource:
    """A `Source` that reads from a list: lists of records, steps, and errors to raise. After the last it ends.

    Attributes:
        acked: outcomes in the order of their acks; positions: the next offset of each.
        first_ack, first_pause: set when they happened.
    """

    def __init__(self, script: Script, owner: PartitionOwner, log: PartitionId, start_ns: int = START_NS) -> None:
        self._script = list(script)
        self._owner = owner
        self._log = log
        self._time_ns = start_ns
        self._next_offset = 0
        self._epoch = 1
        self._going = asyncio.Event()
        self._open_gate = asyncio.Event()
        self._open_gate.set()
        self.acked: list[Outcome] = []
        self.positions: list[int] = []
        self.first_ack = asyncio.Event()
        self.first_pause = asyncio.Event()

    async def open(self) -> None:
        """Take up the log where its owner says; records before that are left out of the script."""
        start = await self._owner.assigned(self._log, None, self._epoch) or 0
        while self._next_offset < start and self._script:
            records = self._script.pop(0)
            if isinstance(records, Step | SentinelError):
                continue
            end = self._next_offset + len(records)
            if end > start:
                self._script.insert(0, records[start - self._next_offset :])
            self._next_offset = min(end, start)
        self._next_offset = start

    async def read(self) -> Delivery | None:
        """The next list of records; None after the last."""
        await self._open_gate.wait()
        while self._script:
            entry = self._script.pop(0)
            if isinstance(entry, SentinelError):
                raise entry
            if entry is Step.WAIT:
                await self._going.wait()
            elif entry is Step.REVOKE:
                await self._owner.revoked(self._log)
                self._epoch += 1
                await self._owner.assigned(self._log, None, self._epoch)
            elif not isinstance(entry, Step):
                return self._delivery(entry)
        return None

    def ready(self) -> Delivery | None:
        """The next list of records, if that is what comes next."""
        entry = self._script[0] if self._script and self._open_gate.is_set() else Step.WAIT
        if isinstance(entry, Step | SentinelError):
            return None
        del self._script[0]
        return self._delivery(entry)

    def caught_up(self) -> Sequence[PartitionId]:
        """The log, while the script waits or has ended."""
        return [self._log] if not self._script or self._script[0] is Step.WAIT else []

    def _delivery(self, records: Sequence[bytes | None]) -> Delivery:
        first, self._next_offset = self._next_offset, self._next_offset + len(records)
        return Delivery(
            source=self._log,
            records=records,
            offsets=np.arange(first, self._next_offset, dtype=np.int64),
            timestamps_ns=np.full(len(records), self._time_ns, np.int64),
            received_ns=self._time_ns,
            epoch=self._epoch,
            size_bytes=sum(len(record) for record in records if record is not None),
        )

    def go_on(self) -> None:
        """End every `Step.WAIT`."""
        self._going.set()

    async def ack(self, delivery: Delivery, outcome: Outcome) -> None:
        """Note it."""
        self.first_ack.set()
        self.acked.append(outcome)
        self.positions.append(delivery.next_offset)

    def pause(self) -> None:
        """Hand over nothing until `resume`."""
        self.first_pause.set()
        self._open_gate.clear()

    def resume(self) -> None:
        """Hand over records again."""
        self._open_gate.set()

    async def close(self) -> None:
        """Nothing to close."""


@dataclass(slots=True)
class ListSink(Generic[T]):
    """A `Sink` that keeps what it gets; each error in `failures` is raised by one write before that."""

    failures: list[SentinelError] = field(default_factory=list)
    written: list[T] = field(default_factory=list)
    writes: int = 0

    async def open(self) -> None:
        """Nothing to open."""

    async def write(self, items: Sequence[T]) -> None:
        """Keep the items, or raise the next failure."""
        self.writes += 1
        if self.failures:
            raise self.failures.pop(0)
        self.written.extend(items)

    async def close(self) -> None:
        """Nothing to close."""


class FailingStore:
    """A `Store` that passes everything on to another, but raises the next of `failures` before a write."""

    def __init__(self, store: Store, failures: list[SentinelError]) -> None:
        self._store = store
        self.failures = failures

    async def open(self) -> None:
        """Open the other one."""
        await self._store.open()

    async def write(self, items: Sequence[StoreWrite]) -> None:
        """Raise the next failure, or pass on."""
        if self.failures:
            raise self.failures.pop(0)
        await self._store.write(items)

    async def position(self, source: PartitionId) -> int | None:
        """The other's position."""
        return await self._store.position(source)

    def replay(self, source: PartitionId, from_offset: int) -> AsyncIterator[StoredMetrics]:
        """The other's rows."""
        return self._store.replay(source, from_offset)

    async def close(self) -> None:
        """Close the other one."""
        await self._store.close()
