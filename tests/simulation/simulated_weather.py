"""Faults: which are on, how often each has struck, and how long everything takes."""

import asyncio
import hashlib
import random
from collections import Counter
from typing import Final

from sentinel.testing.virtual_loop import PROCESS, VirtualLoop

KINDS: Final = (
    "store down",
    "store slow",
    "store refuses credentials",
    "store loses replies",
    "store takes half",
    "store cannot read",
    "store breaks off while reading",
    "dead letters down",
    "dead letters lose replies",
    "alerts down",
    "alerts block",
    "alerts lose replies",
    "checkpoints cannot be written",
    "checkpoints cannot be read",
    "checkpoints are torn",
    "checkpoints rot",
    "checkpoints are swapped",
    "disk slow",
    "brokers away",
    "commits refused",
    "commits lose replies",
)
"""Faults that are on for a while."""

EVENTS: Final = (
    "kill",
    "kill in a write",
    "freeze",
    "expelled",
    "restart",
    "rebalance",
    "regained",
    "reload",
    "back-pressure",
    "gap in offsets",
)
"""Things that happen once in a while."""


class Weather:
    """What goes wrong in one run. A run knows only some kinds of faults, so that they meet in all combinations.

    Attributes:
        struck: how often each kind of fault has had an effect.
        trace: digest of everything that had a lasting effect, in order.
    """

    def __init__(self, loop: VirtualLoop, seed: int) -> None:
        self.loop = loop
        self.random = random.Random(f"weather {seed}")  # noqa: S311  chance, not a secret
        self.struck: Counter[str] = Counter()
        self.trace = hashlib.sha256()
        self.lines: list[str] = []
        self.verbose = False
        self.kinds = self.random.sample(KINDS, self.random.randint(3, 9))
        self._until: dict[str, float] = {}
        self._lost_to: set[str] = set()

    def note(self, what: str) -> None:
        """One line of the trace."""
        line = f"{self.loop.time():.6f} {PROCESS.get()} {what}"
        self.trace.update(line.encode() + b"\n")
        if self.verbose:
            self.lines.append(line)

    async def blow(self, until_s: float) -> None:
        """Have faults come and go."""
        while self.loop.time() < until_s:
            await asyncio.sleep(self.random.expovariate(1 / 1.5))
            kind = self.random.choice(self.kinds)
            self._until[kind] = self.loop.time() + self.random.choice((0.5, 2.0, 6.0))
            self.note(f"now: {kind}")
        self._until.clear()
        self.note("calm")

    def strikes(self, kind: str, share: float = 0.7) -> bool:
        """Whether a fault has an effect here and now."""
        if self._until.get(kind, 0.0) <= self.loop.time() or self.random.random() >= share:
            return False
        self.struck[kind] += 1
        self.note(f"struck: {kind}")
        return True

    async def delay(self, *, slow: str | None = None) -> None:
        """The time a call takes on its way; a process that was killed meanwhile does not arrive."""
        await asyncio.sleep(self.random.uniform(0.0005, 0.01))
        if slow is not None and self.strikes(slow, 0.5):
            await asyncio.sleep(self.random.uniform(0.5, 5.0))
        self.arrive()

    def arrive(self) -> None:
        """Raises CancelledError in a process that is dead: it can have no effect."""
        if not self.loop.alive():
            raise asyncio.CancelledError

    def disk_s(self) -> float:
        """How long a call on a thread takes."""
        return self.random.uniform(0.2, 4.0) if self.strikes("disk slow", 0.1) else self.random.uniform(0.0001, 0.003)
