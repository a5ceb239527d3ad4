"""Replicas in the state database, on both kinds of it."""

from state_databases import Make, opened

from sentinel.state.database import StateDatabase
from sentinel.state.replicas import Replica, Replicas

ONE = Replica("1", "one", "g", "host", "http://127.0.0.1:1", ["t/0", "t/1"], 100)
TWO = Replica("2", "two", "g", "host", None, [], 100)


async def test_replicas_find_each_other(make: Make) -> None:
    """Each sees what the others wrote last, and nobody of another group."""
    async with opened(make()) as first, opened(make()) as second:
        assert await Replicas(first).announce(ONE, 0) == [ONE]
        assert await Replicas(second).announce(TWO, 0) == [ONE, TWO]
        later = ONE._replace(seen_ns=200, partitions=["t/0"])
        assert await Replicas(first).announce(later, 0) == [later, TWO]
        other = ONE._replace(id="3", group_id="h")
        assert await Replicas(first).announce(other, 0) == [other]


async def test_who_is_silent_or_leaves_is_forgotten(state: StateDatabase) -> None:
    """A replica that was not seen since the given time is gone, and so is one that says so."""
    replicas = Replicas(state)
    await replicas.announce(ONE, 0)
    assert await replicas.announce(TWO._replace(seen_ns=300), 101) == [TWO._replace(seen_ns=300)]
    await replicas.leave(TWO.id)
    assert await replicas.announce(ONE, 0) == [ONE]
