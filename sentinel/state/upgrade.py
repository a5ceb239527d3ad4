"""The steps from the schema a state database has to the one this version knows, by Alembic."""

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection

from sentinel.core.errors import StartupError
from sentinel.state.migrate import MIGRATIONS


def upgrade(connection: Connection, place: str) -> None:
    """Take every step that is missing, in the transaction that is open on this connection.

    Raises:
        StartupError: the schema is one this version does not know.
    """
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
