"""The systemd unit: systemd itself takes it, its exposure is small, and its times fit the daemon's."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sentinel.config.schema import Pipeline

UNIT = Path(__file__).parents[2] / "deployments" / "systemd" / "sentinel.service"
MOST_EXPOSED = 1.5


def value(key: str) -> str:
    """A setting of the unit."""
    found = re.search(rf"^{key}=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None, key
    return found[1]


def seconds(key: str) -> float:
    """A time of the unit."""
    return float(value(key).removesuffix("s"))


@pytest.fixture
def analyze() -> str:
    """systemd-analyze; without it the test is skipped."""
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not installed (apt-get install systemd)")
    return found


def test_systemd_knows_every_line(analyze: str, tmp_path: Path) -> None:
    """`systemd-analyze verify` says nothing: no unknown key, no value it ignores."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/llm-sentinel/bin/sentinel", sys.executable), encoding="utf-8")
    done = subprocess.run([analyze, "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False, env=_environment())
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_exposure_is_small(analyze: str) -> None:
    """`systemd-analyze security` puts it at no more than 1.5 of 10."""
    command = [analyze, "security", "--offline=true", "--no-pager", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    found = re.search(r"Overall exposure level for sentinel.service: ([0-9.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) <= MOST_EXPOSED


def test_the_times_fit_the_daemon() -> None:
    """The stop has more time than the drain, and the watchdog more than a stall; readiness is waited for."""
    assert value("Type") == "notify"
    assert seconds("TimeoutStopSec") > 2 * Pipeline().drain_timeout_secs
    assert seconds("WatchdogSec") > Pipeline().stall_secs
    assert value("ExecReload") == "/bin/kill -HUP $MAINPID"


def test_the_compiler_may_work() -> None:
    """Numba needs memory that is written and executed, and a place for what it compiled."""
    assert value("MemoryDenyWriteExecute") == "no"
    assert value("StateDirectory") == "llm-sentinel"


def _environment() -> dict[str, str]:
    return {**os.environ, "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "LC_ALL": "C.UTF-8"}
