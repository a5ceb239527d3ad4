"""Heavy hitters: what each user of each service took, exactly while there are few users, and of the heaviest whatever the number.

A bounded table of counters. While it has room, every user's requests, tokens, spend and events with personal data are exact and do not
depend on the order of events. When it is full, the median weight is subtracted from all and those left with nothing are dropped, so every
user with more than `error` of weight is still in it, and the numbers it gives are never more than a user really took. One request, a
thousand tokens and a cent weigh the same.

Sources: J. Misra, D. Gries, Finding Repeated Elements, Science of Computer Programming 2, 1982; A. Metwally, D. Agrawal, A. El Abbadi,
Efficient Computation of Frequent and Top-k Elements in Data Streams, ICDT 2005; the subtraction of a median at once: D. Anderson et al.,
A High-Performance Algorithm for Identifying Frequent Items in Data Streams, IMC 2017.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sentinel.core.batch import Bool, Float64, Int32, Int64
from sentinel.core.buffers import UInt64
from sentinel.core.jit import leaf
from sentinel.core.metrics import COST, TOTAL_TOKENS

NAME_BYTES: Final = 32
"""Pseudonyms have 29; of anything longer the first bytes count."""
PSEUDONYM_CHARS: Final = 29
PADDING: Final = "\0" * (NAME_BYTES - PSEUDONYM_CHARS)
WORDS: Final = NAME_BYTES // 8

FACTS: Final = ("requests", "tokens", "cost_usd", "personal")
"""What is counted of a user: whole numbers, money in billionths of a dollar."""
REQUESTS, TOKENS, NANOS, FOUND = range(len(FACTS))

_WEIGHT_PER_REQUEST: Final = 1_000
_NANOS_PER_WEIGHT: Final = 10_000
_FIRST_SLOTS: Final = 256
_NOBODY: Final = -1

PROBES: Final = 128
"""Slots looked at for a name. At most half of them are taken, so a search that long means names made to collide: their weight is lost."""


def words_of(users: Sequence[str]) -> UInt64:
    """uint64[u, WORDS], names as fixed words, so that a kernel can compare them; they sort as the names do.

    >>> name_of(words_of(["p1_4boesr3vcr6cwjtqckn7p2nazo"])[0])
    'p1_4boesr3vcr6cwjtqckn7p2nazo'
    """
    if set(map(len, users)) == {PSEUDONYM_CHARS}:
        raw = PADDING.join([*users, ""]).encode("ascii", "replace")
        return np.frombuffer(raw, ">u8").astype(np.uint64).reshape(-1, WORDS)
    raw = b"".join([user.encode("utf-8", "replace")[:NAME_BYTES].ljust(NAME_BYTES, b"\0") for user in users])
    return np.frombuffer(raw, ">u8").astype(np.uint64).reshape(-1, WORDS)


def name_of(words: UInt64) -> str:
    """The name that `words_of` made these words of."""
    return words.astype(">u8").tobytes().rstrip(b"\0").decode("utf-8", "ignore")


def _places(owners: Int32, keys: UInt64, which: Int32) -> Int64:
    """int64[n], where the search for each addition begins: any numbers that are not negative."""
    places = np.empty(len(owners), np.int64)
    _mix(owners, keys, which, places)
    return places


@leaf
def _mix(owners: Int32, keys: UInt64, which: Int32, places: Int64) -> None:
    """Mix the bits of owner and name by shifts alone (G. Marsaglia, Xorshift RNGs, Journal of Statistical Software 8, 2003)."""
    for i in range(owners.shape[0]):
        mixed = np.uint64(max(owners[i], 0))
        for word in range(keys.shape[1]):
            mixed ^= keys[which[i], word]
            mixed ^= mixed << np.uint64(13)
            mixed ^= mixed >> np.uint64(7)
            mixed ^= mixed << np.uint64(17)
        places[i] = np.int64(mixed >> np.uint64(16))


@leaf
def find(keys: UInt64, owners: Int32, owner: int, key: UInt64, place: int) -> int:
    """The slot of a user of a service, or the free slot where it belongs; -1 when there is none near `place`."""
    mask: int = keys.shape[0] - 1
    for step in range(PROBES):
        slot: int = (place + step) & mask
        if owners[slot] == _NOBODY:
            return slot
        if owners[slot] == owner:
            same = True
            for word in range(key.shape[0]):
                same = same and keys[slot, word] == key[word]
            if same:
                return slot
    return -1


@leaf
def add(
    keys: UInt64,
    owners: Int32,
    weights: Int64,
    facts: Int64,
    room: int,
    new_owners: Int32,
    new_keys: UInt64,
    which: Int32,
    places: Int64,
    new_facts: Int64,
    new_weights: Int64,
    start: int,
) -> tuple[int, int, int]:
    """Add facts to users until one has no room; returns where it stopped, how much room is left, and the weight that found no slot.

    Args:
        keys: uint64[s, WORDS], names in the table; s is a power of two.
        owners: int32[s], whose users they are.
        weights: int64[s].
        facts: int64[s, facts].
        room: users that can still be taken in.
        new_owners: int32[n], the service of each addition; negative = nobody's.
        new_keys: uint64[u, WORDS], names.
        which: int32[n], index into them.
        places: int64[n], where the search for each begins.
        new_facts: int64[n, facts].
        new_weights: int64[n].
        start: first addition.
    """
    lost = 0
    for i in range(start, new_owners.shape[0]):
        owner = new_owners[i]
        if owner < 0:
            continue
        key = new_keys[which[i]]
        slot = find(keys, owners, owner, key, places[i])
        if slot < 0:
            lost += new_weights[i]
            continue
        if owners[slot] == _NOBODY:
            if room == 0:
                return i, room, lost
            room -= 1
            owners[slot] = owner
            for word in range(key.shape[0]):
                keys[slot, word] = key[word]
        weights[slot] += new_weights[i]
        for fact in range(facts.shape[1]):
            facts[slot, fact] += new_facts[i, fact]
    return new_owners.shape[0], room, lost


@dataclass(frozen=True, slots=True)
class Users:
    """What u users took: owners int32[u] (row of the service), keys uint64[u, WORDS], facts int64[u, facts], ordered by owner and name.

    `error` is the weight that a user may have taken without being listed, or more than listed.
    """

    owners: Int32
    keys: UInt64
    facts: Int64
    weights: Int64
    error: int

    def __len__(self) -> int:
        return len(self.owners)


NO_USERS: Final = Users(
    np.empty(0, np.int32), np.empty((0, WORDS), np.uint64), np.empty((0, len(FACTS)), np.int64), np.empty(0, np.int64), 0
)


class HeavyHitters:
    """The users of one window.

    Args:
        most: users counted; the table grows up to that.

    >>> table = HeavyHitters(64)
    >>> both = words_of(["ann", "bob"])
    >>> table.add(np.zeros(3, np.int32), both, np.array([0, 1, 0], np.int32), np.ones((3, 4), np.int64), np.full(3, 1000))
    >>> [(name_of(key), int(facts[0])) for key, facts in zip(table.users().keys, table.users().facts)]
    [('ann', 2), ('bob', 1)]
    """

    __slots__ = ("_facts", "_keys", "_most", "_owners", "_room", "_weights", "error")

    def __init__(self, most: int) -> None:
        self._most = most
        self._room = 0
        self.error = 0
        self._empty(_FIRST_SLOTS)

    def __len__(self) -> int:
        return self._limit() - self._room

    def add(self, owners: Int32, keys: UInt64, which: Int32, facts: Int64, weights: Int64) -> None:
        """Add facts int64[n, facts] and weights int64[n] to users: of service owners int32[n] (negative = nobody), keys[which]."""
        at = 0
        places = _places(owners, keys, which)
        while True:
            table = self._keys, self._owners, self._weights, self._facts
            at, self._room, lost = add(*table, self._room, owners, keys, which, places, facts, weights, at)
            self.error += lost
            if at == len(owners):
                return
            self._make_room()

    def merge(self, users: Users) -> None:
        """Add what another window's users took."""
        self.error += users.error
        self.add(users.owners, users.keys, np.arange(len(users), dtype=np.int32), users.facts, users.weights)

    def users(self) -> Users:
        """All users in it."""
        taken = np.flatnonzero(self._owners != _NOBODY)
        return self._at(taken[np.lexsort((*self._keys[taken].T[::-1], self._owners[taken]))])

    def take(self) -> Users:
        """All users in it; it is empty afterwards."""
        if not len(self):
            return NO_USERS
        users = self.users()
        self.error = 0
        self._empty(_FIRST_SLOTS)
        return users

    def tables(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """Its state as arrays."""
        users = self.users()
        numbers = np.array([self.error], np.int64)
        parts: dict[str, npt.NDArray[Any]] = {
            "owners": users.owners,
            "keys": users.keys,
            "facts": users.facts,
            "weights": users.weights,
            "error": numbers,
        }
        return {prefix + name: array for name, array in parts.items()}

    def load(self, tables: Mapping[str, npt.NDArray[Any]], prefix: str) -> None:
        """Become what `tables` told of another; it starts empty when they do not hold it."""
        self._empty(_FIRST_SLOTS)
        self.error = 0
        names = [prefix + name for name in ("owners", "keys", "facts", "weights", "error")]
        if all(name in tables for name in names):
            owners, keys, facts, weights, error = (tables[name] for name in names)
            self.merge(Users(owners.astype(np.int32), keys.astype(np.uint64), facts, weights, int(error[0])))

    def _at(self, slots: Int64) -> Users:
        return Users(self._owners[slots], self._keys[slots], self._facts[slots], self._weights[slots], self.error)

    def _limit(self) -> int:
        return min(self._most, len(self._owners) // 2)

    def _empty(self, slots: int) -> None:
        self._keys = np.zeros((slots, WORDS), np.uint64)
        self._owners = np.full(slots, _NOBODY, np.int32)
        self._weights = np.zeros(slots, np.int64)
        self._facts = np.zeros((slots, len(FACTS)), np.int64)
        self._room = self._limit()

    def _make_room(self) -> None:
        """Twice the slots; where that is not allowed, drop the lighter half."""
        users = self._at(np.flatnonzero(self._owners != _NOBODY))
        slots = len(self._owners)
        if self._limit() < self._most:
            slots *= 2
        else:
            median = int(np.partition(users.weights, len(users) // 2)[len(users) // 2])
            kept = users.weights > median
            self.error += median
            users = Users(users.owners[kept], users.keys[kept], users.facts[kept], users.weights[kept] - median, 0)
        self._empty(slots)
        self.add(users.owners, users.keys, np.arange(len(users), dtype=np.int32), users.facts, users.weights)


def facts_of(metrics: Float64, personal: Bool) -> tuple[Int64, Int64]:
    """int64[n, facts] and int64[n], facts and weights of events with metrics float64[n, m] and personal bool[n]."""
    facts = np.empty((len(metrics), len(FACTS)), np.int64)
    weights = np.empty(len(metrics), np.int64)
    _facts(metrics, personal, facts, weights)
    return facts, weights


@leaf
def _facts(metrics: Float64, personal: Bool, facts: Int64, weights: Int64) -> None:
    """Fill facts and weights; absent metrics count nothing."""
    for i in range(metrics.shape[0]):
        tokens, cost = metrics[i, TOTAL_TOKENS], metrics[i, COST]
        facts[i, REQUESTS] = 1
        facts[i, TOKENS] = int(min(tokens, 1e13)) if tokens >= 0.0 else 0
        facts[i, NANOS] = int(min(cost * 1e9, 1e13) + 0.5) if cost >= 0.0 else 0
        facts[i, FOUND] = personal[i]
        weights[i] = _WEIGHT_PER_REQUEST + facts[i, TOKENS] + facts[i, NANOS] // _NANOS_PER_WEIGHT
