"""Secrets: where they may come from, what is said about their files, and that they never come out again."""

import base64
import json
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from click.testing import CliRunner

from sentinel.cli.main import cli
from sentinel.config.checks import check_run
from sentinel.config.document import render
from sentinel.config.loader import load
from sentinel.config.problems import ConfigError, KeyPath, Problem
from sentinel.config.schema import Config, json_schema
from sentinel.config.secret import Secret
from sentinel.config.section import Section
from sentinel.config.shape import shapes_of

CORE = "c4n4ry"
SECRET_KEYS: tuple[KeyPath, ...] = (
    ("ingestion", "kafka", "security", "password"),
    ("privacy", "pseudonym_key"),
    ("state", "password"),
    ("state", "checkpoints", "secret_access_key"),
    ("storage", "influxdb", "token"),
    ("storage", "redis", "password"),
    ("alerting", "rabbitmq", "password"),
    ("alerting", "webhook", "secret"),
    ("alerting", "webhook", "secret_next"),
)


def canary(number: int) -> str:
    """A secret that is recognised in any spelling, with the characters that encodings change."""
    return f"{CORE}{number:02d}\"'<&>%$(ü-0123456789abcdef"


def assert_no_canary(*texts: str) -> None:
    """None of the texts holds a canary: plain, percent-encoded, JSON-escaped or in base64."""
    for text in texts:
        assert CORE not in text
        for number in range(40):
            value = canary(number)
            for spelling in (quote(value), json.dumps(value), base64.b64encode(value.encode()).decode()[:16]):
                assert spelling not in text


def secret_keys(section: type[Section], path: KeyPath = ()) -> Iterator[KeyPath]:
    """Every secret key of the schema."""
    for name, shape in shapes_of(section).items():
        if shape.kind == "secret":
            yield (*path, name)
        elif shape.section is not None:
            yield from secret_keys(shape.section, (*path, name))


def with_values(values: dict[KeyPath, str]) -> str:
    """A file that sets these keys."""
    tree: dict[str, Any] = {"ingestion": {"kafka": {"brokers": ["localhost:9092"]}}}
    for path, value in values.items():
        section = tree
        for part in path[:-1]:
            section = section.setdefault(str(part), {})
        section[str(path[-1])] = value
    return yaml.safe_dump(tree)


def secret_at(config: Config, path: KeyPath) -> Secret:
    """The secret a configuration holds at a key."""
    value: Any = config
    for part in path:
        value = getattr(value, str(part))
    assert isinstance(value, Secret)
    return value


def secret_file(directory: Path, name: str, content: bytes, mode: int = 0o600) -> Path:
    """A file with a secret in it."""
    path = directory / name
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """Where the test's configuration goes."""
    return tmp_path / "sentinel.yaml"


def test_the_list_of_secret_keys_is_complete() -> None:
    """These tests cover every secret key of the schema, and each can be read from a file."""
    assert set(secret_keys(Config)) == set(SECRET_KEYS)


