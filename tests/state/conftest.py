"""Fixtures of the state room: every test runs on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from state_databases import BOTH, Make, maker, opened

from sentinel.state.database import StateDatabase


@pytest.fixture(params=BOTH)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes accesses to one new database."""
    return maker(request, tmp_path)


@pytest.fixture
async def state(make: Make) -> AsyncIterator[StateDatabase]:
    """One open access to a new database."""
    async with opened(make()) as database:
        yield database
