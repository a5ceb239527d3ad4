"""Bringing a state database to the schema this version knows, whoever else starts at the same time."""

from pathlib import Path
from typing import Final

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, text

from sentinel.core.errors import StartupError

MIGRATIONS: Final = Path(__file__).parent / "migrations"
_LOCK: Final = 0x73656E74_6D696772
"""The advisory lock of all migrations on a PostgreSQL server's database: "sentmigr"."""


def migrate(connection: Connection, place: str) -> None:
    """Make or change the tables, in the transaction that is open on this connection.

    The first statement keeps others out until the transaction ends: an advisory lock on PostgreSQL; on SQLite the transaction itself has to
    begin as a writing one.

    Raises:
        StartupError: the schema is one this version does not know.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    script = ScriptDirectory(str(MIGRATIONS))
    context = MigrationContext.configure(connection)
    now = context.get_current_revision()
    try:
        script.get_revision(now or "base")
    except CommandError:
        raise StartupError(
            f"the state database {place} has schema {now}, which this version does not know: a newer one has written it. "
            "Install that version or a newer one, or put back a backup from before."
        ) from None
    for step in reversed(list(script.iterate_revisions("head", now or "base"))):
        with Operations.context(context):
            step.module.upgrade()
        context.stamp(script, step.revision)
