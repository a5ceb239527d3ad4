"""What a daemon says of itself while something is wrong."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.conftest import Sentinel

LOOK_EVERY_S = 0.1
MIB = 1 << 20


@dataclass(frozen=True)
class Look:
    """One look: the status, and the reasons for not being ready."""

    status: dict[str, Any]
    reasons: list[str]


@dataclass
class Watched:
    """All looks."""

    looks: list[Look] = field(default_factory=list)

    def largest(self, name: str) -> int:
        """The largest value of a number of the status."""
        return max(int(look.status[name]) for look in self.looks)

    def grew(self, name: str) -> int:
        """By how much a number of the status grew from the first look to its largest."""
        return self.largest(name) - int(self.looks[0].status[name])

    def was_paused(self) -> bool:
        """Whether the sources were ever paused."""
        return any(look.status["paused"] for look in self.looks)

    def unready_since(self, reason: str) -> bool:
        """Whether it said so once, and from then on each time."""
        told = [any(reason in said for said in look.reasons) for look in self.looks]
        return True in told and all(told[told.index(True) :])

    def always_ready(self) -> bool:
        """Whether it never had a reason not to be."""
        return not any(look.reasons for look in self.looks)


def look(sentinel: Sentinel) -> Look:
    """One look."""
    status = sentinel.get("/api/v1/status")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{sentinel.port}/health/ready", timeout=10):
            reasons = []
    except urllib.error.HTTPError as error:
        reasons = json.load(error)["reasons"]
    return Look(status, reasons)


@asynccontextmanager
async def watching(sentinel: Sentinel) -> AsyncIterator[Watched]:
    """Looks at it again and again while the block runs, at least once at its beginning and once at its end."""
    watched = Watched([await asyncio.to_thread(look, sentinel)])

    async def go_on() -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            watched.looks.append(await asyncio.to_thread(look, sentinel))

    watcher = asyncio.create_task(go_on())
    try:
        yield watched
        watched.looks.append(await asyncio.to_thread(look, sentinel))
    finally:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher
