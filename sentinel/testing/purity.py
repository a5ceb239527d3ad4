"""Watches a piece of code for what pure code does not do: ask a clock, chance, the file system, the network."""

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from random import Random
from types import FrameType, ModuleType
from typing import Any, Final

ALLOWED: Final = frozenset({"fspath"})
"""Functions of these modules that reach nothing."""
MODULES: Final = frozenset({"time", "posix", "nt", "_socket", "_io", "io", "select", "_posixsubprocess", "_sqlite3", "_ssl"})
CLOCKS: Final = frozenset({"now", "utcnow", "today"})
HANDLES: Final = frozenset({"_socket", "_ssl", "select", "sqlite3"})
"""Modules whose objects reach outside by every method."""

Profile = Callable[[FrameType, str, Any], object]


@contextmanager
def watched() -> Iterator[list[str]]:
    """Runs its body, and gives a list that fills with the impure functions that were called from Python, each once, by name.

    Calls from within compiled code are not seen. Profilers do not see the body.
    """
    seen: dict[str, None] = {}
    found: list[str] = []

    def look(_frame: FrameType, event: str, function: object) -> None:
        if event == "c_call" and (name := impure(function)) and name not in seen:
            seen[name] = None
            found.append(name)

    before, collecting = sys.getprofile(), gc.isenabled()
    gc.disable()  # finalizers and callbacks of others run wherever a collection happens to begin
    sys.setprofile(look)
    try:
        yield found
    finally:
        sys.setprofile(before)
        if collecting:
            gc.enable()


def impure(function: Any) -> str | None:  # noqa: ANN401  any builtin
    """The name of a builtin function that asks a clock, chance or the world outside; None for any other.

    >>> import time
    >>> impure(time.time_ns), impure(len)
    ('time.time_ns', None)
    """
    owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "?")
    if isinstance(owner, ModuleType):
        return f"{owner.__name__}.{name}" if owner.__name__ in MODULES and name not in ALLOWED else None
    if isinstance(owner, Random):
        return f"random.{name}"
    if isinstance(owner, type):
        return f"{owner.__name__}.{name}" if issubclass(owner, date) and name in CLOCKS else None
    base = next((base for base in type(owner).__mro__ if base.__module__ in HANDLES), None)
    return f"{base.__name__}.{name}" if base else None
