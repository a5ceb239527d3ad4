"""State databases for tests: a new SQLite file, or an empty database of the session's PostgreSQL."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sentinel.config import sections_state
from sentinel.state.database import StateDatabase

BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
"""Parameters of a fixture that gives a test both databases in turn."""

Make = Callable[[], StateDatabase]
"""Another access to the same database, as another process has it; not open yet."""


def section_of(url: str, **more: Any) -> sections_state.StateDatabase:
    """The configuration for a test server's URL."""
    parts = urlsplit(url)
    return sections_state.StateDatabase(
        url=f"postgresql://{parts.hostname}:{parts.port}{parts.path}", username=parts.username, tls="off", **more
    )


def maker(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """What makes accesses to one database of the kind the fixture asks for."""
    if request.param == "sqlite":
        return lambda: StateDatabase(sections_state.StateDatabase(), tmp_path / "state" / "state.db")
    section = section_of(request.getfixturevalue("database"))
    return lambda: StateDatabase(section, tmp_path / "unused.db")


@asynccontextmanager
async def opened(database: StateDatabase) -> AsyncIterator[StateDatabase]:
    """The database, open for a block."""
    await database.open()
    try:
        yield database
    finally:
        await database.close()
