"""SQLAlchemy engines for the two databases: safe by default, bounded in time, silent about values."""

import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from sentinel.config import sections_state
from sentinel.core.errors import StartupError

CONNECTIONS: Final = 2
"""One that writes, one that reads."""
READ: Final = "sentinel_read"
"""Execution option of a connection whose transaction only reads."""
_WAL_BYTES: Final = 16_777_216
_CONNECT_S: Final = 10


def sqlite(path: Path, timeout_s: float) -> Engine:
    """An engine on one SQLite file that nobody but its owner can read.

    Raises OSError when the file or its directory cannot be made.
    """
    _make(path)
    engine = create_engine(
        URL.create("sqlite", database=str(path)), poolclass=QueuePool, pool_size=CONNECTIONS, max_overflow=0, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _entry: ConnectionPoolEntry) -> None:  # noqa: ANN401  the driver's own type
        # The driver's own transactions begin too late and end before DDL; ours begin in the listener below.
        connection.isolation_level = None
        for pragma in (
            f"busy_timeout = {int(timeout_s * 1000)}",
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "trusted_schema = OFF",
            f"journal_size_limit = {_WAL_BYTES}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        # A writer that begins as a reader can find that it may not write any more: SQLITE_BUSY that no waiting cures.
        connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get(READ) else "BEGIN IMMEDIATE")

    return engine


def _make(path: Path) -> None:
    """Create the file before SQLite does, for its owner only: its companion files inherit the mode."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def postgresql(section: sections_state.StateDatabase) -> Engine:
    """An engine on a PostgreSQL database. Connects to nothing yet.

    Raises StartupError without the driver.
    """
    try:
        import psycopg  # noqa: PLC0415  an extra
    except ImportError:
        raise StartupError("state.url names PostgreSQL and its driver is missing: pip install llm-sentinel[postgres]") from None
    del psycopg
    parts = urlsplit(section.url or "")
    password = section.password.reveal() if section.password else None
    url = URL.create("postgresql+psycopg", section.username, password, parts.hostname, parts.port or 5432, unquote(parts.path.lstrip("/")))
    return create_engine(
        url, connect_args=_arguments(section), pool_size=CONNECTIONS, max_overflow=0, pool_timeout=section.timeout_secs,
        pool_pre_ping=True, hide_parameters=True,
    )  # fmt: skip


def _arguments(section: sections_state.StateDatabase) -> dict[str, str | int]:
    """What the driver is told: every wait ends, and the certificate is checked unless that was switched off."""
    limit_ms = int(section.timeout_secs * 1000)
    limits = {"statement_timeout": limit_ms, "lock_timeout": limit_ms, "idle_in_transaction_session_timeout": 6 * limit_ms}
    tls: dict[str, str | int] = {"sslmode": "disable"}
    if section.tls == "verify":
        tls = {"sslmode": "verify-full", "sslrootcert": section.ca_file or "system"}
    return tls | {
        "application_name": "llm-sentinel",
        "connect_timeout": _CONNECT_S,
        "keepalives_idle": 30,
        "tcp_user_timeout": 2 * limit_ms,
        "options": " ".join(f"-c {name}={value}" for name, value in limits.items()),
    }
