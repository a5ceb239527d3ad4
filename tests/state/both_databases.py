"""The state database on SQLite and on PostgreSQL, for tests that must hold on both."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from sentinel.config.schema import StateDatabase as Section
from sentinel.state.database import StateDatabase

BOTH: Final = ("sqlite", pytest.param("postgres", marks=pytest.mark.postgres))


def section(url: str) -> Section:
    """The section for a database of the tests' own server, which is on this machine and asks for no password."""
    login, _, place = url.partition("://")[2].partition("@")
    return Section(url=f"postgresql://{place}", username=login, tls="off")


@asynccontextmanager
async def opened(kind: str, request: pytest.FixtureRequest, path: Path) -> AsyncIterator[StateDatabase]:
    """An empty state database of a kind."""
    found = StateDatabase(section(request.getfixturevalue("database")) if kind == "postgres" else Section(), path / "state.db")
    try:
        await found.open()
        yield found
    finally:
        await found.close()
