"""The queue between HTTP and the pipeline: bounded, merged, each caller answered with what is its own."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from sentinel.core.batch import PartitionId
from sentinel.core.delivery import RECORD_BYTES, Delivery
from sentinel.core.errors import FullError, RejectCode, RetryableError
from sentinel.core.ports import Outcome
from sentinel.core.reject import DeadLetter
from sentinel.ingestion.queue import HTTP_LOG, MERGE_RECORDS, QueueSource
from sentinel.testing.fakes import ManualClock


class Owner:
    """Says where the log stands."""

    def __init__(self, position: int | None = None) -> None:
        self.position = position

    async def assigned(self, source: PartitionId, committed: int | None, epoch: int, *, rereadable: bool = True) -> int | None:
        """The position."""
        assert (source, committed, epoch, rereadable) == (HTTP_LOG, None, 0, False)
        return self.position

    async def revoked(self, source: PartitionId) -> None:
        """Never called."""


def letter(index: int, offset: int) -> DeadLetter:
    """A dead letter of the record at `index`."""
    return DeadLetter(HTTP_LOG, offset, 0, index, RejectCode.MALFORMED_JSON, "no", 0, "", 1)


def outcome(delivery: Delivery, bad: Sequence[int] = (), duplicates: int = 0) -> Outcome:
    """All stored but the bad and the repeats."""
    stored = len(delivery.records) - len(bad) - duplicates
    return Outcome(stored, [letter(index, int(delivery.offsets[index])) for index in bad], duplicates, 0)


class Bench:
    """A queue with a clock of its own, and callers that wait at it."""

    def __init__(self, max_bytes: int = 10_000, position: int | None = None) -> None:
        self.clock = ManualClock()
        self.queue = QueueSource(Owner(position), self.clock, max_bytes)

    async def call(self, *records: bytes) -> "asyncio.Task[Outcome]":
        """A caller that has handed in records and waits."""
        task = asyncio.create_task(self.queue.submit(records))
        await asyncio.sleep(0)
        return task

    async def read(self) -> Delivery:
        """The next delivery."""
        delivery = await self.queue.read()
        assert delivery is not None
        return delivery


async def test_a_delivery_holds_all_that_waits() -> None:
    """Requests that wait together travel as one delivery, in order, each record with the time of its own receipt."""
    bench = Bench(position=100)
    await bench.queue.open()
    first = await bench.call(b"a", b"b")
    bench.clock.advance(5)
    second = await bench.call(b"c")
    delivery = await bench.read()
    assert (list(delivery.records), delivery.offsets.tolist()) == ([b"a", b"b", b"c"], [100, 101, 102])
    assert (delivery.timestamps_ns - delivery.received_ns).tolist() == [0, 0, 5_000_000_000]
    assert (delivery.size_bytes, delivery.next_offset, delivery.source) == (3 + 3 * RECORD_BYTES, 103, HTTP_LOG)
    await bench.queue.ack(delivery, outcome(delivery))
    assert [(await task).stored for task in (first, second)] == [2, 1]
    third = await bench.call(b"d")
    assert (await bench.read()).offsets.tolist() == [103]
    third.cancel()


async def test_merging_is_bounded() -> None:
    """A delivery takes whole requests up to MERGE_RECORDS; a larger one travels alone."""
    bench = Bench(max_bytes=10_000_000)
    sizes = [MERGE_RECORDS - 1, 1, 1, MERGE_RECORDS + 5, 2]
    tasks = [await bench.call(*[b"x"] * size) for size in sizes]
    deliveries = [await bench.read() for _ in range(4)]
    assert [len(delivery.records) for delivery in deliveries] == [MERGE_RECORDS, 1, MERGE_RECORDS + 5, 2]
    for delivery in deliveries:
        await bench.queue.ack(delivery, outcome(delivery))
    assert [(await task).stored for task in tasks] == sizes


async def test_each_caller_gets_its_own_share() -> None:
    """Dead letters go to the caller whose records they were, numbered as in its request; nobody learns of another's."""
    bench = Bench()
    first, second, third = [await bench.call(b"a", b"b"), await bench.call(b"c", b"d", b"e"), await bench.call(b"f")]
    delivery = await bench.read()
    await bench.queue.ack(delivery, outcome(delivery, bad=[1, 2, 4]))
    answers = [await task for task in (first, second, third)]
    assert [[found.index for found in answer.dead_letters] for answer in answers] == [[1], [0, 2], []]
    assert [(answer.stored, answer.received) for answer in answers] == [(1, 2), (1, 3), (1, 1)]


async def test_one_bad_record_of_many_events_counts_once() -> None:
    """A record can hold several bad events: a caller that shares the delivery still gets no negative number."""
    bench = Bench()
    first, second = await bench.call(b"spans"), await bench.call(b"x")
    delivery = await bench.read()
    await bench.queue.ack(delivery, Outcome(1, [letter(0, 0), letter(0, 0), letter(0, 0)], 0, 0))
    assert ((await first).stored, len((await first).dead_letters)) == (0, 3)
    assert (await second).stored == 1


