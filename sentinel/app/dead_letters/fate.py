"""What becomes of a letter in a replay."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from sentinel.app.dead_letters.letter import Letter


class Fate(StrEnum):
    """In a dry run the first three; otherwise what passes, or is forced, becomes one of the last two."""

    PASSES = "passes"
    REFUSED = "refused"
    MISSING = "missing"
    SENT = "sent"
    NOT_TAKEN = "not_taken"


@dataclass(frozen=True, slots=True)
class Original:
    """The record of one or more letters.

    Attributes:
        value: its bytes; None is a tombstone.
        log_ns: its time in its log, in nanoseconds since the epoch.
        partition: of the source topic; None for a record that is kept in its letter only.
        key, headers: as its producer gave them.
    """

    value: bytes | None
    log_ns: int
    partition: int | None = None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass(slots=True)
class Verdict:
    """A letter, and what becomes of it.

    Attributes:
        why: the reason, in words; empty where the fate says it all.
        records: what is to be sent: the record, or its events one by one.
    """

    letter: Letter
    fate: Fate
    why: str = ""
    records: Sequence[bytes] = field(default=(), repr=False)
