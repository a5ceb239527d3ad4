"""The state database: whether it can be reached, and whether this version knows its schema. Nothing is migrated."""

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from sentinel.app.doctor import sqlite_file
from sentinel.app.doctor.check import Check, Finding, failed, in_thread, ok, warning
from sentinel.config.schema import Config, StateDatabase
from sentinel.state import engine
from sentinel.state.failures import cause
from sentinel.state.migrate import MIGRATIONS

SUBJECT: Final = "state database"


async def _run(config: Config) -> Sequence[Finding]:
    section = config.state
    if section.url is not None:
        return [await in_thread(lambda: look_at_postgresql(section))]
    path = Path(section.path or Path(config.state_dir) / "state.db")
    return [await in_thread(lambda: look_at_file(path))]


def look_at_file(path: Path) -> Finding:
    """The SQLite file."""
    header = sqlite_file.header(path)
    if header is None:
        return ok(SUBJECT, f"{path} does not exist yet; the daemon makes it")
    if isinstance(header, str):
        return failed(SUBJECT, header, "Give the daemon's user access to it, or set state.path to another file.")
    try:
        revision = sqlite_file.ask(path, _revision)
    except sqlite3.Error as error:
        return failed(SUBJECT, f"{path} is damaged: {error}", "Restore it from a backup, or move it away to start empty.")
    return ok(SUBJECT, f"{path}, in use") if revision is None else _schema(str(path), revision or None)


def _revision(connection: sqlite3.Connection) -> str:
    """The schema's name; empty when there are no tables yet."""
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'alembic_version'").fetchone():
        return ""
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else ""


def look_at_postgresql(section: StateDatabase) -> Finding:
    """The database on the server. Raises StartupError without the driver."""
    made = engine.postgresql(section)
    try:
        with made.connect() as connection:
            found = _schema(str(section.url), MigrationContext.configure(connection).get_current_revision())
            replica = connection.execute(text("SELECT pg_is_in_recovery()")).scalar_one()
    except SQLAlchemyError as error:
        return failed(SUBJECT, f"{section.url}: it cannot be used", f"{cause(error)}.".capitalize())
    finally:
        made.dispose()
    if replica:
        return failed(SUBJECT, f"{section.url} is a standby, which takes no writes", "Set state.url to the primary.")
    return found


def server_time_s(section: StateDatabase) -> float:
    """The server's clock less ours, in seconds. Raises SQLAlchemyError or StartupError."""
    made = engine.postgresql(section)
    try:
        with made.connect() as connection:
            connection.execute(text("SELECT 1"))
            before = time.time()
            there = float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
            return there - (before + time.time()) / 2
    finally:
        made.dispose()


def _schema(place: str, revision: str | None) -> Finding:
    script = ScriptDirectory(str(MIGRATIONS))
    if revision is None:
        return ok(SUBJECT, f"{place} has no tables yet; the daemon makes them")
    try:
        script.get_revision(revision)
    except CommandError:
        what = f"{place} has schema {revision}, which this version does not know"
        return failed(SUBJECT, what, "Install the version that wrote it, or a newer one.")
    head = script.get_current_head()
    if revision != head:
        return warning(SUBJECT, f"{place} has schema {revision}", f"The next start makes it {head}; take a backup before.")
    return ok(SUBJECT, f"{place}, schema {revision}")


STATE_DATABASE: Final = Check(SUBJECT, _run, limit_s=12.0)
