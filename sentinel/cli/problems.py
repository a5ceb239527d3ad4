"""How problems of a configuration look on a terminal and as JSON."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from sentinel.config.problems import Problem, Severity

_COLOURS: dict[Severity, str] = {"error": "red", "warning": "yellow"}


def show_problems(problems: Sequence[Problem], *, err: bool = False) -> None:
    """One line a problem: `file:line: severity: key: what. suggestion`; coloured on a terminal unless NO_COLOR is set."""
    for problem in problems:
        show(_line(problem), err=err)


def show(line: str, *, err: bool = False) -> None:
    """One line, its colours left out where they are not wanted."""
    click.echo(line, err=err, color=False if os.environ.get("NO_COLOR") else None)


def as_json(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """The problems as objects."""
    return [asdict(problem) for problem in problems]


def counted(problems: Sequence[Problem]) -> str:
    """The numbers of errors and warnings in words.

    >>> counted([])
    'no problems'
    """
    errors = sum(problem.severity == "error" for problem in problems)
    words = [_plural(errors, "error"), _plural(len(problems) - errors, "warning")]
    return " and ".join(word for word in words if word) or "no problems"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}" if count else ""


def _line(problem: Problem) -> str:
    place = problem.file if problem.line is None else f"{problem.file}:{problem.line}"
    severity = click.style(problem.severity, fg=_COLOURS[problem.severity], bold=True)
    subject = f"{click.style(problem.key, bold=True)}: {problem.what}" if problem.key else problem.what
    return f"{place}: {severity}: {subject}. {problem.suggestion}"
