"""Typed decorators for numba's kernels; `memory` has what they need of the machine.

Kernels are module-level functions (a closure never hits numba's cache), release the GIL, and are compiled once per machine into
NUMBA_CACHE_DIR. With NUMBA_DISABLE_JIT=1 they run as plain Python, which is how their coverage is measured.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def _sources_digest() -> str:
    """A digest of all files with kernels. Numba looks at the file of a kernel only, not at those of the kernels it calls."""
    package = Path(__file__).parents[1]
    sources = (path.read_bytes() for path in sorted(package.rglob("*.py")))
    return hashlib.sha256(b"".join(source for source in sources if b"sentinel.core.jit" in source)).hexdigest()[:16]


JIT_DISABLED: bool = bool(numba.config.DISABLE_JIT)  # type: ignore[attr-defined]  # numba makes its settings at run time

CACHE: Path | None = None
"""Where the compiled kernels of these sources are kept; None when they are not."""

if numba.config.CACHE_DIR and not JIT_DISABLED:  # type: ignore[attr-defined]  # as above
    CACHE = Path(numba.config.CACHE_DIR) / _sources_digest()  # type: ignore[attr-defined]  # as above
    numba.config.CACHE_DIR = str(CACHE)  # type: ignore[attr-defined]  # as above


def kernel(function: F) -> F:
    """Compile `function` on first call; its types stay those of the plain function."""
    return cast("F", numba.njit(cache=True, nogil=True, error_model="numpy")(function))


# Kernels that make no arrays need no memory management: to count those that every call is given costs more than to read a number.
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}


def leaf(function: F) -> F:
    """As `kernel`, for functions that only read and write arrays they are given."""
    return cast("F", numba.njit(**_OPTIONS)(function))


def inlined(function: F) -> F:
    """As `leaf`, for what every field of a record goes through: it becomes part of its callers, which take longer to compile."""
    return cast("F", numba.njit(forceinline=True, **_OPTIONS)(function))
