"""The command line around the configuration: output, exit codes, what is imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sentinel.cli import main as cli_main
from sentinel.cli.main import COMMANDS, LazyCommand, main
from sentinel.config.loader import load
from sentinel.config.schema import Config, json_schema

SEED = Path(__file__).parents[1] / "config" / "seed_example.yaml"
PLAIN = "lets other machines in over plain HTTP: keys and data can be read on the way, unless a proxy in front speaks TLS. "
PROXY = "Give `tls_cert_file` and `tls_key_file`, or listen where only the proxy gets in."
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A file with two mistakes and something unsafe."""
    path = tmp_path / "broken.yaml"
    path.write_text("api:\n  bind_adr: x\n  bind_addr: 0.0.0.0:80\n  timeout_secs: -1\n")
    return path


def test_validate_prints_place_key_reason_cure_and_a_verdict(broken: Path, capsys: Capture) -> None:
    """One line a problem and one line in the end; exit code 3; no colour codes where there is no terminal."""
    assert main(["config", "validate", str(broken)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{broken}:2: error: api.bind_adr: is not a known key. Did you mean `bind_addr`?",
        f"{broken}:3: warning: api.bind_addr: " + PLAIN + PROXY,
        f"{broken}:4: error: api.timeout_secs: must be a number greater than 0. Correct the value, or remove the key for its default.",
        f"{broken}: not valid (2 errors and 1 warning)",
    ]


def test_validate_as_json(broken: Path, capsys: Capture) -> None:
    """The same as an object, for programs."""
    assert main(["config", "validate", "--json", str(broken)]) == 3
    verdict = json.loads(capsys.readouterr().out)
    assert (verdict["file"], verdict["valid"], verdict["runs"]) == (str(broken), False, False)
    assert [(problem["line"], problem["code"]) for problem in verdict["problems"]] == [
        (2, "unknown_key"),
        (3, "plaintext_api"),
        (4, "out_of_range"),
    ]


def test_validate_accepts_the_complete_example(capsys: Capture) -> None:
    """Warnings alone are exit code 0, and the verdict says that `run` would refuse the file."""
    assert main(["config", "validate", str(SEED)]) == 0
    verdict = capsys.readouterr().out.splitlines()[-1]
    assert verdict == f"{SEED}: valid, but `sentinel run` would refuse it for 9 reasons (11 warnings)"


def test_validate_without_a_file_checks_the_defaults(capsys: Capture) -> None:
    """It says in one line what was checked."""
    assert main(["config", "validate"]) == 0
    assert capsys.readouterr().out.startswith("built-in defaults (embedded mode)")


def test_the_variable_names_the_default_file(broken: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """SENTINEL_CONFIG is used when no file is given."""
    monkeypatch.setenv("SENTINEL_CONFIG", str(broken))
    assert main(["config", "validate"]) == 3
    assert str(broken) in capsys.readouterr().out


def test_show_prints_a_file_that_loads_again(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The effective configuration, overrides included, is itself a configuration."""
    monkeypatch.setenv("SENTINEL_LOG_LEVEL", "debug")
    assert main(["config", "show"]) == 0
    shown = tmp_path / "shown.yaml"
    shown.write_text(capsys.readouterr().out)
    again = load(shown, {}).config
    assert again.observability.log_level == "debug"
    assert again.model_copy(update={"observability": Config().observability}) == Config()


def test_show_as_json_masks_secrets(tmp_path: Path, capsys: Capture) -> None:
    """JSON holds stars where the secret is."""
    path = tmp_path / "sentinel.yaml"
    path.write_text("privacy: {pseudonym_key: hunter2}\n")
    assert main(["config", "show", "--json", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["privacy"]["pseudonym_key"] == "********"


def test_show_of_a_broken_file_prints_its_problems(broken: Path, capsys: Capture) -> None:
    """Nothing is shown but what is wrong, on standard error, with exit code 3."""
    assert main(["config", "show", str(broken)]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 2


def test_schema_prints_the_json_schema(capsys: Capture) -> None:
    """What is printed is the schema."""
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()


def test_docs_writes_the_document(tmp_path: Path, capsys: Capture) -> None:
    """With a target it writes the file, without one it prints the same."""
    assert main(["config", "docs", str(tmp_path / "configuration.md")]) == 0
    assert main(["config", "docs"]) == 0
    assert capsys.readouterr().out == (tmp_path / "configuration.md").read_text(encoding="utf-8")


def test_version_names_the_libraries(capsys: Capture) -> None:
    """Version, Python, platform and libraries, as text and as JSON."""
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith("sentinel 0.")
    assert main(["version", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert set(facts) == {"version", "python", "platform", "libraries"}
    assert facts["libraries"]["pydantic"]


@pytest.mark.parametrize("arguments", [["version"], ["--help"], ["config", "validate"]])
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    """Version, help and validation start without the numeric and the network libraries."""
    program = (
        "import sys; from sentinel.cli.main import main; code = main(sys.argv[1:]); "
        "heavy = {'numba', 'numpy', 'aiohttp', 'aiokafka', 'asyncio'} & set(sys.modules); "
        "sys.exit(code or ' '.join(sorted(heavy)) or None)"
    )
    finished = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stderr) == (0, "")


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["config", "nonsense"], ["--config"], ["version", "--bad"], ["--config", "x", "version"]]
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: Capture) -> None:
    """What click cannot make sense of is explained on standard error."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(("Usage: sentinel", "Error: "))


RUN_MODULE = """
import click
from sentinel.core.errors import StartupError

@click.command()
@click.option("--config")
def run(config):
    click.echo(f"run with {config}")
    if config == "fails":
        raise StartupError("the disk is full")
    return 7 if config == "seven" else None
"""


@pytest.fixture
def run_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`run` is a command of this test."""
    (tmp_path / "run_of_this_test.py").write_text(RUN_MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(cli_main.COMMANDS, "run", LazyCommand("run_of_this_test", "run", "Run."))


@pytest.mark.usefixtures("run_elsewhere")
@pytest.mark.parametrize("arguments", [["--config", "a.yaml"], ["run", "--config", "a.yaml"], ["--config", "a.yaml", "run"]])
def test_config_without_a_command_means_run(arguments: list[str], capsys: Capture) -> None:
    """`--config FILE` alone, and before or after `run`, is the same."""
    assert main(arguments) == 0
    assert capsys.readouterr().out == "run with a.yaml\n"


@pytest.mark.usefixtures("run_elsewhere")
def test_what_a_command_returns_or_raises_is_the_exit_code(capsys: Capture) -> None:
    """A number is the exit code; an error of ours is one line on standard error and exit code 1."""
    assert main(["--config", "seven"]) == 7
    assert main(["run", "--config", "fails"]) == 1
    assert capsys.readouterr().err == "sentinel: the disk is full\n"


def test_commands_that_are_not_there_are_not_listed(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command without its module is neither listed nor callable."""
    monkeypatch.setitem(COMMANDS, "absent", LazyCommand("sentinel.cli.absent", "absent", "Not there."))
    assert main(["--help"]) == 0
    assert "absent" not in capsys.readouterr().out
    assert main(["absent"]) == 2


def test_shown_yaml_is_plain(capsys: Capture) -> None:
    """What `show` prints needs nothing but a safe YAML reader."""
    assert main(["config", "show"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["api"]["bind_addr"] == "127.0.0.1:8080"
