"""A gate a paused source waits behind."""

import asyncio


class Gate:
    """Open at first; `read` waits at it while it is shut.

    >>> gate = Gate()
    >>> gate.shut(); gate.is_open
    False
    """

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    @property
    def is_open(self) -> bool:
        """Whether records may be handed over."""
        return self._open.is_set()

    def shut(self) -> None:
        """Let nothing through."""
        self._open.clear()

    def lift(self) -> None:
        """Let records through again."""
        self._open.set()

    async def passage(self) -> None:
        """Wait until the gate is open."""
        await self._open.wait()
