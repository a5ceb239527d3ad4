"""Loading a file: defaults, variables, types, places, suggestions, and all problems at once."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.config.expand import expand
from sentinel.config.loader import Loaded, draft, load, locate
from sentinel.config.problems import ConfigError, Problem
from sentinel.config.reading import MAX_PROBLEMS
from sentinel.config.schema import Config, Kafka

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a configuration file and returns its path."""

    def write_file(text: str) -> Path:
        path = tmp_path / "sentinel.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def problems_of(path: Path, env: Mapping[str, str] | None = None) -> dict[str, Problem]:
    """Problems by code, of a file that does not load."""
    with pytest.raises(ConfigError) as raised:
        load(path, env or {})
    return {problem.code: problem for problem in raised.value.problems}


def test_no_file_means_defaults() -> None:
    """Without a file the built-in defaults hold, and the origin says so in one line."""
    loaded = load(None, {})
    assert loaded.config == Config()
    assert loaded.config.ingestion.kafka is None
    assert "built-in defaults (embedded mode)" in loaded.origin
    assert "\n" not in loaded.origin


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}\n", "ingestion:\napi: ~\n"])
def test_empty_files_mean_defaults(write: Write, text: str) -> None:
    """A file without keys, or with empty sections, is the defaults."""
    assert load(write(text), {}).config == Config()


def test_locate_prefers_the_command_line() -> None:
    """The option goes before SENTINEL_CONFIG, and that before the defaults."""
    env = {"SENTINEL_CONFIG": "/etc/a.yaml"}
    assert locate(Path("b.yaml"), env) == Path("b.yaml")
    assert locate(None, env) == Path("/etc/a.yaml")
    assert locate(None, {"SENTINEL_CONFIG": ""}) is None


def test_values_are_read_by_their_key(write: Write) -> None:
    """A text key keeps what is written, a number key takes numbers however written, an alias is its anchor."""
    text = """
ingestion:
  kafka:
    brokers: ["localhost:9092"]
    topic: 2024
    group_id: 0123
    group_instance_id: on
    max_poll_records: 1_000
  parsing: {sanitize_patterns: [no, 1e3, null_]}
  validation: {max_latency_ms: 3e5, min_latency_ms: .5}
detection:
  zscore: {metrics: &watched [latency_ms, error]}
  iqr: {metrics: *watched}
api: {enable_cors: yes}
"""
    config = load(write(text), {}).config
    kafka = config.ingestion.kafka
    assert kafka == Kafka(brokers=["localhost:9092"], topic="2024", group_id="0123", group_instance_id="on", max_poll_records=1_000)
    assert config.ingestion.parsing.sanitize_patterns == ["no", "1e3", "null_"]
    assert config.ingestion.validation.max_latency_ms == 300_000
    assert config.ingestion.validation.min_latency_ms == 0.5
    assert config.detection.iqr.metrics == ["latency_ms", "error"]
    assert config.api.enable_cors is True


