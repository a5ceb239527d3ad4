"""What is wrong with a configuration: where, what, and what to do about it. A problem never shows a value."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sentinel.core.errors import SentinelError

Severity = Literal["error", "warning"]
KeyPath = tuple[str | int, ...]

_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa1-\ud7ff\ue000-\uffef\U00010000-\U0010ffff]|[\u200b-\u200f\u2028-\u202e\u2066-\u2069]")
_LONGEST_SHOWN = 64


def printable(text: str, longest: int = _LONGEST_SHOWN) -> str:
    """The text cut to `longest` characters, without control, invisible and direction characters: keys come from files."""
    shown = _UNPRINTABLE.sub("?", text[:longest])
    return shown + "..." if len(text) > longest else shown


def dotted(path: KeyPath) -> str:
    """The key as people write it.

    >>> dotted(("ingestion", "kafka", "brokers", 0))
    'ingestion.kafka.brokers[0]'
    """
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{printable(part)}"
    return text.removeprefix(".")


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the file, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong, or unsafe.

    Attributes:
        file: the configuration file, or `environment`, or `defaults`.
        line: line in the file, from 1; None where there is none.
        column: column in the line, from 1; None where there is none.
        key: dotted key, or the environment variable; empty for the file as a whole.
        code: stable name of the rule, for programs.
        what: what is wrong, without a value and without a full stop.
        suggestion: what to do, as full sentences.
        severity: an error makes the configuration invalid; a warning does not.
        blocks_run: a warning that makes `sentinel run` refuse the configuration.
    """

    file: str
    line: int | None
    column: int | None
    key: str
    code: str
    what: str
    suggestion: str
    severity: Severity = "error"
    blocks_run: bool = False

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        subject = f"{self.key}: {self.what}" if self.key else self.what
        return f"{place}: {self.severity}: {subject}. {self.suggestion}"


def in_reading_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """The problems by place in the file; those without a line last."""
    return tuple(sorted(problems, key=lambda problem: (problem.line is None, problem.line or 0, problem.column or 0)))


class ConfigError(SentinelError):
    """The configuration cannot be used. Carries everything that was found, warnings too.

    Attributes:
        problems: all problems, in reading order, at least one of them an error.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = in_reading_order(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
