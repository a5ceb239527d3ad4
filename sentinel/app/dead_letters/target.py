"""Where replayed records are sent: the port. Its implementations are the source topic and a daemon's HTTP API."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from sentinel.app.dead_letters.fate import Original
from sentinel.app.dead_letters.letter import Letter


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to send.

    Attributes:
        letter: what it is a replay of.
        original: the record it came from, or is.
        value: its bytes.
    """

    letter: Letter
    original: Original
    value: bytes


class Target(Protocol):
    """Takes records from one task."""

    def unfit(self, outgoing: Outgoing) -> str | None:
        """Why a record cannot be sent this way at all; None when it can."""
        ...

    async def send(self, batch: Sequence[Outgoing]) -> list[str | None]:
        """Send records that fit, and wait until the other side has them.

        Returns:
            For each of them why it was not taken, None when it was.

        Raises SentinelError when the other side fails; some of the records may have been taken.
        """
        ...


Opening = AbstractAsyncContextManager[Target]
"""A target that connects when it is entered, and disconnects when it is left."""
