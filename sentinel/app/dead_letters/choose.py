"""Which letters are meant: filters, and the newest of what they leave. Memory is bounded by the number asked for."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from sentinel.app.dead_letters.letter import Letter

Progress = Callable[[float], None]
"""Takes the share of the work that is done, 0 to 1."""


class Letters(Protocol):
    """Where dead letters lie.

    Attributes:
        name: the place, for people.
    """

    name: str

    def read(self, start_ns: int | None) -> Iterator[tuple[Letter | None, float]]:
        """All letters about in the order they were written, None for what is none, each with the share that has been read.

        Args:
            start_ns: what was received before this time may be left out; None for everything.

        Raises SentinelError with place and cure.
        """
        ...

    def purge(self, before_ns: int | None) -> int:
        """Delete the letters written or received before a time, all of them when it is None. Returns how many.

        Raises SentinelError with place and cure; nothing, or only a part, is deleted then.
        """
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """Filters; each that is not empty must hold.

    Attributes:
        codes: reject codes.
        log: a log as cluster/topic/partition, or a part of that: topic/partition, cluster/topic, topic.
        partition, offset, sub: its number, and a place in it.
        start_ns, end_ns: received from this time on, and before that one.
        ids: letters by their ids.
    """

    codes: frozenset[str] = frozenset()
    log: str | None = None
    partition: int | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    ids: frozenset[str] = frozenset()
    offset: int | None = None
    sub: int | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing is filtered."""
        return self == Wanted()

    def takes(self, letter: Letter) -> bool:
        """Whether a letter is meant."""
        return (
            (not self.codes or letter.code in self.codes)
            and (self.partition is None or letter.partition == self.partition)
            and (self.log is None or self.log in _names(letter))
            and (self.start_ns is None or letter.received_ns >= self.start_ns)
            and (self.end_ns is None or letter.received_ns < self.end_ns)
            and (self.offset is None or letter.offset == self.offset)
            and (self.sub is None or letter.sub == self.sub)
            and (not self.ids or letter.id in self.ids)
        )


def _names(letter: Letter) -> tuple[str, ...]:
    """What people may call the log of a letter."""
    return letter.log, f"{letter.topic}/{letter.partition}", f"{letter.cluster}/{letter.topic}", letter.topic


@dataclass(slots=True)
class Chosen:
    """What was found.

    Attributes:
        limit: letters kept; the newest are.
        by_code: all letters that were meant, kept or not, by their code.
        unreadable: lines or records that are no letters.
    """

    limit: int
    by_code: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0
    _kept: list[tuple[int, int, Letter]] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many letters were meant."""
        return self.by_code.total()

    def add(self, letter: Letter) -> None:
        """Count a letter, and keep it while it is one of the newest."""
        self.by_code[letter.code] += 1
        entry = (letter.received_ns, self.total, letter)
        if len(self._kept) < self.limit:
            heapq.heappush(self._kept, entry)
        else:
            heapq.heappushpop(self._kept, entry)

    def newest_first(self) -> list[Letter]:
        """The kept letters."""
        return [letter for _, _, letter in sorted(self._kept, reverse=True, key=lambda entry: entry[:2])]


def choose(letters: Letters, wanted: Wanted, limit: int, progress: Progress) -> Chosen:
    """Go through all letters once. Raises what reading them raises."""
    chosen = Chosen(limit)
    for letter, share in letters.read(wanted.start_ns):
        if letter is None:
            chosen.unreadable += 1
        elif wanted.takes(letter):
            chosen.add(letter)
        progress(share)
    return chosen
