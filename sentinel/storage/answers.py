"""The cache within the process: bytes by question, bounded in entries, bytes, age and idleness."""

from typing import Final, NamedTuple

from cachetools import TLRUCache

from sentinel.config.schema import Cache
from sentinel.core.ports import Clock

ENTRY_BYTES: Final = 512
"""What an entry costs besides its question and answer: objects, table slots, its place in two orders."""
ENTRIES_AT_LEAST: Final = 16
"""Answers that must fit: one that would take more than its share of the bytes is not kept."""


class _Entry(NamedTuple):
    """An answer, when its time is over (monotonic seconds), and what it counts against the limit."""

    answer: bytes
    over_s: float
    size_bytes: int


class Answers:
    """The most recently used answers.

    An entry goes when it is older than what it was put with, was not asked for during `tti_secs`, or room is needed: then the one that
    was not used for longest goes first.

    Args:
        section: limits on entries, bytes and idleness.
        clock: whose monotonic time ages entries.
    """

    def __init__(self, section: Cache, clock: Clock) -> None:
        self._section = section
        self._largest_bytes = section.max_bytes // ENTRIES_AT_LEAST
        self._kept: TLRUCache[bytes, _Entry] = TLRUCache(
            section.max_bytes,
            ttu=lambda _question, entry, now_s: min(entry.over_s, now_s + section.tti_secs),
            timer=clock.monotonic,
            getsizeof=lambda entry: entry.size_bytes,
        )
        self._clock = clock

    @property
    def entries(self) -> int:
        """How many are kept."""
        self._kept.expire()
        return len(self._kept)

    @property
    def size_bytes(self) -> int:
        """What they count against the limit."""
        self._kept.expire()
        return int(self._kept.currsize)

    def get(self, question: bytes) -> bytes | None:
        """The answer to a question, which is now the most recently used one; None when there is none."""
        entry = self._kept.get(question)
        if entry is None:
            return None
        self._kept[question] = entry  # its idle time begins anew
        return entry.answer

    def put(self, question: bytes, answer: bytes, ttl_s: float) -> None:
        """Keep an answer for at most `ttl_s` seconds, unless it is too large or that is no time at all."""
        size_bytes = len(question) + len(answer) + ENTRY_BYTES
        if size_bytes > self._largest_bytes:
            return
        self._kept[question] = _Entry(answer, self._clock.monotonic() + ttl_s, size_bytes)
        while len(self._kept) > self._section.max_capacity:
            self._kept.popitem()
