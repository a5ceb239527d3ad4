"""What the failure tests share: how long faults last, daemons as processes, and what they stand on."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from fault_points import FaultyPoints
from fault_receiver import Receiver, receiving

from tests.e2e.conftest import make_sentinel

__all__ = ["make_sentinel"]


@pytest.fixture(scope="session")
def fault_s() -> float:
    """How long each fault lasts, in seconds: FAULT_SECONDS of the environment."""
    return float(os.environ.get("FAULT_SECONDS", "3"))


@pytest.fixture
def points(tmp_path: Path) -> Iterator[FaultyPoints]:
    """The InfluxDB double as a process of its own."""
    server = FaultyPoints(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A webhook receiver."""
    async with receiving() as made:
        yield made
