"""Detectors of others: found among the entry points of what is installed, their parameters read by their own model.

Nothing is imported that the configuration does not name. A detector that cannot be had is told with its place and its cure: to who only
validates as a warning, because a file may be checked on another machine than the one that runs it.
"""

import difflib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from pydantic import ValidationError

from sentinel.config.loader import Loaded
from sentinel.config.problems import KeyPath, dotted, printable
from sentinel.config.rule import Finding
from sentinel.config.sections_plugins import Parameters, Values
from sentinel.config.shape import Shape, expected, shapes_of
from sentinel.config.values import MisfitError, Scalar, ScalarText, read_scalar
from sentinel.core.anomaly import DetectorName
from sentinel.core.detector import ENTRY_POINTS, Detector
from sentinel.core.errors import StartupError

SECTION: Final = ("detection", "plugins")
METHODS: Final = ("observe", "mark", "export", "load")


@dataclass(frozen=True, slots=True)
class Plugin:
    """A detector that is to run.

    Attributes:
        name: that of its entry point.
        make: gives a new one, with the configured parameters and no state.
    """

    name: str
    make: Callable[[], Detector]


def configured(section: Mapping[str, Values]) -> tuple[Plugin, ...]:
    """The configured detectors, in the order of their names.

    Raises:
        StartupError: with everything that is wrong.
    """
    found = [_plugin(name, section[name]) for name in sorted(section)]
    problems = [finding for one in found if isinstance(one, list) for finding in one]
    if problems:
        told = (f"{dotted(problem.path)}: {problem.what}. {problem.suggestion}" for problem in problems)
        raise StartupError("\n".join(told))
    return tuple(one for one in found if isinstance(one, Plugin))


def rule(loaded: Loaded) -> Iterator[Finding]:
    """Detectors of others that cannot be had, and parameters they do not take."""
    section: Mapping[str, Values] = loaded.config.detection.plugins
    for name in sorted(section):
        found = _plugin(name, section[name])
        if isinstance(found, list):
            yield from found


def _plugin(name: str, values: Values) -> Plugin | list[Finding]:
    """One detector, or what is wrong with it."""
    path = (*SECTION, name)
    made = _class_of(name, path)
    if isinstance(made, Finding):
        return [made]
    parameters = _parameters(made.parameters, values, path)
    if isinstance(parameters, list):
        return parameters

    def make() -> Detector:
        detector: Detector = made(parameters)
        return detector

    try:
        first = make()
    except Exception as error:  # noqa: BLE001  others' code: whatever it is, it is told as their problem
        return [Finding(path, "refused_parameters", f"refuses its parameters: {_told(error)}", "Correct them.", "error")]
    if missing := [method for method in METHODS if not callable(getattr(first, method, None))]:
        what = f"is no detector: it has no {', '.join(missing)}"
        return [Finding(path, "not_a_detector", what, "See docs/detectors.md for what one must have.", "error")]
    return Plugin(name, make)


# ------------------------------------------------------------------------------------------------------------ entry points


def _class_of(name: str, path: KeyPath) -> Any | Finding:  # noqa: ANN401  others' code may be anything
    """What the entry point of this name leads to, if it can be a detector."""
    if name in set(DetectorName):
        return Finding(path, "taken_name", "is the name of a detector of our own", "Ask its author to rename the entry point.", "error")
    found = {entry.value: entry for entry in _entries(tuple(sys.path)) if entry.name == name}
    if not found:
        return Finding(path, "no_detector", "is not installed", _instead(name), blocks_run=True)
    if len(found) > 1:
        where = " and ".join(sorted(_distribution(entry) for entry in found.values()))
        return Finding(path, "two_detectors", f"is in several distributions: {where}", "Uninstall all but one.", "error")
    (entry,) = found.values()
    return _imported(entry, path)


