"""API keys for tests: a real state database with a key of every kind, and a way to put it under a daemon."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from sentinel.app.daemon import Daemon
from sentinel.config.schema import StateDatabase as Section
from sentinel.core.access import KID_BYTES, SECRET_BYTES, ApiKey, Role, digest_of, kid_of, spelled
from sentinel.observability.metrics import Metrics
from sentinel.state import keys
from sentinel.state.database import StateDatabase
from sentinel.state.key_cache import KeyCache
from sentinel.testing.fakes import ManualClock


class SteppedClock(ManualClock):
    """Time that moves only when told, under a daemon whose timers run in real time."""

    async def sleep(self, seconds: float) -> None:
        """Wait; the time told stays."""
        await asyncio.sleep(seconds)


@dataclass
class KeyRing:
    """Keys as their holders have them, by name, over a real database.

    Attributes:
        texts: what is sent; `given` makes a header of it.
    """

    database: StateDatabase
    cache: KeyCache
    clock: SteppedClock
    texts: dict[str, str] = field(default_factory=dict)

    async def make(self, name: str, *roles: Role, expires_ns: int | None = None) -> str:
        """A new key; its text."""
        text = spelled(f"{len(self.texts) + 1:0{2 * KID_BYTES}x}", sha256(name.encode()).hexdigest())
        key = ApiKey(kid_of(text), name, frozenset(roles), digest_of(text), self.clock.now_ns(), "cli:test", expires_ns)
        await self.database.run(lambda connection: keys.create(connection, key, "cli:test"))
        self.texts[name] = text
        return text

    async def make_all(self) -> None:
        """One of each role, one that has expired, one that was revoked; the cache knows."""
        for role in Role:
            await self.make(role.value, role)
        await self.make("expired", Role.ADMIN, expires_ns=self.clock.now_ns() - 1)
        await self.make("revoked", Role.ADMIN)
        await self.revoke("revoked")

    async def revoke(self, name: str) -> None:
        """Revoke a key; the cache knows."""
        await self.database.run(lambda connection: keys.revoke(connection, kid_of(self.texts[name]), "cli:test", self.clock.now_ns()))
        await self.cache.refresh()

    def given(self, name: str) -> dict[str, str]:
        """The header that sends this key; other names than those of keys give what opens nothing."""
        no_key = {
            "none": {},
            "wrong kid": {"X-API-Key": spelled("f" * 2 * KID_BYTES, "0" * 2 * SECRET_BYTES)},
            "wrong secret": {"X-API-Key": self.texts["admin"][:-1] + "x"},
            "empty": {"X-API-Key": ""},
            "malformed": {"X-API-Key": "x" * 4_000},
        }
        return no_key[name] if name in no_key else {"X-API-Key": self.texts[name]}

    def under(self, daemon: Daemon) -> None:
        """Give this daemon these keys and this clock; to be called before it starts."""
        daemon.context.keys = self.cache
        daemon.context.clock = self.clock


@asynccontextmanager
async def key_ring(path: Path) -> AsyncIterator[KeyRing]:
    """A ring without keys."""
    clock = SteppedClock()
    database = StateDatabase(Section(), path / "keys.db")
    await database.open()
    try:
        yield KeyRing(database, KeyCache(database, clock, Metrics()), clock)
    finally:
        await database.close()
