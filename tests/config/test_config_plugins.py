"""`detection.plugins` as it stands in a file: names and parameters are the file's own, and everything wrong has its place."""

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from sentinel.config.checks import check, check_run
from sentinel.config.loader import Loaded, draft
from sentinel.config.schema import json_schema


def loaded(tmp_path: Path, plugins: str) -> Loaded:
    """A file with these lines under `detection.plugins`, which is line 2."""
    file = tmp_path / "sentinel.yaml"
    body = "".join(f"    {line}\n" for line in plugins.splitlines())
    file.write_text(f"detection:\n  plugins:\n{body}", encoding="utf-8")
    return draft(file, {"HOME_LIMIT": "7"}, read_secrets=False)


def test_values_are_kept_as_they_were_written(tmp_path: Path) -> None:
    """Numbers, words and lists stay texts for the detector to read, variables are expanded, and a detector may have no parameters."""
    read = loaded(tmp_path, "one:\n  limit: 1e-6\n  loud: yes\n  words: [a, 007]\n  home: ${HOME_LIMIT}\ntwo: {}\nthree:\nfour: null")
    assert read.problems == ()
    assert read.config.detection.plugins == {
        "one": {"limit": "1e-6", "loud": "yes", "words": ["a", "007"], "home": "7"},
        "two": {},
        "three": {},
        "four": {},
    }


@pytest.mark.parametrize("plugins", ["", "{}", "null"])
def test_no_detectors_is_the_default(tmp_path: Path, plugins: str) -> None:
    """An empty section is none."""
    file = tmp_path / "sentinel.yaml"
    file.write_text(f"detection:\n  plugins: {plugins}\n", encoding="utf-8")
    read = draft(file, {}, read_secrets=False)
    assert (read.problems, read.config.detection.plugins) == ((), {})


@pytest.mark.parametrize(
    ("plugins", "line", "code", "key"),
    [
        ("Bad-Name: {}", 3, "bad_key", "detection.plugins"),
        ("one:\n  Bad-Name: 1", 4, "bad_key", "detection.plugins.one"),
        ("one: {}\none: {}", 4, "duplicate_key", "detection.plugins.one"),
        ("one:\n  a: 1\n  a: 2", 5, "duplicate_key", "detection.plugins.one.a"),
        ("one: 5", 3, "wrong_type", "detection.plugins.one"),
        ("one: [a]", 3, "wrong_type", "detection.plugins.one"),
        ("one:\n  a:\n    b: 1", 4, "wrong_type", "detection.plugins.one.a"),
        ("one:\n  a: [1, [2]]", 4, "wrong_type", "detection.plugins.one.a[1]"),
        ("one:\n  a:", 4, "wrong_type", "detection.plugins.one.a"),
    ],
)
def test_what_is_wrong_has_its_place(tmp_path: Path, plugins: str, line: int, code: str, key: str) -> None:
    """Names that are none, repeats, and values that are neither texts nor lists of them are errors with line and key."""
    (problem,) = (found for found in loaded(tmp_path, plugins).problems if found.severity == "error")
    assert (problem.line, problem.code, problem.key) == (line, code, key)


def test_too_many_detectors_are_refused(tmp_path: Path) -> None:
    """The number of detectors is bounded."""
    read = loaded(tmp_path, "\n".join(f"plugin_{i}: {{}}" for i in range(33)))
    assert [(problem.code, problem.key) for problem in read.problems] == [("out_of_range", "detection.plugins")]


def test_a_detector_that_is_not_here_stops_run_only(tmp_path: Path) -> None:
    """`validate` warns, with the line of the name; `run` does not start."""
    read = loaded(tmp_path, "one: {}\nnot_there:\n  a: 1")
    assert [(problem.severity, problem.line, problem.code) for problem in check(read)] == [
        ("warning", 3, "no_detector"),
        ("warning", 4, "no_detector"),
    ]
    assert {problem.severity for problem in check_run(read)} == {"error"}


def test_editors_know_the_section() -> None:
    """The JSON Schema takes names with parameters of any plain value, and nothing deeper."""
    validator = Draft202012Validator(json_schema())
    good = {"one": {"a": 1e-6, "b": True, "c": "x", "d": ["y", "z"]}, "two": {}}
    assert list(validator.iter_errors({"detection": {"plugins": good}})) == []
    assert list(validator.iter_errors({"detection": {"plugins": {"one": {"a": {"b": 1}}}}}))
