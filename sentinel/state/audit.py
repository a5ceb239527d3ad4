"""The audit log: who changed what, each entry holding the hash of the one before.

Whoever changes or removes an entry, or puts one in between, breaks the chain; `verify` says where. Entries cut off at the end leave a
chain that is whole, so `verify` also takes the hash of an entry that is known to have been there: the log of each change tells it.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, insert, select, text

from sentinel.observability.logs import get
from sentinel.state.tables import AUDIT

BEGINNING: Final = "0" * 64
"""What the first entry holds as the hash before it."""
_LOCK: Final = 0x73656E74_61756474
"""The advisory lock of appending on PostgreSQL: "sentaudt"."""
_ROWS_PER_READ: Final = 1_000

log = get(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """One change.

    Attributes:
        at_ns: when, wall clock.
        actor: who: the kid of an API key, `anonymous`, or `cli:` and a user of the machine.
        action: what was done, `thing.past`, such as `key.created`.
        target: what it was done to: an id or a name.
        detail: more, such as the value before and after; never a secret.
    """

    at_ns: int
    actor: str
    action: str
    target: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kept(Entry):
    """An entry as it stands in the log."""

    id: int = 0
    hash: str = BEGINNING


@dataclass(frozen=True, slots=True)
class Damage:
    """The first place where the chain does not hold; `id` is None when an entry that should be there is not."""

    id: int | None
    reason: str


def append(connection: Connection, entry: Entry) -> str:
    """Write an entry in the transaction of the change it tells of, so that both happen or neither.

    Returns:
        Its hash.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    last = connection.execute(select(AUDIT.c.hash).order_by(AUDIT.c.id.desc()).limit(1)).scalar()
    before = last or BEGINNING
    detail = msgspec.json.encode(entry.detail, order="sorted").decode()
    found = _hash(before, entry.at_ns, entry.actor, entry.action, entry.target, detail)
    connection.execute(
        insert(AUDIT).values(
            at_ns=entry.at_ns,
            actor=entry.actor,
            action=entry.action,
            target=entry.target,
            detail=detail,
            prev_hash=before,
            hash=found,
        )
    )
    log.info("audit", actor=entry.actor, action=entry.action, target=entry.target, hash=found)
    return found


def latest(connection: Connection, limit: int) -> list[Kept]:
    """The last entries, newest first."""
    rows = connection.execute(select(AUDIT).order_by(AUDIT.c.id.desc()).limit(limit))
    return [Kept(row.at_ns, row.actor, row.action, row.target, msgspec.json.decode(row.detail), id=row.id, hash=row.hash) for row in rows]


def verify(connection: Connection, known: str | None = None) -> Damage | None:
    """Recompute the whole chain, in bounded memory.

    Args:
        connection: in one transaction, best a reading one.
        known: the hash of an entry that must be there, None to ask for none. The newest that is known proves the most.

    Returns:
        The first damage; None when every entry is as it was written.
    """
    before, met = BEGINNING, known in {None, BEGINNING}
    for row in _rows(connection):
        if row.prev_hash != before:
            return Damage(row.id, "does not follow the entry before it: one was removed, put in or moved")
        if row.hash != _hash(before, row.at_ns, row.actor, row.action, row.target, row.detail):
            return Damage(row.id, "was changed after it was written")
        before, met = row.hash, met or row.hash == known
    return None if met else Damage(None, "the entry with the known hash is gone: the end was cut off, or this is another log")


def _rows(connection: Connection) -> Iterator[Row[Any]]:
    """All entries, oldest first."""
    last = 0
    while True:
        rows = connection.execute(select(AUDIT).where(AUDIT.c.id > last).order_by(AUDIT.c.id).limit(_ROWS_PER_READ)).all()
        yield from rows
        if len(rows) < _ROWS_PER_READ:
            return
        last = rows[-1].id


def _hash(before: str, at_ns: int, actor: str, action: str, target: str, detail: str) -> str:
    """As JSON, so that no two entries are the same text."""
    return hashlib.sha256(msgspec.json.encode([before, at_ns, actor, action, target, detail])).hexdigest()
