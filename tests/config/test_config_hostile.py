"""Files made to hurt: they give a ConfigError in bounded time, never another exception, never an object."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentinel.config.loader import Loaded, load
from sentinel.config.problems import ConfigError, printable
from sentinel.config.yaml_tree import MAX_BYTES, MAX_DEPTH, MAX_NODES, TreeError, parse_tree

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)

HOSTILE: dict[str, bytes] = {
    "object tag": b"api: !!python/object/apply:os.system ['true']\n",
    "module tag": b"api: !!python/module:os\n",
    "name tag": b"api: {bind_addr: !!python/name:os.system }\n",
    "plain tag": b"api: {bind_addr: !!str 1}\n",
    "local tag": b"api: !include /etc/passwd\n",
    "tag on key": b"!!python/name:os.system : 1\n",
    "alias bomb": BOMB.encode(),
    "alias bomb in a list": (BOMB + "detection: {enabled_detectors: *i}\n").encode(),
    "recursive list": b"detection: {enabled_detectors: &a [*a]}\n",
    "recursive mapping": b"&a api: &b {api: *b, timeout_secs: *b}\n",
    "recursive root": b"&r\napi: *r\n",
    "undefined alias": b"api: *nothing\n",
    "anchor twice": b"api: {x: &a 1, y: &a 2}\n",
    "merge": b"x: &x {a: 1}\napi: {<<: *x}\n",
    "two documents": b"api: {}\n---\napi: {}\n",
    "long key": b"k" * 1_000_000 + b": 1\n",
    "long quoted key": b'"' + b"k" * 1_000_000 + b'": 1\n',
    "long value": b"api: {metrics_path: '" + b"v" * 1_000_000 + b"'}\n",
    "long number": b"api: {timeout_secs: " + b"9" * 100_000 + b"}\n",
    "many brackets": b"[" * 100_000,
    "many braces": b"{a: " * 100_000,
    "many keys": b"? " * 100_000,
    "many dashes": b"- " * 100_000,
    "many nodes": b"api: [" + b"1," * MAX_NODES + b"]\n",
    "too large": b"#" * (MAX_BYTES + 1),
    "zeroes": b"\0" * 100,
    "binary": bytes(range(256)),
    "utf-16": "api: {}".encode("utf-16"),
    "latin-1": "api: {x: \xe9}".encode("latin-1"),
    "control": b"api: {bind_addr: \x1b[31m}\n",
    "surrogate escape": b'api: {bind_addr: "\\ud800"}\n',
    "impossible escape": b'api: {bind_addr: "\\UFFFFFFFF"}\n',
    "impossible version": b"%YAML 99999999999999999999.1\n---\napi: {}\n",
    "long version": b"%YAML 1." + b"1" * 10_000 + b"\n---\napi: {}\n",
    "unknown directive": b"%FOO bar\n---\napi: x\n",
    "tag directive": b"%TAG ! tag:yaml.org,2002:python/\n---\napi: !name:os.system x\n",
    "tabs": b"api:\n\tbind_addr: x\n",
    "open quote": b'api: "\n',
    "null key": b"~: 1\n",
    "sequence key": b"? [a, b]\n: 1\n",
    "key that is a path": b"../../etc/passwd: 1\n",
    "key with escapes": b'"\\e[2J\\u202e": 1\n',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(tmp_path: Path, name: str) -> None:
    """Each is a ConfigError whose text is short and printable."""
    path = tmp_path / "sentinel.yaml"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(ConfigError) as raised:
        load(path, {})
    text = str(raised.value)
    assert len(text) < 100_000
    assert printable(text.replace("\n", ""), len(text)) == text.replace("\n", "")


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH - 1])
def test_the_depth_limit_is_exact(depth: int) -> None:
    """The root counts as one level, each bracket as one more."""
    raw = b"[" * depth + b"]" * depth
    assert parse_tree(raw) is not None
    with pytest.raises(TreeError) as raised:
        parse_tree(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))
    assert raised.value.code == "too_complex"


def test_aliases_count_as_values() -> None:
    """Writing one anchor again and again is no way around the limit."""
    with pytest.raises(TreeError) as raised:
        parse_tree(b"[&a x" + b", *a" * MAX_NODES + b"]")
    assert raised.value.code == "too_complex"


def loads_or_refuses(raw: bytes, path: Path) -> None:
    """The promise of the loader: a configuration or a ConfigError."""
    path.write_bytes(raw)
    try:
        outcome: Loaded | ConfigError = load(path, {"V": "${V}", "W": "]"}, read_secrets=False)
    except ConfigError as error:
        outcome = error
    severities = {problem.severity for problem in outcome.problems}
    assert ("error" in severities) == isinstance(outcome, ConfigError)


fuzz = settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@fuzz
@given(raw=st.binary(max_size=300))
def test_any_bytes(tmp_path: Path, raw: bytes) -> None:
    """Whatever the bytes, the loader answers."""
    loads_or_refuses(raw, tmp_path / "any.yaml")


KEYS = [
    "api",
    "ingestion",
    "kafka",
    "brokers",
    "detection",
    "storage",
    "influxdb",
    "password",
    "pseudonym_key_file",
    "bind_addr",
    "timeout_secs",
]
SIGNS = [
    ": ",
    ":\n",
    "\n",
    "\n  ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "&a ",
    "*a",
    "!t ",
    "!!str ",
    "'",
    '"',
    "|\n",
    ">-\n",
    "? ",
    "#",
    "---\n",
    "...\n",
]
VALUES = ["${V}", "${W}", "${X}", "${X:-1}", "${", "$${", "~", "null", "true", "1", "-1.5e3", ".inf", "0x1F", "1:30", "<<", "é", "\\x"]
STRANGE = ["%", "@", "`", "*", "\t", "\ufeff", "\u2028", "\x85"]


@fuzz
@given(pieces=st.lists(st.sampled_from(KEYS + SIGNS + VALUES + STRANGE), max_size=40))
def test_any_yaml(tmp_path: Path, pieces: list[str]) -> None:
    """Whatever is put together from YAML's own signs and our keys, the loader answers."""
    loads_or_refuses("".join(pieces).encode(), tmp_path / "any.yaml")
