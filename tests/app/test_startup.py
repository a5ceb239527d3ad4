"""Waiting for what others run: how long, how it is told, what is not waited for."""

import asyncio

import pytest

from sentinel.app.startup import Restores, Startup
from sentinel.core.batch import PartitionId
from sentinel.core.errors import StartupError
from sentinel.testing.fakes import ManualClock

LOG = PartitionId("c", "t", 3)


class Slow:
    """A part that opens at the n-th attempt."""

    def __init__(self, opens_at: int) -> None:
        self.attempts = 0
        self.closed = 0
        self._opens_at = opens_at

    async def open(self) -> None:
        """Fail until it is time."""
        self.attempts += 1
        if self.attempts < self._opens_at:
            raise StartupError(f"not there, attempt {self.attempts}")

    async def close(self) -> None:
        """Count."""
        self.closed += 1


async def test_without_patience_the_first_failure_is_the_last() -> None:
    """The default: it fails at once with the part's own words, and what was half open is closed."""
    clock, part = ManualClock(), Slow(2)
    with pytest.raises(StartupError, match="attempt 1"):
        await Startup(clock, 0.0, lambda _step: None).dependency("Kafka", part)
    assert (part.attempts, part.closed, clock.slept) == (1, 1, [])


async def test_a_dependency_is_waited_for() -> None:
    """It comes up while we wait: each attempt is told with its reason and the time left, the waits grow to a limit."""
    clock, part, told = ManualClock(), Slow(8), list[str]()
    await Startup(clock, 60.0, told.append).dependency("Kafka", part)
    assert (part.attempts, part.closed) == (8, 7)
    assert clock.slept == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]
    assert told[:2] == ["Kafka", "waiting for Kafka, 60 s left: not there, attempt 1"]


async def test_all_dependencies_share_one_deadline() -> None:
    """Once it has passed, the next failure ends the start; the last wait is cut to what is left."""
    clock, part = ManualClock(), Slow(1_000)
    startup = Startup(clock, 10.0, lambda _step: None)
    with pytest.raises(StartupError):
        await startup.dependency("Kafka", part)
    assert sum(clock.slept) == pytest.approx(10.0)
    with pytest.raises(StartupError, match="attempt 1"):
        await startup.dependency("RabbitMQ", Slow(2))


async def test_our_own_steps_take_no_time_from_the_waiting() -> None:
    """Compiling the kernels of a first start may take longer than anybody wants to wait for Kafka."""
    clock, part = ManualClock(), Slow(3)
    startup = Startup(clock, 10.0, lambda _step: None)
    await clock.sleep(100.0)
    await startup.dependency("Kafka", part)
    assert part.attempts == 3


async def test_our_own_steps_are_never_repeated() -> None:
    """A port that is taken does not become free by waiting."""
    clock, part = ManualClock(), Slow(2)
    with pytest.raises(StartupError):
        await Startup(clock, 60.0, lambda _step: None).step("opening the HTTP port", part.open)
    assert clock.slept == []


class Owner:
    """Restores when told."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.lost: list[PartitionId] = []

    async def assigned(self, source: PartitionId, committed: int | None, epoch: int, *, rereadable: bool = True) -> int | None:
        """Wait, then say where to start."""
        del source, rereadable
        await self.go_on.wait()
        return (committed or 0) + epoch

    async def revoked(self, source: PartitionId) -> None:
        """Note it."""
        self.lost.append(source)


async def test_restoring_shows_in_the_status() -> None:
    """Which partition is being restored and how many were; everything is passed on."""
    owner = Owner()
    restores = Restores(owner)
    assert restores.status is None
    restoring = asyncio.create_task(restores.assigned(LOG, 40, 2))
    await asyncio.sleep(0)
    assert restores.status == f"restoring {LOG}, 0 partitions done"
    owner.go_on.set()
    assert await restoring == 42
    assert restores.status is None
    await restores.revoked(LOG)
    assert owner.lost == [LOG]
