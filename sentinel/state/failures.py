"""What a database's failure means for the caller, in our own words.

A database's text can quote what an event held, and a driver's the address with its password. So neither is passed on: the kind of the
failure and the database's code for it are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from sentinel.core.errors import PermanentError, RetryableError

_CURES: Final = {
    "SQLITE_FULL": "the disk is full; free space on it",
    "SQLITE_IOERR": "the disk failed; look at the system's log and the file system",
    "SQLITE_BUSY": "another program holds the file's write lock; close it",
    "SQLITE_LOCKED": "another program holds the file's write lock; close it",
    "SQLITE_READONLY": "the file or its directory is read-only; give the daemon's user write access",
    "SQLITE_CANTOPEN": "the file or its directory cannot be opened; give the daemon's user access to both",
    "SQLITE_CORRUPT": "the file is damaged; stop the daemon and restore it from a backup, or move it away to start empty",
    "SQLITE_NOTADB": "the file is not a database; move it away, or set state.path to another file",
    "08": "the connection failed; see that the server runs and can be reached",
    "28": "the server refused the login; correct state.username and state.password_file",
    "3D000": "there is no such database; make it with createdb, or correct state.url",
    "40": "it met another transaction",
    "42501": "the user may not do this; make it the owner of the database",
    "53": "the server has no room left; look at its disk, memory and connections",
    "55P03": "another transaction held a lock for too long",
    "57014": "it took longer than state.timeout_secs",
    "57P": "the server is stopping or starting",
}
_SAID_CHARACTERS: Final = 300


@contextmanager
def told(place: str) -> Iterator[None]:
    """Turn the library's errors into ours: what these rows break is permanent, everything else may pass.

    Damage and missing rights are retryable as well: they are no alert's fault, so no alert may be given up for them.
    """
    try:
        yield
    except (IntegrityError, DataError) as error:
        raise PermanentError(f"the state database {place} cannot hold these rows: {cause(error)}") from None
    except SQLAlchemyError as error:
        raise RetryableError(f"the state database {place} failed: {cause(error)}") from None


def cause(error: SQLAlchemyError) -> str:
    """What happened and what to do about it, in words made by us."""
    original = error.orig if isinstance(error, DBAPIError) else None
    kind, code = type(original or error).__name__, _code(error)
    cures = [cure for prefix, cure in _CURES.items() if code.startswith(prefix)]
    if cures:
        return f"{cures[0]} ({code})"
    if original is not None and not code:
        return f"it cannot be reached ({kind}); see that the server runs, and that state.url, state.tls and the login are right"
    return f"{kind} {code}".rstrip() + "; look at the database's log"


def refusal(error: SQLAlchemyError, secret: str | None) -> str:
    """Why a server did not let us in, in the driver's words: before there was a connection, there was nothing of an event to quote.

    Args:
        error: what connecting raised.
        secret: the password, in case a driver should ever repeat it.
    """
    original = error.orig if isinstance(error, DBAPIError) else None
    if original is None or _code(error):
        return ""
    text = str(original).partition("\n")[0][:_SAID_CHARACTERS]
    return f": {text.replace(secret, '********') if secret else text}"


def _code(error: SQLAlchemyError) -> str:
    """The database's code for it, empty when it has none."""
    original = error.orig if isinstance(error, DBAPIError) else None
    return str(getattr(original, "sqlite_errorname", None) or getattr(original, "sqlstate", None) or "")