@pytest.mark.parametrize(
    ("text", "line", "key", "code", "says"),
    [
        ("api:\n  bind_adr: x\n", 2, "api.bind_adr", "unknown_key", "Did you mean `bind_addr`?"),
        ("\n\nbind_addr: x\n", 3, "bind_addr", "unknown_key", "It belongs at `api.bind_addr`."),
        ("privacy:\n  xyz: 1\n", 2, "privacy.xyz", "unknown_key", "Known here: capture"),
        ("api:\n  <<: {}\n", 2, "api.<<", "unknown_key", "Write the keys out."),
        ("api: {}\nprivacy: {}\napi: {}\n", 3, "api", "duplicate_key", "first in line 1"),
        ("api:\n  timeout_secs: 0\n", 2, "api.timeout_secs", "out_of_range", "must be a number greater than 0"),
        ("api:\n  timeout_secs: soon\n", 2, "api.timeout_secs", "wrong_type", "must be a number greater than 0"),
        ("api:\n  timeout_secs: .inf\n", 2, "api.timeout_secs", "wrong_type", "must be a number"),
        ("api:\n  timeout_secs: 1e999\n", 2, "api.timeout_secs", "wrong_type", "must be a number"),
        ("api:\n  timeout_secs: '30'\n", 2, "api.timeout_secs", "wrong_type", "Remove the quotes."),
        ("api:\n  max_body_size: 010\n", 2, "api.max_body_size", "wrong_type", "whole number of at least 1024"),
        ("api:\n  max_body_size: 1.5\n", 2, "api.max_body_size", "wrong_type", "whole number"),
        ("api:\n  max_body_size: true\n", 2, "api.max_body_size", "wrong_type", "whole number"),
        ("api:\n  enable_cors: 1\n", 2, "api.enable_cors", "wrong_type", "true or false"),
        ("api:\n  bind_addr:\n", 2, "api.bind_addr", "wrong_type", "text"),
        ("api:\n  bind_addr: ''\n", 2, "api.bind_addr", "out_of_range", "text that is not empty"),
        ('api:\n  bind_addr: "a\\nb"\n', 2, "api.bind_addr", "wrong_type", "control character"),
        ("api:\n  cors_origins: x\n", 2, "api.cors_origins", "wrong_type", "a list of texts"),
        ("api:\n  metrics_path: metrics\n", 2, "api.metrics_path", "out_of_range", "text that matches"),
        ("api: 8080\n", 1, "api", "wrong_type", "a section with keys"),
        ("- api\n", None, "", "wrong_type", "must be keys with values"),
        ("? [a]\n: b\n", None, "", "bad_key", "not text"),
        (
            "detection:\n  zscore:\n    metrics:\n      - cost_usd\n      - cost\n",
            5,
            "detection.zscore.metrics[1]",
            "wrong_type",
            "one of latency_ms",
        ),
        ("detection:\n  zscore:\n    sensitivity: hgh\n", 3, "detection.zscore.sensitivity", "wrong_type", "one of low, medium, high"),
        ("ingestion:\n  kafka:\n    topic: x\n", 2, "ingestion.kafka.brokers", "missing_key", "is required"),
        ("ingestion:\n  kafka:\n    brokers: []\n", 3, "ingestion.kafka.brokers", "out_of_range", "a list of 1 or more texts"),
        ("storage:\n  influxdb:\n", 2, "storage.influxdb", "empty_section", "is empty"),
        ("storage:\n  redis: {url: 'redis://u:p@h'}\n", 2, "storage.redis.url", "url_credentials", "holds credentials"),
        ("storage:\n  redis: {url: 'h:1'}\n", 2, "storage.redis.url", "bad_url", "not a URL"),
        ("storage:\n  redis: {url: 'http://h:1'}\n", 2, "storage.redis.url", "bad_url", "does not begin with redis://"),
        ("state: {url: 'postgresql://h:5432'}\n", 1, "state.url", "bad_url", "postgresql://HOST:PORT/DATABASE"),
        (
            "alerting:\n  webhook:\n    allowed_networks: [10.0.0.0/8, 10.0.0.1/8]\n",
            3,
            "alerting.webhook.allowed_networks[1]",
            "bad_network",
            "no bits set behind its prefix. Write it like 10.1.2.0/24 or ::1/128.",
        ),
        ("alerting:\n  rabbitmq: {queue: ''}\n", 2, "alerting.rabbitmq.queue", "out_of_range", "text that is not empty"),
        ("alerting:\n  rabbitmq: {queue_max_length: 0}\n", 2, "alerting.rabbitmq.queue_max_length", "out_of_range", "of at least 1"),
        ("storage:\n  redis: {timeout_secs: 11}\n", 2, "storage.redis.timeout_secs", "out_of_range", "greater than 0 and at most 10"),
        ("storage:\n  redis: {url: 'redis://h:port'}\n", 2, "storage.redis.url", "bad_url", "not a URL"),
    ],
)
def test_a_problem_names_place_reason_and_cure(write: Write, text: str, line: int | None, key: str, code: str, says: str) -> None:
    """Each kind of mistake is one problem, at its line, with what is expected."""
    path = write(text)
    with pytest.raises(ConfigError) as raised:
        load(path, {})
    (problem,) = raised.value.problems
    assert (problem.file, problem.line, problem.key, problem.code) == (str(path), line, key, code)
    assert says in f"{problem.what}. {problem.suggestion}"
    assert problem.suggestion.endswith((".", "?"))