@lru_cache(maxsize=4)
def _entries(_path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """All detectors that are installed where Python looks now. Looking costs milliseconds, and each partition asks."""
    return tuple(entry_points(group=ENTRY_POINTS))


def _imported(entry: EntryPoint, path: KeyPath) -> Any | Finding:  # noqa: ANN401  as above
    """What an entry point leads to, if it can be a detector."""
    try:
        made = entry.load()
    except Exception as error:  # noqa: BLE001  as above
        what = f"of {_distribution(entry)} cannot be imported: {_told(error)}"
        return Finding(path, "no_detector", what, "Install a version that fits, or remove the key.", blocks_run=True)
    model = getattr(made, "parameters", None)
    if not callable(made) or not (isinstance(model, type) and issubclass(model, Parameters)):
        what = "is no detector: it is not a class with `parameters`"
        return Finding(path, "not_a_detector", what, "See docs/detectors.md for what one must have.", "error")
    try:
        readable = all(shape.kind not in {"named", "section"} for shape in shapes_of(model).values())
    except (KeyError, TypeError):
        readable = False
    if not readable:
        what = "has a parameter of a type that a configuration cannot hold"
        return Finding(path, "not_a_detector", what, "Use numbers, texts, true or false, words, and lists of texts.", "error")
    return made


def _instead(name: str) -> str:
    """What to do about a detector that is not there."""
    known = sorted({entry.name for entry in _entries(tuple(sys.path))})
    if similar := difflib.get_close_matches(name, known, n=1):
        return f"Did you mean `{printable(similar[0])}`?"
    there = ", ".join(printable(one) for one in known[:10]) or "none"
    return f"Install the distribution that has it beside llm-sentinel (installed detectors: {there}), or remove the key."


def _distribution(entry: EntryPoint) -> str:
    return printable(entry.dist.name) if entry.dist is not None else "a distribution without a name"


def _told(error: Exception) -> str:
    """An error of others' code, on one line."""
    return f"{type(error).__name__}: {printable(str(error), 200)}"


# -------------------------------------------------------------------------------------------------------------- parameters


def _parameters(model: type[Parameters], values: Values, path: KeyPath) -> Parameters | list[Finding]:
    """The parameters, or everything that is wrong with them."""
    shapes = shapes_of(model)
    plain: dict[str, Scalar | list[Scalar]] = {}
    problems = [
        Finding((*path, name), "missing_key", "is required by this detector", "Add it.", "error")
        for name, shape in shapes.items()
        if shape.required and name not in values
    ]
    for name, value in values.items():
        here = (*path, name)
        if name not in shapes:
            problems.append(Finding(here, "unknown_key", "is no parameter of this detector", _nearest(name, shapes), "error"))
            continue
        try:
            plain[name] = _read(value, shapes[name])
        except MisfitError as misfit:
            problems.append(_misfit(here, misfit.what or f"must be {expected(shapes[name])}", misfit.suggestion))
    validated = _validated(model, plain, path)
    if isinstance(validated, list):
        problems += validated
    return problems or validated


def _read(value: object, shape: Shape) -> Scalar | list[Scalar]:
    """A value as the parameter wants it."""
    if isinstance(value, str):
        return read_scalar(ScalarText(value, plain=False, typed=True), shape)
    if shape.item is None or not isinstance(value, list):
        raise MisfitError
    return [read_scalar(ScalarText(text, plain=False, typed=True), shape.item) for text in value]


def _validated(model: type[Parameters], plain: Mapping[str, object], path: KeyPath) -> Parameters | list[Finding]:
    """The model's own verdict: limits, and whether the values go together. What is missing is not told again."""
    shapes = shapes_of(model)
    try:
        return model.model_validate(plain, strict=True)
    except ValidationError as error:
        return [
            _misfit((*path, *fault["loc"]), f"must be {expected(shapes[str(fault['loc'][0])])}", None)
            if fault["loc"]
            else _misfit(path, f"has parameters that do not go together: {printable(fault['msg'], 200)}", None)
            for fault in error.errors(include_url=False, include_context=False, include_input=False)
            if fault["type"] != "missing"
        ]


def _misfit(path: KeyPath, what: str, suggestion: str | None) -> Finding:
    return Finding(path, "wrong_type", what, suggestion or "Correct the value, or remove the key for its default.", "error")


def _nearest(name: str, shapes: Mapping[str, Shape]) -> str:
    """A sentence that names the most similar parameter, or those there are."""
    if similar := difflib.get_close_matches(name, list(shapes), n=1, cutoff=0.6):
        return f"Did you mean `{similar[0]}`?"
    return f"It takes {', '.join(shapes)}." if shapes else "It takes none."
