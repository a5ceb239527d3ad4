"""Rules about alarms and canaries, and limits on their keys."""

from pathlib import Path

import pytest

from sentinel.config.checks import check
from sentinel.config.loader import load
from sentinel.config.problems import ConfigError


def codes(tmp_path: Path, text: str) -> dict[str, tuple[str, str]]:
    """Key and severity of each problem, by code."""
    path = tmp_path / "sentinel.yaml"
    path.write_text(text, encoding="utf-8")
    return {problem.code: (problem.key, problem.severity) for problem in check(load(path, {}, read_secrets=False))}


def test_a_canary_that_is_always_late_is_refused(tmp_path: Path) -> None:
    """Silence that is shorter than the interval would be told all the time."""
    found = codes(tmp_path, "canary: {enabled: true, interval_secs: 60, silence_secs: 60}\n")
    assert found == {"too_short": ("canary.silence_secs", "error")}
    assert codes(tmp_path, "canary: {enabled: true, interval_secs: 60, silence_secs: 61}\n") == {}


@pytest.mark.parametrize("key", ["held_secs", "unsaved_secs", "lag_records", "watermark_age_secs", "growing_secs", "quiet_secs"])
def test_limits_are_positive(tmp_path: Path, key: str) -> None:
    """A limit of nothing would be an alarm at once and for ever."""
    with pytest.raises(ConfigError, match=rf"alarms\.{key}: must be"):
        codes(tmp_path, f"alarms: {{{key}: 0}}\n")
    assert codes(tmp_path, f"alarms: {{{key}: 1}}\n") == {}