def test_all_problems_come_at_once_in_reading_order(write: Write) -> None:
    """Mistakes of every kind are told together, sorted by line, and the text of the error holds them all."""
    path = write("api:\n  timeout_secs: 0\n  x: 1\ningestion:\n  kafka:\n    topic: '?'\n  parsing: {max_text_length: -1}\n")
    with pytest.raises(ConfigError) as raised:
        load(path, {"SENTINEL_LOG_LEVEL": "loud"})
    found = [(problem.line, problem.key) for problem in raised.value.problems]
    assert found == [
        (2, "api.timeout_secs"),
        (3, "api.x"),
        (5, "ingestion.kafka.brokers"),
        (6, "ingestion.kafka.topic"),
        (7, "ingestion.parsing.max_text_length"),
        (None, "SENTINEL_LOG_LEVEL"),
    ]
    assert str(raised.value).count("\n") == len(found) - 1


def test_a_draft_keeps_what_is_right(write: Write) -> None:
    """A file with mistakes still gives a configuration with defaults in their place, for the checks that follow."""
    loaded = draft(write("api: {timeout_secs: 0, bind_addr: '0.0.0.0:1'}\ningestion: {kafka: {}}\n"), {}, read_secrets=False)
    assert loaded.config.api.bind_addr == "0.0.0.0:1"
    assert loaded.config.api.timeout_secs == 30
    assert loaded.config.ingestion.kafka is None


def test_variables_are_typed_by_their_key(write: Write) -> None:
    """What a variable holds is read as a number, a boolean or text as the key wants, quoted or not."""
    text = "api: {timeout_secs: '${T}', enable_cors: '${B:-on}', bind_addr: '${H}:${P:-80}', metrics_path: '/${E:-}'}\n"
    api = load(write(text), {"T": "2.5", "H": "localhost", "E": ""}).config.api
    assert (api.timeout_secs, api.enable_cors, api.bind_addr, api.metrics_path) == (2.5, True, "localhost:80", "/")


def test_variables_are_expanded_once(write: Write) -> None:
    """What a variable holds is neither expanded again nor read as YAML; `$${` is a literal; a lone `$` stays."""
    text = "ingestion: {parsing: {sanitize_patterns: ['${A}', '$${A}', 'a$b$', '${B}']}}\n"
    patterns = load(write(text), {"A": "${B}", "B": "[x, y]: {}"}).config.ingestion.parsing.sanitize_patterns
    assert patterns == ["${B}", "${A}", "a$b$", "[x, y]: {}"]


@pytest.mark.parametrize("value", ["${", "${}", "${1A}", "${A B}", "${A:?msg}", "${A:-${B}}", "x${A", "${A-b}"])
def test_malformed_variables_are_errors(write: Write, value: str) -> None:
    """A `${` that begins no variable is an error, not a literal."""
    problems = problems_of(write(f"api: {{bind_addr: '{value}'}}\n"), {"A": "a", "B": "b"})
    assert "begins no variable" in problems["wrong_type"].what


def test_unset_variables_are_warnings_that_block_run(write: Write) -> None:
    """An unset variable leaves the default, warns, and marks the key; a broker keeps its text."""
    text = "api:\n  timeout_secs: ${T}\ningestion:\n  kafka: {brokers: ['${HOST}:9092'], topic: '${TOPIC}'}\n"
    loaded = load(write(text), {})
    assert [(problem.line, problem.code, problem.severity, problem.blocks_run) for problem in loaded.problems] == [
        (2, "unset_variable", "warning", True),
        (4, "unset_variable", "warning", True),
        (4, "unset_variable", "warning", True),
    ]
    assert loaded.config.api.timeout_secs == 30
    assert loaded.config.ingestion.kafka == Kafka(brokers=["${HOST}:9092"])
    assert ("api", "timeout_secs") in loaded.unset


