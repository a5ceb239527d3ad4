"""States on their way to the checkpoint store, beside the stream: a store that is slow or down holds up no event."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from sentinel.core.ports import Clock
from sentinel.observability.metrics import Metrics

MOST: Final = 2
"""States in memory at a time: one that is written, and one that waits."""

AGAIN_AFTER_S: Final = 5.0
"""How long nothing is saved after a failure: a copy costs the worker's time, and would be made for nothing."""

Save = Callable[[], bool]
"""Writes one state, blocking; whether it is safe now."""


class Saves:
    """Writes one state at a time on another thread. There are never more than `MOST`, however many partitions there are.

    Who wants to copy a state claims a place first, and gives it back by `put` or `drop`. Without a place nothing is copied, and the next
    delivery asks again.
    """

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock
        self._claims = 0
        self._waiting: deque[Save] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._not_before = float("-inf")

    def claim(self) -> bool:
        """Take a place for a state; False when all are taken, or the last save has just failed."""
        if self._claims >= MOST or self._clock.monotonic() < self._not_before:
            return False
        self._claims += 1
        return True

    def drop(self) -> None:
        """Give back a place: its state is not wanted any more."""
        self._claims -= 1

    def put(self, save: Save) -> None:
        """Have a state written that has a place."""
        self._waiting.append(save)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all(), name="save state")

    async def end(self) -> None:
        """Wait until everything is written, or has failed."""
        if self._writing is not None:
            await asyncio.wait({self._writing})

    async def close(self) -> None:
        """Write nothing more; a write that has begun goes on by itself. Twice is harmless."""
        self._waiting.clear()
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait({self._writing})

    async def save(self, save: Save) -> bool:
        """Write one state now; whether it is safe."""
        with self._metrics.checkpoint_seconds.time():
            good = await asyncio.to_thread(save)
        if not good:
            self._not_before = self._clock.monotonic() + AGAIN_AFTER_S
        return good

    async def _write_all(self) -> None:
        while self._waiting:
            try:
                await self.save(self._waiting.popleft())
            finally:
                self._claims -= 1
