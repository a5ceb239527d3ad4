"""The API keys in memory: judging a request asks no database, and a database that is down keeps nobody out."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final

from sentinel.core.access import ApiKey
from sentinel.core.errors import SentinelError
from sentinel.core.ports import Clock
from sentinel.observability.logs import get
from sentinel.observability.metrics import Metrics
from sentinel.state import keys
from sentinel.state.database import StateDatabase

RELOAD_S: Final = 5.0
"""From one reading to the next: a key that is made or revoked counts after so long at the latest."""
NOTE_NS: Final = 60_000_000_000
"""A key's last use is written at most that often."""

log = get(__name__)


class KeyCache:
    """The keys as they were when the database was last read. While it cannot be read, these go on working.

    Used from the event loop. The constructor starts nothing.

    Args:
        database: the state database; opened before, closed after.

    Attributes:
        fault: why the keys may be old, in words; None while they are not.
    """

    def __init__(self, database: StateDatabase, clock: Clock, metrics: Metrics) -> None:
        self.fault: str | None = None
        self._database = database
        self._clock = clock
        self._metrics = metrics
        self._keys: Mapping[str, ApiKey] | None = None
        self._used_ns: dict[str, int] = {}
        self._noted_ns: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def loaded(self) -> bool:
        """Whether the keys were read at least once."""
        return self._keys is not None

    def __len__(self) -> int:
        return len(self._keys or ())

    def find(self, kid: str) -> ApiKey | None:
        """The key of a kid; None when there is none, or it was revoked."""
        return (self._keys or {}).get(kid)

    def used(self, kid: str) -> None:
        """The key was used just now; written later."""
        self._used_ns[kid] = self._clock.now_ns()

    async def open(self) -> None:
        """Read the keys, and go on reading them in the background. Raises RetryableError when they cannot be read."""
        await self._load()
        self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stop reading, and write what is left to write. Twice is harmless."""
        if self._task is None:
            return
        task, self._task = self._task, None
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        self._noted_ns.clear()
        await self._note()

    async def refresh(self) -> None:
        """Read the keys again and write their last uses. What fails is told, counted, and tried again next time."""
        try:
            await self._load()
        except SentinelError as error:
            self._metrics.api_key_errors.labels("load").inc()
            if self.fault is None:
                log.warning("API keys cannot be read; those last read go on working, revoked ones among them", reason=str(error))
            self.fault = f"API keys are not up to date: {error}"
            return
        if self.fault is not None:
            self.fault = None
            log.info("API keys are up to date again", keys=len(self))
        await self._note()

    async def _follow(self) -> None:
        while True:
            await self._clock.sleep(RELOAD_S)
            await self.refresh()

    async def _load(self) -> None:
        self._keys = await self._database.read(keys.alive)
        self._metrics.api_keys.set(len(self))

    async def _note(self) -> None:
        """Write the last uses that are due."""
        due = {kid: at_ns for kid, at_ns in self._used_ns.items() if at_ns - self._noted_ns.get(kid, -NOTE_NS) >= NOTE_NS}
        if not due:
            return
        try:
            await self._database.run(lambda connection: keys.note_use(connection, due))
        except SentinelError as error:
            self._metrics.api_key_errors.labels("note_use").inc()
            log.debug("last use of API keys cannot be written", reason=str(error))
            return
        self._noted_ns |= due
        self._used_ns = {kid: at_ns for kid, at_ns in self._used_ns.items() if due.get(kid) != at_ns}
