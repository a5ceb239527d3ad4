"""Bringing a state database to the schema this version knows, whoever else starts at the same time."""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

MIGRATIONS: Final = Path(__file__).parent / "migrations"
NEWEST: Final = max(path.stem[1:5] for path in (MIGRATIONS / "versions").glob("v????_*.py"))
"""The revision of the newest step, which its file is named after."""
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
    if not _up_to_date(connection):
        from sentinel.state.upgrade import upgrade  # noqa: PLC0415  Alembic takes 9 MB, and is needed once a version

        upgrade(connection, place)


def _up_to_date(connection: Connection) -> bool:
    if not inspect(connection).has_table("alembic_version"):
        return False
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [NEWEST]
