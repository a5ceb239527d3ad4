"""`sentinel alerts ls`: what it prints, from which database, and what it says when there is none."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from alert_anomalies import LOG, START_NS, Found, anomalies
from click.testing import CliRunner, Result

from sentinel.alerting.intake import AlertIntake
from sentinel.cli.alerts import alerts
from sentinel.config import sections_state
from sentinel.config.schema import Config
from sentinel.config.sections_alerting import Alerting
from sentinel.core.alert import AlertWrite
from sentinel.core.errors import StartupError
from sentinel.observability.metrics import Metrics
from sentinel.state.database import StateDatabase
from sentinel.testing.fakes import ManualClock


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose state database has three alerts, one of them ended."""
    file = tmp_path / "sentinel.yaml"
    file.write_text(f"state_dir: {tmp_path / 'state'}\n")

    async def fill() -> None:
        database = StateDatabase(sections_state.StateDatabase(), tmp_path / "state" / "state.db")
        await database.open()
        found = [Found(0), Found(400), Found(401), Found(2, "critical", service="search \u202e\x1b[31m")]
        intake = AlertIntake(database, Alerting(), [], Metrics(), ManualClock(START_NS), "one")
        await intake.write([AlertWrite(LOG, 1, len(found), anomalies(*found))])
        await database.close()

    asyncio.run(fill())
    return file


def ls(*args: str) -> Result:
    """Run `alerts ls`."""
    return CliRunner().invoke(alerts, ["ls", *args], standalone_mode=False, catch_exceptions=False)


def test_one_line_an_alert_newest_first(config: Path) -> None:
    """When, which, where it stands, how often, and its title; nothing of an event can steer the terminal."""
    shown = ls("--config", str(config))
    lines = shown.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "2026-01-15T10:36:40.000Z",
        "2026-01-15T10:30:02.000Z",
        "2026-01-15T10:30:00.000Z",
    ]
    assert lines[0].endswith("firing  2x  Warning: latency_ms of chat / gpt-4o was 1,500, where about 1,000 is expected")
    assert "ended 2026-01-15T10:30:00.000Z" in lines[2]
    assert "Critical: latency_ms of search ??[31m / gpt-4o" in lines[1]
    assert shown.stdout.isascii()
    assert "3 alerts in" in shown.stderr


def test_json_is_for_programs(config: Path) -> None:
    """The same records as the API gives."""
    found = json.loads(ls("--config", str(config), "--json").stdout)
    assert found["count"] == 3
    assert found["alerts"][0]["count"] == 2
    assert len(found["alerts"][0]["anomalies"]) == 2


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (["--status", "resolved"], 1),
        (["--severity", "critical"], 1),
        (["--service", "chat"], 2),
        (["--model", "none"], 0),
        (["--type", "latency_spike"], 3),
        (["--type", "cost_anomaly"], 0),
        (["--limit", "2"], 2),
    ],
)
def test_every_filter_filters(config: Path, filters: list[str], count: int) -> None:
    """Each option leaves out what it does not name."""
    assert json.loads(ls("--config", str(config), "--json", *filters).stdout)["count"] == count


def test_no_database_is_said_and_none_is_made(tmp_path: Path) -> None:
    """A question makes no file: the message names the place that was looked at."""
    file = tmp_path / "sentinel.yaml"
    file.write_text(f"state_dir: {tmp_path / 'empty'}\n")
    with pytest.raises(StartupError, match=r"empty/state\.db"):
        ls("--config", str(file))
    assert not (tmp_path / "empty").exists()


def test_the_default_is_where_the_daemon_keeps_it() -> None:
    """Without a file the built-in state directory counts."""
    assert Config().state_dir in str(StateDatabase(Config().state, Path(Config().state_dir) / "state.db").place)


def test_numerics_are_not_imported_for_a_list() -> None:
    """The command starts without numba: a list must not wait for a compiler."""
    script = "import sys; import sentinel.cli.alerts; print('numba' in sys.modules, 'sentinel.app' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.split() == ["False", "False"]
