"""From a configuration file and the environment to a checked `Config`, or to everything that is wrong with it at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sentinel.config.problems import ConfigError, KeyPath, Position, Problem, dotted, in_reading_order, printable
from sentinel.config.reading import Plain, Reading
from sentinel.config.schema import Config
from sentinel.config.section import Section
from sentinel.config.shape import Shape, expected, shapes_of
from sentinel.config.values import MisfitError, ScalarText, read_scalar
from sentinel.config.yaml_tree import MAX_BYTES, TreeError, parse_tree

DEFAULTS: Final = "defaults"
ENVIRONMENT: Final = "environment"
OVERRIDES: Final[Mapping[str, KeyPath]] = {
    "SENTINEL_LOG_LEVEL": ("observability", "log_level"),
    "SENTINEL_LOG_JSON": ("observability", "log_json"),
}
"""Variables that go before the file's value."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and what is known about where it came from.

    Attributes:
        config: the configuration. After `load` it is complete; after `draft` it has defaults in place of what had errors.
        file: the file it was read from; None for the built-in defaults.
        problems: what was found, in reading order. After `load`, warnings only.
        positions: place of every key that stands in the file.
        unset: keys whose variable is unset: their default stands in `config`, or their text as it is in the file.
    """

    config: Config
    file: Path | None
    problems: tuple[Problem, ...]
    positions: Mapping[KeyPath, Position]
    unset: frozenset[KeyPath]

    @property
    def origin(self) -> str:
        """One line that says what was loaded, for people."""
        if self.file is None:
            return "built-in defaults (embedded mode); name a file with --config or SENTINEL_CONFIG to change them"
        return f"configuration from {printable(str(self.file), 500)}"

    def place(self, path: KeyPath) -> tuple[str, int | None, int | None]:
        """File, line and column of a key, or of the nearest section around it that stands in the file."""
        while path and path not in self.positions:
            path = path[:-1]
        name = DEFAULTS if self.file is None else printable(str(self.file), 500)
        position = self.positions.get(path)
        return (name, position.line, position.column) if position else (name, None, None)


def locate(option: Path | None, env: Mapping[str, str]) -> Path | None:
    """The configuration file to load: the command line's, else SENTINEL_CONFIG's, else None for the built-in defaults."""
    if option is not None:
        return option
    return Path(env["SENTINEL_CONFIG"]) if env.get("SENTINEL_CONFIG") else None


def load(path: Path | None, env: Mapping[str, str], *, read_secrets: bool = True) -> Loaded:
    """The configuration of a file (None: the built-in defaults) with the environment's variables and overrides.

    It is checked by itself, not yet for what `sentinel run` refuses: see `sentinel.config.checks`.

    Args:
        path: the YAML file.
        env: the process environment.
        read_secrets: read the files that `*_file` keys name. False only looks whether they are there and warns if not.

    Raises:
        ConfigError: with all problems at once.
    """
    loaded = draft(path, env, read_secrets=read_secrets)
    if any(problem.severity == "error" for problem in loaded.problems):
        raise ConfigError(loaded.problems)
    return loaded


def draft(path: Path | None, env: Mapping[str, str], *, read_secrets: bool) -> Loaded:
    """Like `load`, but never raises: errors are among the problems, and what has errors is left at its default."""
    base = path.absolute().parent if path is not None else Path.cwd()
    name = DEFAULTS if path is None else printable(str(path), 500)
    reading = Reading(name, base, env, read_secrets)
    plain = _read_file(path, reading) if path is not None else {}
    _override(plain, env, reading)
    config = _validated(plain, reading)
    if reading.omitted:
        what = f"has {reading.omitted} more problems, which are not shown"
        reading.problems.append(Problem(name, None, None, "", "too_many", what, "Correct these first."))
    return Loaded(config, path, in_reading_order(reading.problems), reading.positions, frozenset(reading.unset))


def _read_file(path: Path, reading: Reading) -> dict[str, Plain]:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or "no such file").lower()
        reading.note((), "unreadable", f"cannot be read: {reason}", "Correct the path or the permissions.")
        return {}
    try:
        return reading.read_root(parse_tree(raw))
    except TreeError as error:
        reading.note((), error.code, error.what, error.suggestion, at=error.position)
        return {}


# ----------------------------------------------------------------------------------------------------------------- environment


def _override(plain: dict[str, Plain], env: Mapping[str, str], reading: Reading) -> None:
    """Put the values of the override variables in place of the file's."""
    for variable, path in OVERRIDES.items():
        text = env.get(variable)
        if text:
            _override_one(plain, variable, text.strip().lower(), path, reading)
    if "state_dir" not in plain and (directories := env.get("STATE_DIRECTORY")):
        plain["state_dir"] = directories.split(":")[0]


