"""`sentinel doctor`: what is printed, as text and as JSON, and the exit code."""

import json
import socket
from pathlib import Path

import pytest

from sentinel.cli.main import main


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration with a port nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    path = tmp_path / "sentinel.yaml"
    path.write_text(f"state_dir: {tmp_path / 'state'}\napi:\n  bind_addr: 127.0.0.1:{port}\n")
    return path


def test_all_is_well(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0, one line a finding, a verdict at the end, nothing created, no progress line where there is no terminal."""
    assert main(["doctor", "--config", str(file)]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[-1].startswith(f"configuration from {file}: 0 failed")
    assert any(line.startswith("ok       port") for line in lines)
    assert err == ""
    assert not (file.parent / "state").exists()


def test_a_failure_is_exit_code_one(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its cure below it."""
    (file.parent / "state").write_text("a file where the directory should be")
    assert main(["doctor", "--config", str(file)]) == 1
    lines = capsys.readouterr().out.splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("failed   state directory"))
    assert "-> Set state_dir" in lines[at + 1]


def test_as_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same for programs."""
    assert main(["doctor", "--config", str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["status"] in {"ok", "warning"}, told["checked"]) == (True, True)
    assert {"subject", "status", "what", "cure"} == set(told["findings"][0])


@pytest.mark.parametrize("text", ["api:\n  bind_adr: x\n", "ingestion:\n  kafka:\n    brokers: ['${NOBODY_SET_THIS}:9092']\n"])
def test_a_configuration_that_cannot_be_used_is_exit_code_three(
    file: Path, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else is looked at: it might be other servers than those that were meant."""
    monkeypatch.delenv("NOBODY_SET_THIS", raising=False)
    file.write_text(text)
    assert main(["doctor", "--config", str(file)]) == 3
    out = capsys.readouterr().out
    assert "failed   configuration" in out
    assert "nothing else was looked at" in out


def test_what_run_refuses_is_a_failure_and_the_rest_is_looked_at(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit that contradicts another blocks a start, but says what is meant."""
    file.write_text(file.read_text() + "ingestion:\n  http:\n    enabled: false\n")
    assert main(["doctor", "--config", str(file)]) == 1
    out = capsys.readouterr().out
    assert "failed   configuration" in out
    assert "state directory" in out
