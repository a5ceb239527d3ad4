"""Fixtures of the command line: no configuration but the test's own."""

from pathlib import Path

import pytest
from past_inputs import simulated, spike, write

VARIABLES = ("SENTINEL_CONFIG", "SENTINEL_LOG_LEVEL", "SENTINEL_LOG_JSON", "SENTINEL_API_KEY", "STATE_DIRECTORY", "NO_COLOR")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that choose and override a configuration are unset."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output as it is without a terminal's colours."""
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture(scope="session")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hours of two series, with ten minutes of high latency."""
    return write(tmp_path_factory.mktemp("past") / "events.jsonl", simulated(3, 0.5, spike(2, 10)))