@pytest.mark.parametrize("way", ["inline", "environment", "file"])
def test_secrets_go_in_and_never_come_out(tmp_path: Path, config_file: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """A canary in every secret key, by each way in: loaded exactly, and in no output, text form, schema or problem."""
    values: dict[KeyPath, str] = {}
    for number, path in enumerate(SECRET_KEYS):
        if way == "inline":
            values[path] = canary(number)
        elif way == "environment":
            monkeypatch.setenv(f"SECRET_{number}", canary(number))
            values[path] = f"${{SECRET_{number}}}"
        else:
            secret_file(tmp_path, f"secret-{number}", f"{canary(number)}\n".encode())
            values[(*path[:-1], f"{path[-1]}_file")] = f"secret-{number}"
    config_file.write_text(with_values(values), encoding="utf-8")

    loaded = load(config_file, os.environ)
    assert [secret_at(loaded.config, path).reveal() for path in SECRET_KEYS] == [canary(number) for number in range(len(SECRET_KEYS))]
    assert_no_canary(
        repr(loaded), str(loaded.config), repr(loaded.config), repr(loaded.config.model_dump()), loaded.config.model_dump_json()
    )
    assert_no_canary(json.dumps(json_schema()), render(), *map(str, check_run(loaded)), *map(repr, check_run(loaded)))
    for arguments in (["show"], ["show", "--json"], ["validate"], ["validate", "--json"]):
        result = CliRunner().invoke(cli, ["config", *arguments, str(config_file)], standalone_mode=False)
        assert result.exception is None
        assert_no_canary(result.output, result.stderr)


WRONG = [
    "privacy: {pseudonym_key: [C]}",
    "privacy: {pseudonym_key: {C: 1}}",
    "privacy: {pseudonym_key: *C }",
    "privacy: {pseudonym_key: !C x}",
    "privacy: {pseudonym_key: &C x, capture: &C y}",
    "privacy: {pseudonym_key: %C}",
    "privacy: {pseudonym_key: `C`}",
    "privacy: {pseudonym_key: @C}",
    "privacy: {pseudonym_key: C: C}",
    'privacy: {pseudonym_key: "C\n',
    'privacy: {pseudonym_key: "C\\nC"}',
    "privacy: {pseudonym_key: 'a${C'}",
    "privacy: {pseudonym_key: '${A:-C${B}}'}",
    "privacy: {pseudonym_ky: C}",
    "privacy: {pseudonym_key: C, pseudonym_key: C}",
    "privacy: {pseudonym_key: C, pseudonym_key_file: x}",
    "privacy: {capture: C}",
    "privacy: C",
    "api: {timeout_secs: C, bind_addr: C, metrics_path: C, max_body_size: '${CANARY}', enable_cors: '${CANARY}'}",
    "api: {bind_addr: '${CANARY}', cors_origins: ['${CANARY}', C]}",
    "storage: {redis: {url: 'redis://u:C@h'}, influxdb: {url: 'http://C@h:port'}}",
    "alerting: {rabbitmq: {url: 'amqp://${CANARY}@h'}, webhook: {url: C, method: C}}",
    "ingestion: {kafka: {brokers: [C, '${CANARY}']}}",
    "ingestion: {kafka: {brokers: ['u:C@h:1'], security: {protocol: C, password: ''}}}",
    "ingestion: {parsing: {sanitize_patterns: ['(C', '(${CANARY}']}}",
    "detection: {enabled_detectors: [C, '${CANARY}'], zscore: {metrics: ['${CANARY}']}}",
    "C",
    "[C]",
]


@pytest.mark.parametrize("text", WRONG)
def test_mistakes_do_not_quote_the_secret(config_file: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A secret in the wrong place, half written or not YAML: the error, its traceback and the command never quote it."""
    value = f"{CORE}-0123456789"
    monkeypatch.setenv("CANARY", value)
    config_file.write_text(text.replace("C", value).replace(f"{value}ANARY", "CANARY"), encoding="utf-8")
    for arguments in (["config", "validate"], ["config", "validate", "--json"]):
        result = CliRunner().invoke(cli, [*arguments, str(config_file)], standalone_mode=False)
        assert result.exception is None
        assert_no_canary(result.output)
    with pytest.raises(ConfigError) as raised:
        load_for_run(config_file)
    assert raised.value.__context__ is None
    assert_no_canary(str(raised.value), repr(raised.value), "".join(traceback.format_exception(raised.value)))


def load_for_run(path: Path) -> None:
    """What `sentinel run` does before it starts."""
    loaded = load(path, os.environ)
    problems = check_run(loaded)
    if any(problem.severity == "error" for problem in problems):
        raise ConfigError(problems)


def key_problems(config_file: Path, name: Path, *, read_secrets: bool) -> list[Problem]:
    """Problems of a file that names a key file."""
    config_file.write_text(f"privacy: {{pseudonym_key_file: '{name}'}}\n", encoding="utf-8")
    try:
        return list(load(config_file, {}, read_secrets=read_secrets).problems)
    except ConfigError as error:
        return list(error.problems)


def test_a_missing_file_is_an_error_to_run_and_a_warning_to_validate(config_file: Path, tmp_path: Path) -> None:
    """`validate` may run on another machine; `run` needs the content."""
    (checked,) = key_problems(config_file, tmp_path / "absent", read_secrets=False)
    (needed,) = key_problems(config_file, tmp_path / "absent", read_secrets=True)
    assert (checked.code, checked.severity, checked.blocks_run) == ("no_file", "warning", True)
    assert (needed.code, needed.severity, needed.line, needed.key) == ("no_file", "error", 1, "privacy.pseudonym_key_file")


def test_validate_reads_no_secret(config_file: Path, tmp_path: Path) -> None:
    """Without `read_secrets`, a secret file is looked at and not opened: its bad content goes unnoticed."""
    path = secret_file(tmp_path, "key", b"\xff\xff")
    assert key_problems(config_file, path, read_secrets=False) == []
    assert load(config_file, {}, read_secrets=False).config.privacy.pseudonym_key is None


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o620, 0o606])
def test_a_file_open_to_others_is_a_warning(config_file: Path, tmp_path: Path, mode: int) -> None:
    """Permissions that let others read or the group write are told with the cure; the secret is still used."""
    path = secret_file(tmp_path, "key", b"0123456789abcdef\n", mode)
    (problem,) = key_problems(config_file, path, read_secrets=True)
    assert (problem.code, problem.severity, problem.blocks_run) == ("open_file", "warning", False)
    assert "chmod 600" in problem.suggestion


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o640])
def test_a_closed_file_is_silent(config_file: Path, tmp_path: Path, mode: int) -> None:
    """Owner only, or readable by the group, is how secret mounts look."""
    assert key_problems(config_file, secret_file(tmp_path, "key", b"0123456789abcdef\n", mode), read_secrets=True) == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"a\nb\n", "line break"),
        (b"\xff", "not text"),
        (b"a" * 70_000, "more than 65536 bytes"),
        (b"a\0", "control"),
    ],
)
def test_files_without_a_usable_secret_are_errors(config_file: Path, tmp_path: Path, content: bytes, says: str) -> None:
    """Empty, several lines, binary and oversized files are refused with the reason."""
    (problem,) = key_problems(config_file, secret_file(tmp_path, "key", content), read_secrets=True)
    assert (problem.code, problem.severity) == ("bad_secret", "error")
    assert says in problem.what


def test_what_is_not_a_file_is_not_opened(config_file: Path, tmp_path: Path) -> None:
    """A directory or a pipe is an error at once: opening a pipe would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        (problem,) = key_problems(config_file, tmp_path / name, read_secrets=True)
        assert problem.code == "no_file"


def test_secret_and_file_together_are_an_error(config_file: Path, tmp_path: Path) -> None:
    """Two sources of one secret are a contradiction, unless one of them is null."""
    secret_file(tmp_path, "key", b"0123456789abcdef\n")
    config_file.write_text("privacy:\n  pseudonym_key: abc\n  pseudonym_key_file: key\n")
    with pytest.raises(ConfigError) as raised:
        load(config_file, {})
    assert [(problem.line, problem.code) for problem in raised.value.problems] == [(3, "secret_twice")]
    config_file.write_text("privacy:\n  pseudonym_key: ~\n  pseudonym_key_file: key\n")
    assert load(config_file, {}).config.privacy.pseudonym_key == Secret("0123456789abcdef")


@pytest.mark.parametrize(("written", "held"), [("0123", "0123"), ("1e5", "1e5"), ("'true'", "true"), ("no", "no"), ("|\n    abc\n", "abc")])
def test_secrets_are_kept_as_written(config_file: Path, written: str, held: str) -> None:
    """A secret that looks like a number or a boolean stays what it is; the line end of a block text is no part of it."""
    config_file.write_text(f"privacy:\n  pseudonym_key: {written}\n")
    key = load(config_file, {}).config.privacy.pseudonym_key
    assert key is not None
    assert key.reveal() == held


def test_the_stars_of_show_are_not_taken_for_a_secret(config_file: Path) -> None:
    """The output of `config show`, used as a file, is refused where its secrets were."""
    config_file.write_text(f"privacy: {{pseudonym_key: '{Secret.MASK}'}}\n")
    with pytest.raises(ConfigError, match="stars"):
        load(config_file, {})
