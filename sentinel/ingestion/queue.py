"""Events handed in from within the process (HTTP in embedded mode): a bounded queue that is a log of its own."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sentinel.core.batch import LOCAL_CLUSTER, PartitionId
from sentinel.core.delivery import Delivery, weight_bytes
from sentinel.core.errors import FullError, RetryableError
from sentinel.core.ports import Clock, Outcome, PartitionOwner
from sentinel.ingestion.gate import Gate

HTTP_LOG = PartitionId(LOCAL_CLUSTER, "http", 0)
STOPPING = "the daemon is stopping; what is not confirmed may be sent again with the same event_ids"
MERGE_RECORDS = 5_000
"""Requests that wait together travel as one delivery up to this many records."""


@dataclass(slots=True)
class Request:
    """Records of one caller; `done` is resolved once all of them are safe."""

    records: Sequence[bytes]
    size_bytes: int
    received_ns: int
    done: "asyncio.Future[Outcome]"


class QueueSource:
    """A `Source` fed by `submit`. Offsets go on from the store's position, so an offset never names two records.

    Args:
        owner: told about the log at open.
        clock: stamps records with their time of receipt.
        max_bytes: bytes that may wait or be in work; beyond them `submit` raises FullError.
        cluster: names this daemon among those that share a store.
    """

    def __init__(self, owner: PartitionOwner, clock: Clock, max_bytes: int, cluster: str = LOCAL_CLUSTER) -> None:
        self._owner = owner
        self._clock = clock
        self._max_bytes = max_bytes
        self._waiting: deque[Request] = deque()
        self._in_work: dict[int, list[Request]] = {}
        self._arrived = asyncio.Event()
        self._gate = Gate()
        self._next_offset = 0
        self._log = HTTP_LOG._replace(cluster=cluster)
        self._drained_bytes_per_s = float(max_bytes)
        self._busy_since = clock.monotonic()
        self._closed = False
        self.queue_bytes = 0

    async def open(self) -> None:
        """Take up the log where the store left it."""
        self._next_offset = await self._owner.assigned(self._log, None, 0, rereadable=False) or 0

    async def submit(self, records: Sequence[bytes]) -> Outcome:
        """Hand in records and wait until each is stored or dead-lettered.

        Raises:
            FullError: no room; says when to come again. Nothing was taken.
            RetryableError: the daemon is stopping. Nothing was taken, or what was is not confirmed: handing it in again with the same
                event ids is harmless.
        """
        size = weight_bytes(records)
        if self._closed:
            raise RetryableError(STOPPING, 5.0)
        # An empty queue takes anything, or a request larger than the whole queue could never be served.
        if self.queue_bytes and self.queue_bytes + size > self._max_bytes:
            raise FullError("the ingest queue is full", self._retry_after_s())
        request = Request(records, size, self._clock.now_ns(), asyncio.get_running_loop().create_future())
        if not self.queue_bytes:
            self._busy_since = self._clock.monotonic()
        self.queue_bytes += size
        self._waiting.append(request)
        self._arrived.set()
        return await asyncio.shield(request.done)

    async def read(self) -> Delivery | None:
        """What waits, merged into one delivery; None once closed and empty."""
        while True:
            await self._gate.passage()
            if self._waiting:
                return self._next_delivery()
            if self._closed:
                return None
            self._arrived.clear()
            await self._arrived.wait()

    def ready(self) -> Delivery | None:
        """What else waits."""
        return self._next_delivery() if self._waiting and self._gate.is_open else None

    def caught_up(self) -> Sequence[PartitionId]:
        """The queue, when nothing is in it."""
        return [] if self.queue_bytes or self._closed else [self._log]

    def _next_delivery(self) -> Delivery:
        taken = [self._waiting.popleft()]
        count = len(taken[0].records)
        while self._waiting and count + len(self._waiting[0].records) <= MERGE_RECORDS:
            taken.append(self._waiting.popleft())
            count += len(taken[-1].records)
        first = self._next_offset
        self._next_offset += count
        self._in_work[first] = taken
        times = np.repeat(np.array([request.received_ns for request in taken]), [len(request.records) for request in taken])
        return Delivery(
            source=self._log,
            records=[record for request in taken for record in request.records],
            offsets=np.arange(first, first + count, dtype=np.int64),
            timestamps_ns=times.astype(np.int64),
            received_ns=taken[0].received_ns,
            epoch=0,
            size_bytes=sum(request.size_bytes for request in taken),
        )

    async def ack(self, delivery: Delivery, outcome: Outcome) -> None:
        """Resolve every caller whose records are in the delivery with its own share of the outcome."""
        self._measure(delivery.size_bytes)
        self.queue_bytes -= delivery.size_bytes
        start = 0
        for request in self._in_work.pop(int(delivery.offsets[0])):
            end = start + len(request.records)
            if not request.done.done():
                request.done.set_result(_share(outcome, start, end, len(request.records), len(delivery.records)))
            start = end

    def _measure(self, size_bytes: int) -> None:
        """Follow the rate at which a queue that is not empty drains; idle time says nothing about it."""
        now = self._clock.monotonic()
        rate = size_bytes / max(now - self._busy_since, 1e-3)
        self._drained_bytes_per_s += 0.2 * (rate - self._drained_bytes_per_s)
        self._busy_since = now

    def _retry_after_s(self) -> float:
        """When half of the queue should be free at the rate it drains."""
        return max(1.0, min(60.0, self.queue_bytes / 2 / max(self._drained_bytes_per_s, 1.0)))

    def pause(self) -> None:
        """Hand over nothing."""
        self._gate.shut()

    def resume(self) -> None:
        """Hand over records again."""
        self._gate.lift()

    async def close(self) -> None:
        """Take nothing more; callers whose records are not safe are told."""
        self._closed = True
        self._arrived.set()
        for request in (*self._waiting, *(request for requests in self._in_work.values() for request in requests)):
            if not request.done.done():
                request.done.set_exception(RetryableError(STOPPING, 5.0))
                request.done.exception()  # its caller may be gone; that is no error of ours
        self._waiting.clear()


def _share(outcome: Outcome, start: int, end: int, records: int, all_records: int) -> Outcome:
    """One caller's part of a delivery's outcome, dead letters by their place in that caller's request.

    A caller who shares a delivery learns how many of its events are stored and which records are dead letters; a record that is neither
    counts as one repeat.
    """
    if records == all_records:
        return outcome
    letters = [replace(letter, index=letter.index - start) for letter in outcome.dead_letters if start <= letter.index < end]
    if outcome.stored_at is None:
        return Outcome(records - len({letter.index for letter in letters}), letters, 0, 0)
    stored_at = outcome.stored_at[(outcome.stored_at >= start) & (outcome.stored_at < end)] - start
    settled = {letter.index for letter in letters}.union(stored_at.tolist())
    return Outcome(len(stored_at), letters, records - len(settled), 0)
