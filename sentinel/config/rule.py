"""What a rule about a configuration is, and what it finds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sentinel.config.loader import Loaded
from sentinel.config.problems import KeyPath, Severity


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that applies, before it knows its place in the file. The fields are those of a `Problem`."""

    path: KeyPath
    code: str
    what: str
    suggestion: str
    severity: Severity = "warning"
    blocks_run: bool = False


Rule = Callable[[Loaded], Iterator[Finding]]