def test_log_variables_go_before_the_file(write: Write) -> None:
    """SENTINEL_LOG_LEVEL and SENTINEL_LOG_JSON override the file, in any case; an empty one does nothing."""
    path = write("observability: {log_level: error, log_json: true}\n")
    observability = load(path, {"SENTINEL_LOG_LEVEL": "DEBUG", "SENTINEL_LOG_JSON": "false"}).config.observability
    assert (observability.log_level, observability.log_json) == ("debug", False)
    assert load(path, {"SENTINEL_LOG_LEVEL": ""}).config.observability.log_level == "error"


def test_bad_log_variables_are_errors_of_the_environment() -> None:
    """A wrong override names the variable and what it takes."""
    with pytest.raises(ConfigError) as raised:
        load(None, {"SENTINEL_LOG_JSON": "maybe"})
    (problem,) = raised.value.problems
    assert (problem.file, problem.line, problem.key) == ("environment", None, "SENTINEL_LOG_JSON")
    assert "true or false" in problem.what


def test_state_directory_fills_an_absent_key(write: Write) -> None:
    """The STATE_DIRECTORY of systemd (the first of several) is used when the file names none."""
    env = {"STATE_DIRECTORY": "/var/lib/sentinel:/var/lib/other"}
    assert load(None, env).config.state_dir == "/var/lib/sentinel"
    assert load(write("state_dir: here\n"), env).config.state_dir == "here"


@pytest.mark.parametrize("name", ["missing.yaml", ".", "a\0b"])
def test_unreadable_files_are_problems(tmp_path: Path, name: str) -> None:
    """A missing file, a directory and an impossible name are told like any other problem."""
    assert "cannot be read" in problems_of(tmp_path / name)["unreadable"].what


def test_problems_beyond_the_limit_are_counted(write: Write) -> None:
    """A file of nothing but mistakes gives a bounded list and a count of the rest."""
    path = write("".join(f"key{index}: 1\n" for index in range(MAX_PROBLEMS + 50)))
    with pytest.raises(ConfigError) as raised:
        load(path, {})
    assert len(raised.value.problems) == MAX_PROBLEMS + 1
    assert "50 more problems" in raised.value.problems[-1].what


def test_places_of_absent_keys_are_those_of_their_section(write: Write) -> None:
    """A key that is not in the file is placed at the nearest section that is; the file as a whole has no line."""
    loaded: Loaded = load(write("api:\n  enable_cors: false\n"), {})
    assert loaded.place(("api", "enable_cors"))[1:] == (2, 3)
    assert loaded.place(("api", "bind_addr"))[1:] == (1, 1)
    assert loaded.place(("storage",))[1:] == (None, None)


def test_file_paths_start_from_the_configuration_file(write: Write, tmp_path: Path) -> None:
    """A relative path in a `*_file` key is made absolute against the file's own directory."""
    (tmp_path / "ca.pem").write_text("x")
    path = write("ingestion: {kafka: {brokers: ['h:1'], security: {ca_file: ca.pem}}}\n")
    kafka = load(Path(os.path.relpath(path)), {}).config.ingestion.kafka
    assert kafka is not None
    assert kafka.security.ca_file is not None
    assert Path(kafka.security.ca_file).samefile(tmp_path / "ca.pem")


@given(st.text().filter(lambda text: "${" not in text))
def test_text_without_a_variable_is_unchanged(text: str) -> None:
    """Expansion touches nothing but variables."""
    expanded = expand(text, {})
    assert (expanded.text, expanded.from_environment, expanded.malformed) == (text, False, False)


@given(st.text(), st.text(), st.text())
def test_a_variable_is_replaced_by_exactly_its_value(before: str, value: str, after: str) -> None:
    """Whatever a variable holds stands there once, whole, between what stood around it."""
    before, after = before.replace("$", ""), after.replace("$", "")
    assert expand(f"{before}${{V}}{after}", {"V": value}).text == before + value + after
