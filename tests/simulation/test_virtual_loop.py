"""Virtual time: a seed decides what happens, and nothing waits."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Executor

import pytest

from sentinel.testing.virtual_loop import StuckError, VirtualLoop, in_process


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    """A loop of seed 1."""
    made = VirtualLoop(1)
    yield made
    made.close()


async def race(runners: int) -> list[int]:
    """The order in which runners that start together finish."""
    finished: list[int] = []

    async def one(number: int) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        finished.append(number)

    await asyncio.gather(*(one(number) for number in range(runners)))
    return finished


def test_time_jumps_to_the_next_timer(loop: VirtualLoop) -> None:
    """A day passes at once, and timers ring in the order of their times."""
    rung: list[float] = []

    async def sleeper(seconds: float) -> None:
        await asyncio.sleep(seconds)
        rung.append(loop.time())

    async def all_of_them() -> None:
        await asyncio.gather(*(sleeper(seconds) for seconds in (86_400.0, 5.0, 60.0)))

    loop.run_until_complete(all_of_them())
    assert rung == [5.0, 60.0, 86_400.0]


def test_a_timeout_is_virtual_too(loop: VirtualLoop) -> None:
    """What takes too long is given up at its virtual time."""

    async def wait() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(7.5):
                await asyncio.Event().wait()
        return loop.time()

    assert loop.run_until_complete(wait()) == 7.5


def test_the_seed_decides_the_order() -> None:
    """The same seed gives the same order, other seeds give others."""
    orders = []
    for seed in (1, 1, 2, 3):
        loop = VirtualLoop(seed)
        orders.append(loop.run_until_complete(race(8)))
        loop.close()
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) > 1
    assert sorted(orders[0]) == list(range(8))


def test_an_executor_keeps_its_order(loop: VirtualLoop) -> None:
    """One worker does what it is given in order, also across a freeze; what was called off before it began is not done."""
    done: list[int] = []

    async def give() -> None:
        worker = Executor()
        futures = [loop.run_in_executor(worker, done.append, number) for number in range(6)]
        futures[3].cancel()
        await asyncio.wait(futures)

    async def world() -> None:
        task = loop.create_task(give(), context=in_process("p"))
        await asyncio.sleep(0.001)
        loop.freeze("p")
        loop.call_later(10.0, loop.thaw, "p")
        await task

    loop.run_until_complete(world())
    assert done == [0, 1, 2, 4, 5]


def test_threads_hand_over_results_and_errors(loop: VirtualLoop) -> None:
    """`to_thread` gives what the call gives."""

    async def ask() -> None:
        assert await asyncio.to_thread(pow, 2, 10) == 1024
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(divmod, 1, 0)

    loop.run_until_complete(ask())


def test_a_frozen_process_stands_still(loop: VirtualLoop) -> None:
    """Nothing of it runs until it thaws; the others go on."""
    ticks: dict[str, list[float]] = {"a": [], "b": []}

    async def tick(name: str) -> None:
        for _ in range(4):
            await asyncio.sleep(1.0)
            ticks[name].append(loop.time())

    async def world() -> None:
        tasks = [loop.create_task(tick(name), context=in_process(name)) for name in ticks]
        await asyncio.sleep(1.5)
        loop.freeze("a")
        loop.call_later(10.0, loop.thaw, "a")
        await asyncio.gather(*tasks)

    loop.run_until_complete(world())
    assert ticks == {"a": [1.0, 11.5, 12.5, 13.5], "b": [1.0, 2.0, 3.0, 4.0]}


def test_a_killed_process_ends_with_all_its_tasks(loop: VirtualLoop) -> None:
    """Tasks it started end as well, and `alive` says no to what they do on their way out."""
    seen: list[bool] = []

    async def child() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(loop.alive())

    async def parent() -> None:
        await asyncio.gather(asyncio.create_task(child()), asyncio.create_task(child()))

    async def world() -> None:
        task = loop.create_task(parent(), context=in_process("p"))
        await asyncio.sleep(1.0)
        await loop.kill("p")
        assert task.cancelled()
        assert loop.alive()

    loop.run_until_complete(world())
    assert seen == [False, False]


def test_waiting_for_nothing_is_told(loop: VirtualLoop) -> None:
    """A deadlock is an error, not a test that hangs."""
    event = asyncio.Event()
    task = loop.create_task(event.wait())
    with pytest.raises(StuckError, match="waits for another"):
        loop.run_until_complete(task)
    event.set()
    loop.run_until_complete(task)
