"""Opening the daemon's parts in order, and waiting for what others run."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from sentinel.core.batch import PartitionId
from sentinel.core.errors import CredentialsError, RetryableError, SentinelError, StartupError
from sentinel.core.ports import Clock, PartitionOwner
from sentinel.observability.logs import get

FIRST_DELAY_S, LAST_DELAY_S = 0.5, 5.0

Tell = Callable[[str], None]
"""Takes what is being done, in a few words."""

log = get(__name__)


class Part(Protocol):
    """What can be opened; a failed `open` followed by `close` may be tried again."""

    async def open(self) -> None:
        """Raises StartupError."""
        ...

    async def close(self) -> None:
        """Twice is harmless."""
        ...


class Startup:
    """The steps of one start.

    Args:
        clock: waits.
        wait_s: how long all dependencies together may take to come up, in seconds; 0 fails at once.
        tell: told at each step and each attempt.
    """

    def __init__(self, clock: Clock, wait_s: float, tell: Tell) -> None:
        self._clock = clock
        self._wait_s = wait_s
        self._tell = tell
        self._until: float | None = None

    async def step(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Something of our own: it works, or waiting would not help."""
        self._tell(name)
        log.debug("starting", step=name)
        await work()

    async def dependency(self, name: str, part: Part) -> None:
        """Open what others run, or what needs it. Raises StartupError with the last reason once the time for waiting is over.

        The time begins with the first dependency that is not there: what our own steps take is none of it.
        """
        delay_s, attempt = FIRST_DELAY_S, 1
        while True:
            try:
                await self.step(name, part.open)
            except (StartupError, RetryableError) as error:
                await part.close()
                left_s = self._left_s()
                if left_s <= 0:
                    raise StartupError(str(error)) from error
                self._told_to_wait(name, attempt, error, left_s)
            else:
                return
            await self._clock.sleep(min(delay_s, left_s))
            delay_s, attempt = min(delay_s * 2, LAST_DELAY_S), attempt + 1

    def _left_s(self) -> float:
        now_s = self._clock.monotonic()
        if self._until is None:
            self._until = now_s + self._wait_s
        return self._until - now_s

    def _told_to_wait(self, name: str, attempt: int, error: SentinelError, left_s: float) -> None:
        self._tell(f"waiting for {name}, {left_s:.0f} s left: {error}")
        log.warning("waiting for a dependency", part=name, attempt=attempt, giving_up_in_s=round(left_s, 1), reason=str(error))


class Restores:
    """A `PartitionOwner` that passes everything on, and knows what is being restored.

    Attributes:
        refused: why the last restore failed, when it was for refused credentials; None otherwise.
    """

    def __init__(self, owner: PartitionOwner) -> None:
        self._owner = owner
        self._under_way: PartitionId | None = None
        self._done = 0
        self.refused: str | None = None

    @property
    def status(self) -> str | None:
        """What is being restored, in words; None when nothing is."""
        return f"restoring {self._under_way}, {self._done} partitions done" if self._under_way else None

    async def assigned(self, source: PartitionId, committed: int | None, epoch: int, *, rereadable: bool = True) -> int | None:
        """As the owner does."""
        self._under_way = source
        try:
            start = await self._owner.assigned(source, committed, epoch, rereadable=rereadable)
        except CredentialsError as error:
            self.refused = str(error)
            raise
        finally:
            self._under_way = None
        self.refused = None
        self._done += 1
        return start

    async def revoked(self, source: PartitionId) -> None:
        """As the owner does."""
        await self._owner.revoked(source)
        self.refused = None
        self._done = max(0, self._done - 1)
