"""Named arrays as bytes, for checkpoints: each a name, a length and numpy's own format, which never runs code when it is read."""

import struct
from collections.abc import Mapping
from io import BytesIO
from tokenize import TokenError
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sentinel.core.errors import SnapshotError

_FRAME: Final = struct.Struct("<HQ")
_UNREADABLE: Final = (ValueError, TypeError, SyntaxError, TokenError, EOFError, OverflowError, MemoryError)
"""What numpy raises for a head that says something else than an array: it reads it as a literal of Python."""


def packed(tables: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """The arrays, in order of their names: the same arrays give the same bytes.

    >>> unpacked(packed({"b": np.zeros(2), "a": np.arange(3)}))["a"].tolist()
    [0, 1, 2]
    """
    parts: list[bytes] = []
    for name, table in sorted(tables.items()):
        written = BytesIO()
        np.lib.format.write_array(written, np.ascontiguousarray(table), allow_pickle=False)
        key = name.encode()
        parts += (_FRAME.pack(len(key), written.tell()), key, written.getvalue())
    return b"".join(parts)


def unpacked(blob: bytes | memoryview) -> dict[str, npt.NDArray[Any]]:
    """The inverse of `packed`. Raises SnapshotError when these bytes are not what it gave."""
    tables: dict[str, npt.NDArray[Any]] = {}
    at = 0
    while at < len(blob):
        if at + _FRAME.size > len(blob):
            raise SnapshotError("the checkpoint ends in the middle of a table's name")
        name_length, length = _FRAME.unpack_from(blob, at)
        start = at + _FRAME.size + name_length
        at = start + length
        if at > len(blob):
            raise SnapshotError("the checkpoint ends in the middle of a table")
        try:
            name = bytes(blob[start - name_length : start]).decode()
            tables[name] = np.lib.format.read_array(BytesIO(blob[start:at]), allow_pickle=False)
        except _UNREADABLE as error:
            raise SnapshotError(f"a table of the checkpoint cannot be read: {error}") from error
    return tables
