"""`sentinel tune`: that what it prints does what it says, and what it says when nothing helps."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from past_inputs import file_past, ignore, record, write

from sentinel.app.backtest.tune import Detecting, Setting, tune
from sentinel.cli.main import main
from sentinel.config.loader import load
from sentinel.config.schema import Config
from sentinel.config.sections_alerting import Alerting, Deduplication

NOISY = {"alerting": {"event_anomalies": True}}


pytestmark = pytest.mark.usefixtures("no_colour")


def written(path: Path, keys: dict[str, Any]) -> Path:
    """A configuration file."""
    path.write_text(yaml.safe_dump(keys))
    return path


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Two configurations, the second's keys first."""
    both = dict(one)
    for key, value in other.items():
        both[key] = merged(both.get(key) or {}, value) if isinstance(value, dict) else value
    return both


def run(capsys: pytest.CaptureFixture[str], *args: object, code: int = 0) -> tuple[str, str]:
    """The command's output and errors, and its exit code checked."""
    assert main([str(arg) for arg in args]) == code
    told = capsys.readouterr()
    return told.out, told.err


@pytest.mark.parametrize("share", [0.6, 0.2])
def test_the_printed_keys_do_what_is_said(share: float, events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Put into the configuration, they give as many alerts as foretold, at most N a week, and lose what was named."""
    config = written(tmp_path / "noisy.yaml", NOISY)
    as_it_is, _ = run(capsys, "backtest", "--config", config, "--input", events, "--json")
    most = round(share * json.loads(as_it_is)["outcome"]["alerts_per_week"])
    told, _ = run(capsys, "tune", "--config", config, "--input", events, "--max-alerts-per-week", most, "--json")
    foretold = json.loads(told)
    keys, _ = run(capsys, "tune", "--config", config, "--input", events, "--max-alerts-per-week", most)
    change = yaml.safe_load(keys)
    assert change == foretold["change"]
    tuned = written(tmp_path / "tuned.yaml", merged(NOISY, change))
    out, _ = run(capsys, "backtest", "--config", config, "--against", tuned, "--input", events, "--json")
    found = json.loads(out)
    assert found["against"]["alerts_per_week"] == foretold["chosen"]["alerts_per_week"] <= most < found["outcome"]["alerts_per_week"]
    lost = foretold["chosen"]["lost_by_severity"]
    assert lost == {name: sum(alert["severity"] == name for alert in found["disappear"]) for name in lost}


def test_it_explains_itself_beside_the_keys(events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output has the keys and nothing else; the rest says what was tried, what is lost, and how sure that is."""
    config = written(tmp_path / "noisy.yaml", NOISY)
    out, err = run(capsys, "tune", "--config", config, "--input", events, "--max-alerts-per-week", 150)
    assert set(yaml.safe_load(out)) <= {"alerting", "detection"}
    assert "The data covers 3 h, less than a week" in err
    assert "sensitivity  least change  min_severity" in err
    assert "\nnow " in err
    assert "\nchosen " in err
    assert "as it is, the configuration alerts " in err
    assert "what would be lost: " in err
    assert "  lost: 2026-01-15 " in err
    assert re.search(r"seen were \d+ alerts? in 3 h, so the true rate lies between \S+ and \S+ a week with 90% confidence", err)
    _, err = run(capsys, "tune", "--config", config, "--input", events, "--max-alerts-per-week", 1_000)
    assert "a longer past tells more, or ask for less" in err


def test_what_is_quiet_enough_is_left_alone(events: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No key is printed that need not be changed."""
    out, err = run(capsys, "tune", "--input", events, "--max-alerts-per-week", 1_000_000)
    assert out == "# nothing to change\n"
    assert yaml.safe_load(out) is None
    assert "nothing needs to be changed" in err


def test_nothing_is_quiet_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, what the quietest setting gives, and where to look; no keys. Money is told whatever is tuned."""
    records = [record(i, cost_usd=0.01 + i % 7 / 1_000) for i in range(500)]
    path = write(tmp_path / "events", [*records, record(500, cost_usd=60.0)])
    out, err = run(capsys, "tune", "--input", path, "--max-alerts-per-week", 0, code=1)
    assert out == ""
    assert "no setting alerts at most 0 times a week: the quietest still alerts " in err
    assert "sentinel backtest --out report.html" in err


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """The wanted number is not optional, and a place has to be named."""
    _, err = run(capsys, "tune", "--store", code=2)
    assert "--max-alerts-per-week" in err
    _, err = run(capsys, "tune", "--max-alerts-per-week", 5, code=2)
    assert "say where the past is" in err


def test_everything_is_tried_from_where_it_stands(events: Path, tmp_path: Path) -> None:
    """All sensitivities, severities from the configured one on, windows from the configured one on; and quieter settings lose more."""
    config = load(written(tmp_path / "noisy.yaml", NOISY), {}).config
    tuning = tune(file_past(events), config, 300.0, ignore)
    tried = {one.setting for one in tuning.candidates}
    assert len(tried) == len(tuning.candidates) == 6 * 2 * 3 * 2
    assert {one.detecting.sensitivity for one in tried} == {"high", "medium", "low"}
    assert {one.min_severity for one in tried} == {"warning", "critical"}
    assert {one.window_secs for one in tried} == {300.0, 1_800.0, 3_600.0}
    assert tuning.current.setting == Setting.of(config)
    assert tuning.current.loss == (0, 0, 0)
    assert tuning.chosen is not None
    quiet = [one for one in tuning.candidates if one.rate.weekly <= 300]
    assert tuning.chosen in quiet
    assert tuning.chosen.loss == min(one.loss for one in quiet)
    shown = tuning.worth_showing
    assert tuning.current in shown
    assert len({(one.total, one.loss) for one in shown}) == len(shown)


def test_keys_nest_as_in_the_configuration() -> None:
    """Only what is different is named, and a configuration with these keys has the setting."""
    config = Config(alerting=Alerting(event_anomalies=True))
    now = Setting.of(config)
    assert now.change(config) == {}
    other = Setting(Detecting("low", 2), "critical", 3_600.0, False)
    tuned = Config.model_validate(merged(config.model_dump(), other.change(config)))
    assert Setting.of(tuned) == replace(other, detecting=Detecting("low", 1))
    assert tuned.detection.ticks == other.detecting.applied(config).detection.ticks
    assert tuned.detection.ticks.least_change.latency_pct == 2 * config.detection.ticks.least_change.latency_pct
    assert other.distance(now) == 5
    assert Setting.of(Config(alerting=Alerting(deduplication=Deduplication(window_secs=7.0)))).window_secs == 7.0