async def test_a_record_of_many_events_is_shared_out_by_what_is_stored() -> None:
    """Three events of one record, one of them bad: its caller learns that two are stored, whoever shares the delivery."""
    bench = Bench()
    spans, other = await bench.call(b"spans"), await bench.call(b"x", b"repeat")
    delivery = await bench.read()
    await bench.queue.ack(delivery, Outcome(3, [letter(0, 0)], 1, 0, np.array([0, 0, 1], np.int32)))
    assert ((await spans).stored, (await spans).received) == (2, 3)
    assert ((await other).stored, (await other).duplicates) == (1, 1)


async def test_a_caller_alone_learns_of_its_repeats() -> None:
    """A delivery of one caller: the whole outcome is its own."""
    bench = Bench()
    task = await bench.call(b"a", b"b", b"c")
    delivery = await bench.read()
    await bench.queue.ack(delivery, outcome(delivery, bad=[0], duplicates=2))
    answer = await task
    assert (answer.stored, answer.duplicates, len(answer.dead_letters)) == (0, 2, 1)


async def test_the_queue_is_bounded_in_bytes_until_the_ack() -> None:
    """Bytes count from submit to ack, not to read; beyond the limit nothing is taken; an empty queue takes anything."""
    bench = Bench(max_bytes=1_200)
    large = await bench.call(b"x" * 500)
    assert bench.queue.queue_bytes == 500 + RECORD_BYTES
    with pytest.raises(FullError):
        await bench.queue.submit([b"y"])
    delivery = await bench.read()
    with pytest.raises(FullError):
        await bench.queue.submit([b"y"])
    await bench.queue.ack(delivery, outcome(delivery))
    assert (bench.queue.queue_bytes, (await large).stored) == (0, 1)
    fits = [await bench.call(b"x" * 50), await bench.call(b"x" * 50)]
    with pytest.raises(FullError):
        await bench.queue.submit([b"y"])
    delivery = await bench.read()
    await bench.queue.ack(delivery, outcome(delivery))
    await asyncio.gather(*fits)
    assert bench.queue.queue_bytes == 0


async def retry_after(bench: Bench) -> float:
    """What a caller is told that finds the queue full."""
    with pytest.raises(FullError) as refused:
        await bench.queue.submit([b"y" * 2_000])
    return refused.value.retry_after_s


async def drain(bench: Bench, seconds: float) -> None:
    """One full queue, emptied within `seconds`."""
    task = await bench.call(b"x" * 1_000)
    delivery = await bench.read()
    bench.clock.advance(seconds)
    await bench.queue.ack(delivery, outcome(delivery))
    await task


async def test_retry_after_follows_the_rate_of_draining() -> None:
    """When half of the queue should be free: 500 bytes at 50 bytes a second are ten seconds; at most a minute, at least a second."""
    bench = Bench(max_bytes=1_000)
    for seconds, expected in ((20, 10.0), (1_000, 60.0), (0.01, 1.0)):
        for _ in range(60):
            await drain(bench, seconds)
        waiting = await bench.call(b"x" * 1_000)
        assert await retry_after(bench) == pytest.approx(expected, rel=0.01)
        delivery = await bench.read()
        bench.clock.advance(seconds)
        await bench.queue.ack(delivery, outcome(delivery))
        await waiting


async def test_idle_time_is_no_slowness() -> None:
    """A queue that is rarely used and empties at once does not tell callers to stay away."""
    bench = Bench(max_bytes=1_000)
    for _ in range(50):
        await drain(bench, 0.01)
        bench.clock.advance(3_600)
    waiting = await bench.call(b"x" * 1_000)
    assert await retry_after(bench) == 1.0
    waiting.cancel()


async def test_a_caller_that_leaves_takes_nothing_with_it() -> None:
    """Its records were taken: they travel on, and the bytes are given back at the ack."""
    bench = Bench()
    gone, stays = await bench.call(b"a"), await bench.call(b"b")
    gone.cancel()
    delivery = await bench.read()
    assert list(delivery.records) == [b"a", b"b"]
    await bench.queue.ack(delivery, outcome(delivery))
    assert (await stays).stored == 1
    assert bench.queue.queue_bytes == 0


async def test_paused_it_takes_but_hands_over_nothing() -> None:
    """Back-pressure: callers are taken up to the limit, and read goes on after resume."""
    bench = Bench()
    bench.queue.pause()
    task = await bench.call(b"a")
    reading = asyncio.create_task(bench.read())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not reading.done()
    bench.queue.resume()
    delivery = await reading
    await bench.queue.ack(delivery, outcome(delivery))
    assert (await task).stored == 1


async def test_close_tells_everybody_who_waits() -> None:
    """Read or not, what is not safe is told as such; later callers are refused, and read ends. Twice is harmless."""
    bench = Bench()
    read, waiting, gone = await bench.call(b"a"), None, None
    await bench.read()
    waiting, gone = await bench.call(b"b"), await bench.call(b"c")
    gone.cancel()
    reading = asyncio.create_task(bench.queue.read())
    assert await reading is not None
    late = await bench.call(b"d")
    await bench.queue.close()
    await bench.queue.close()
    for task in (read, waiting, late):
        with pytest.raises(RetryableError, match="stopping"):
            await task
    with pytest.raises(RetryableError, match="stopping"):
        await bench.queue.submit([b"e"])
    assert await bench.queue.read() is None


async def test_close_ends_a_read_that_waits() -> None:
    """A reader of an empty queue is let go."""
    bench = Bench()
    reading = asyncio.create_task(bench.queue.read())
    await asyncio.sleep(0)
    await bench.queue.close()
    assert await reading is None
