"""The table of users: exact while there is room, bounded and honest beyond."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from usage_events import pseudonym

from sentinel.core.batch import Int64
from sentinel.core.buffers import UInt64
from sentinel.detection.heavy_hitters import FACTS, PROBES, HeavyHitters, facts_of, name_of, words_of


def counted(table: HeavyHitters, users: list[int], owners: list[int] | None = None) -> HeavyHitters:
    """The table after a request of each of these users."""
    distinct = sorted(set(users))
    which = np.searchsorted(distinct, users).astype(np.int32) if users else np.empty(0, np.int32)
    facts = np.tile(np.array([1, 10, 100, 0]), (len(users), 1))
    of = np.array(owners if owners is not None else [0] * len(users), np.int32)
    table.add(of, words_of([pseudonym(user) for user in distinct]), which, facts, np.full(len(users), 1_010))
    return table


def requests(table: HeavyHitters) -> dict[tuple[int, str], int]:
    """Requests by service and name."""
    users = table.users()
    return {(int(o), name_of(k)): int(f[0]) for o, k, f in zip(users.owners, users.keys, users.facts, strict=True)}


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 60)), max_size=300))
def test_it_is_exact_while_there_is_room(events: list[tuple[int, int]]) -> None:
    """With room for all, every user's count is exact, whatever the order; events of nobody count nowhere."""
    owners, users = [o for o, _ in events], [u for _, u in events]
    table = counted(HeavyHitters(1_000), users, owners)
    assert requests(table) == Counter((o, pseudonym(u)) for o, u in events if o >= 0)
    assert table.error == 0
    mixed = counted(HeavyHitters(1_000), users[::-1], owners[::-1])
    assert requests(mixed) == requests(table)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 400), min_size=500, max_size=1_500), st.integers(0, 5))
def test_beyond_its_room_it_is_bounded_and_never_accuses_too_much(users: list[int], often: int) -> None:
    """Counts are never above the truth, and whoever has more weight than `error` is listed."""
    users = [user for pair in zip(users, [often] * len(users), strict=True) for user in pair]
    table = counted(HeavyHitters(64), users)
    truth, found = Counter(pseudonym(user) for user in users), requests(table)
    assert len(table) <= 64
    assert all(count <= truth[name] for (_, name), count in found.items())
    assert {name for name, count in truth.items() if 1_010 * count > table.error} <= {name for _, name in found}
    assert table.error <= 2 * 1_010 * len(users) / 64 + 1_010


def test_windows_can_be_added() -> None:
    """The sum of two windows' users is the users of both."""
    one, other = counted(HeavyHitters(100), [1, 2, 2]), counted(HeavyHitters(100), [2, 3], [0, 1])
    one.merge(other.users())
    assert requests(one) == {(0, pseudonym(1)): 1, (0, pseudonym(2)): 3, (1, pseudonym(3)): 1}


def test_taking_empties_it() -> None:
    """What was taken is not there any more, and an empty one gives nothing."""
    table = counted(HeavyHitters(100), [1, 2])
    assert len(table.take()) == 2
    assert len(table) == len(table.take()) == 0


def test_names_made_to_collide_cannot_slow_it_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that all begin their search at one slot: those beyond the search's length are left out, and their weight is known."""

    def one_place(owners: np.ndarray, _keys: UInt64, _which: np.ndarray) -> Int64:
        return np.zeros(len(owners), np.int64)

    monkeypatch.setattr("sentinel.detection.heavy_hitters._places", one_place)
    table = counted(HeavyHitters(1_000), list(range(300)))
    assert len(table) == PROBES
    assert table.error == 1_010 * (300 - PROBES)


def test_a_saved_table_goes_on() -> None:
    """A loaded table has the users and the error of the saved one; without anything to load it is empty."""
    table = counted(HeavyHitters(64), list(range(200)))
    other = HeavyHitters(64)
    other.load(table.tables("x."), "x.")
    assert requests(other) == requests(table)
    assert other.error == table.error > 0
    other.load({}, "x.")
    assert len(other) == other.error == 0


def test_names_of_any_kind_fit() -> None:
    """Pseudonyms keep all their characters; longer and foreign names are cut, never an error."""
    for name in (pseudonym(7), "ann", "ü" * 40, "x" * 29 + "é", ""):
        (found,) = (name_of(words) for words in words_of([name]))
        assert name.encode().startswith(found.encode())
    assert name_of(words_of([pseudonym(7)])[0]) == pseudonym(7)


def test_facts_of_events() -> None:
    """Absent metrics count nothing, money is in billionths."""
    metrics = np.full((2, 8), np.nan)
    metrics[0, 5], metrics[0, 6] = 300.0, 0.02
    facts, weights = facts_of(metrics, np.array([True, False]))
    assert dict(zip(FACTS, facts[0].tolist(), strict=True)) == {"requests": 1, "tokens": 300, "cost_usd": 20_000_000, "personal": 1}
    assert facts[1].tolist() == [1, 0, 0, 0]
    assert weights.tolist() == [3_300, 1_000]