def _override_one(plain: dict[str, Plain], variable: str, text: str, path: KeyPath, reading: Reading) -> None:
    shape = _shape_at(path)
    section = plain.setdefault(str(path[0]), {})
    try:
        value = read_scalar(ScalarText(text, plain=False, typed=True), shape)
    except MisfitError:
        what = f"must be {expected(shape)}"
        reading.problems.append(Problem(ENVIRONMENT, None, None, variable, "wrong_type", what, "Correct or unset the variable."))
        return
    if isinstance(section, dict):
        section[str(path[1])] = value


# ------------------------------------------------------------------------------------------------------------------ validation


def _validated(plain: dict[str, Plain], reading: Reading) -> Config:
    """The models' verdict. What they refuse is noted and left out, so that one attempt finds everything."""
    for _ in range(3):  # a key is refused, then its section for the lack of it, then nothing
        errors = _errors_of(plain)
        if isinstance(errors, Config):
            return errors
        for error in errors:
            path = tuple(error["loc"])
            if not _already_noted(path, reading):
                reading.note(path, *_reworded(error, path))
            reading.spoiled.add(path)
            _leave_out(plain, path)
    return Config()


def _errors_of(plain: dict[str, Plain]) -> Config | list[ErrorDetails]:
    """The configuration, or what the models refuse, without the values."""
    try:
        return Config.model_validate(plain, strict=True)
    except ValidationError as error:
        return error.errors(include_url=False, include_context=False, include_input=False)


def _already_noted(path: KeyPath, reading: Reading) -> bool:
    """A problem stands at this key already, or its value went missing because of one, or of an unset variable."""
    settled = reading.spoiled | reading.unset
    return path in settled or any(known[: len(path)] == path for known in settled)


def _reworded(error: ErrorDetails, path: KeyPath) -> tuple[str, str, str]:
    """Code, what and suggestion for one refusal of the models."""
    if error["type"] == "missing":
        return "missing_key", "is required in this section", "Add it, or remove the section."
    if error["type"] in {"bad_url", "url_credentials"}:
        return error["type"], error["msg"], "Write scheme://host:port, and credentials in the section's own keys."
    if error["type"] == "bad_network":
        return error["type"], error["msg"], "Write it like 10.1.2.0/24 or ::1/128."
    if error["type"].startswith("rule_"):
        return error["type"], error["msg"], "Correct the rule, or remove it."
    return "out_of_range", f"must be {expected(_shape_at(path))}", "Correct the value, or remove the key for its default."


def _leave_out(plain: dict[str, Plain], path: KeyPath) -> None:
    """Remove what the models refused: the key itself, or the section whose required key is missing or cannot be had."""
    *way, last = path
    section: Plain = plain
    for part in way:
        inner = section.get(str(part)) if isinstance(section, dict) else None
        if not isinstance(inner, dict):
            break
        section = inner
    name = str(last) if not isinstance(last, int) else str(way[-1])
    if isinstance(section, dict) and name in section and not _shape_at(path).required:
        del section[name]
    elif way:
        _leave_out(plain, tuple(way))


def _shape_at(path: KeyPath) -> Shape:
    """The shape of a known key; a list's item has its list's shape."""
    section: type[Section] = Config
    shape: Shape | None = None
    for part in path:
        if isinstance(part, int):
            continue
        shape = shapes_of(section)[part]
        if shape.kind == "named":
            return shape
        section = shape.section or (shape.item.section if shape.item is not None else None) or section
    if shape is None:
        raise KeyError(dotted(path))
    return shape
