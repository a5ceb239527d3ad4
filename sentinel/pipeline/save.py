"""A state on its way to the checkpoint store, beside the stream: a store that is slow or down holds up no event."""

import asyncio
from collections.abc import Callable
from typing import Final

from sentinel.core.ports import Clock
from sentinel.observability.metrics import Metrics

AGAIN_AFTER_S: Final = 5.0
"""How long nothing is saved after a failure: a copy costs the worker's time, and would be made for nothing."""

Save = Callable[[], bool]
"""Writes one state, blocking; whether it is safe now."""


class Saves:
    """Writes one state at a time on another thread, so that copies take little memory however many partitions there are.

    Who wants to copy a state claims the place for it first, and gives it back by `put` or `drop`. While it is taken nothing is copied, and
    the next delivery asks again.
    """

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock
        self._taken = False
        self._writing: asyncio.Task[None] | None = None
        self._not_before = float("-inf")

    def claim(self) -> bool:
        """Take the place for a state; False when it is taken, or the last save has just failed."""
        if self._taken or self._clock.monotonic() < self._not_before:
            return False
        self._taken = True
        return True

    def drop(self) -> None:
        """Give the place back: its state is not wanted any more."""
        self._taken = False

    def put(self, save: Save) -> None:
        """Have the state written that has the place."""
        self._writing = asyncio.create_task(self._write(save), name="save state")

    async def end(self) -> None:
        """Wait until the state that is written is safe, or has failed."""
        if self._writing is not None:
            await asyncio.wait({self._writing})

    async def close(self) -> None:
        """Wait no longer; a write that has begun goes on by itself. Twice is harmless."""
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

    async def _write(self, save: Save) -> None:
        try:
            await self.save(save)
        finally:
            self._taken = False
