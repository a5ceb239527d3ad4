"""The audit log: it is written with the change, and nobody can change it unseen."""

import asyncio
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import StaticPool
from state_databases import Make, opened

from sentinel.state import audit
from sentinel.state.audit import BEGINNING, Damage, Entry
from sentinel.state.database import StateDatabase
from sentinel.state.tables import METADATA

ENTRIES = [Entry(1_000 + number, f"kid{number}", "key.created", f"target{number}", {"number": number}) for number in range(5)]


def _append_all(connection: Connection) -> None:
    for entry in ENTRIES:
        audit.append(connection, entry)


async def test_entries_come_back_newest_first(state: StateDatabase) -> None:
    """Everything that was written, and no more than asked for."""
    await state.run(_append_all)
    found = await state.read(lambda connection: audit.latest(connection, 3))
    assert [(kept.actor, kept.target, kept.detail) for kept in found] == [(e.actor, e.target, e.detail) for e in ENTRIES[:1:-1]]
    assert await state.read(audit.verify) is None


async def test_an_entry_goes_with_its_change(state: StateDatabase) -> None:
    """A transaction that fails leaves neither; the chain goes on."""

    def fails(connection: Connection) -> None:
        audit.append(connection, ENTRIES[1])
        raise RuntimeError("after the entry")

    await state.run(lambda connection: audit.append(connection, ENTRIES[0]))
    with pytest.raises(RuntimeError):
        await state.run(fails)
    await state.run(lambda connection: audit.append(connection, ENTRIES[2]))
    assert [kept.actor for kept in await state.read(lambda connection: audit.latest(connection, 9))] == ["kid2", "kid0"]
    assert await state.read(audit.verify) is None


TAMPERED = {
    "UPDATE audit SET actor = 'somebody' WHERE target = 'target2'": "changed",
    "UPDATE audit SET at_ns = at_ns + 1 WHERE target = 'target2'": "changed",
    "UPDATE audit SET action = 'key.revoked' WHERE target = 'target2'": "changed",
    "UPDATE audit SET target = 'other' WHERE target = 'target2'": "changed",
    "UPDATE audit SET detail = '{}' WHERE target = 'target2'": "changed",
    "UPDATE audit SET hash = prev_hash || 'x' WHERE target = 'target2'": "changed",
    "UPDATE audit SET prev_hash = 'x' WHERE target = 'target2'": "does not follow",
    "DELETE FROM audit WHERE target = 'target2'": "does not follow",
    "DELETE FROM audit WHERE target = 'target0'": "does not follow",
    "UPDATE audit SET id = 100 WHERE target = 'target2'": "does not follow",
}


@pytest.mark.parametrize(("statement", "reason"), TAMPERED.items())
async def test_every_kind_of_tampering_is_seen(state: StateDatabase, statement: str, reason: str) -> None:
    """Any column changed, an entry removed or moved: the first place that does not hold is named."""
    await state.run(_append_all)
    await state.run(lambda connection: connection.execute(text(statement)).rowcount)
    damage = await state.read(audit.verify)
    assert damage is not None
    assert reason in damage.reason
    assert damage.id is not None


async def test_an_end_that_was_cut_off_is_seen_by_who_knows_it(state: StateDatabase) -> None:
    """A shorter chain is whole in itself; the hash of a later entry, known from elsewhere, tells."""
    await state.run(_append_all)
    (newest,) = await state.read(lambda connection: audit.latest(connection, 1))
    assert await state.read(lambda connection: audit.verify(connection, newest.hash)) is None
    await state.run(lambda connection: connection.execute(text("DELETE FROM audit WHERE target = 'target4'")).rowcount)
    assert await state.read(audit.verify) is None
    damage = await state.read(lambda connection: audit.verify(connection, newest.hash))
    assert isinstance(damage, Damage)
    assert "cut off" in damage.reason


async def test_an_empty_log_is_whole(state: StateDatabase) -> None:
    """Nothing was written, nothing is missing; but an entry that should be there is."""
    assert await state.read(audit.verify) is None
    assert await state.read(lambda connection: audit.verify(connection, BEGINNING)) is None
    assert await state.read(lambda connection: audit.verify(connection, "a" * 64)) is not None


async def test_two_writers_make_one_chain(make: Make) -> None:
    """A command and a daemon at once: every entry is there, and the chain does not fork."""
    async with opened(make()) as one, opened(make()) as other:
        entries = [Entry(number, "somebody", "a.b", str(number)) for number in range(25)]
        await asyncio.gather(*(writer.run(partial(audit.append, entry=entry)) for writer in (one, other) for entry in entries))
        assert await one.read(audit.verify) is None
        assert len(await other.read(lambda connection: audit.latest(connection, 100))) == 50


texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=40)


@given(st.lists(st.builds(Entry, st.integers(0, 2**62), texts, texts, texts, st.dictionaries(texts, texts, max_size=3)), max_size=6))
def test_any_text_makes_a_chain(entries: list[Entry]) -> None:
    """Names of keys and users are whatever people chose."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.begin() as connection:
        METADATA.create_all(connection)
        hashes = [audit.append(connection, entry) for entry in entries]
        assert audit.verify(connection, hashes[-1] if hashes else None) is None
        assert [(kept.actor, kept.detail) for kept in audit.latest(connection, 9)] == [(e.actor, e.detail) for e in reversed(entries)]
    engine.dispose()
