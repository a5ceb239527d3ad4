"""API keys in the state database. Their secrets are never here: of a key as it is sent only the sha256 is kept."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, Row, func, insert, or_, select, update

from sentinel.core.access import ApiKey, roles_of, words_of
from sentinel.core.errors import PermanentError
from sentinel.state import audit
from sentinel.state.tables import API_KEYS

MOST_KEYS: Final = 1_000
"""Keys that are not revoked; all of them are in the memory of every daemon."""


def create(connection: Connection, key: ApiKey, actor: str) -> None:
    """Keep a key and write who made it, in one transaction. Raises PermanentError when there are too many."""
    alive = connection.execute(select(func.count()).select_from(API_KEYS).where(API_KEYS.c.revoked_ns.is_(None))).scalar_one()
    if alive >= MOST_KEYS:
        raise PermanentError(f"there are {alive} API keys; revoke some with `sentinel keys revoke KID` before you make more")
    connection.execute(
        insert(API_KEYS).values(
            kid=key.kid,
            secret_sha256=key.digest.decode(),
            name=key.name,
            scopes=words_of(key.roles),
            created_ns=key.created_ns,
            created_by=actor,
            expires_ns=key.expires_ns,
        )
    )
    detail = {"name": key.name, "roles": words_of(key.roles), "expires_ns": key.expires_ns}
    audit.append(connection, audit.Entry(key.created_ns, actor, "key.created", key.kid, detail))


def revoke(connection: Connection, kid: str, actor: str, now_ns: int) -> ApiKey | None:
    """Let a key open nothing any more and write who did it, in one transaction.

    Returns:
        The key as it was before, already revoked or not; None when there is none of this kid.
    """
    row = connection.execute(select(API_KEYS).where(API_KEYS.c.kid == kid)).one_or_none()
    if row is None:
        return None
    changed = connection.execute(update(API_KEYS).where(API_KEYS.c.kid == kid, API_KEYS.c.revoked_ns.is_(None)).values(revoked_ns=now_ns))
    if changed.rowcount:
        audit.append(connection, audit.Entry(now_ns, actor, "key.revoked", kid, {"name": row.name}))
    return _key(row)


def listed(connection: Connection) -> list[ApiKey]:
    """Every key there ever was, the oldest first."""
    return [_key(row) for row in connection.execute(select(API_KEYS).order_by(API_KEYS.c.created_ns, API_KEYS.c.kid))]


def alive(connection: Connection) -> dict[str, ApiKey]:
    """The keys that are not revoked, by kid; some may have expired."""
    rows = connection.execute(select(API_KEYS).where(API_KEYS.c.revoked_ns.is_(None)).limit(MOST_KEYS))
    return {row.kid: _key(row) for row in rows}


def note_use(connection: Connection, used_ns: Mapping[str, int]) -> None:
    """Write when keys were last used; a later time that another daemon has written stays."""
    for kid, at_ns in used_ns.items():
        older = or_(API_KEYS.c.last_used_ns.is_(None), API_KEYS.c.last_used_ns < at_ns)
        connection.execute(update(API_KEYS).where(API_KEYS.c.kid == kid, older).values(last_used_ns=at_ns))


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        kid=row.kid,
        name=row.name,
        roles=roles_of(row.scopes),
        digest=row.secret_sha256.encode(),
        created_ns=row.created_ns,
        created_by=row.created_by,
        expires_ns=row.expires_ns,
        revoked_ns=row.revoked_ns,
        last_used_ns=row.last_used_ns,
    )
