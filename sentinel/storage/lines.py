"""Lines of line protocol as one text: n of them cost two objects. Pure."""

from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np

from sentinel.core.batch import Int64
from sentinel.core.buffers import UInt8

BREAK = b"\n"
"""Stands behind every line."""


class Lines(Sequence[bytes]):
    r"""Lines in UTF-8, without their breaks. A slice shares the text.

    >>> lines = Lines.of(["a x=1 1", "b x=2 1", "c x=3 1"])
    >>> lines[0], lines[1:].body()
    (b'a x=1 1', b'b x=2 1\nc x=3 1')

    Args:
        text: uint8[...], the lines, each with a line break behind it; nobody writes to it any more.
        bounds: int64[n + 1], where each line begins, and where the last one's break ends.
    """

    __slots__ = ("_text", "bounds")

    def __init__(self, text: UInt8, bounds: Int64) -> None:
        self._text = text
        self.bounds = bounds

    @classmethod
    def of(cls, lines: Iterable[str]) -> "Lines":
        """Lines that were made one by one."""
        ended = [line.encode() + BREAK for line in lines]
        return cls(np.frombuffer(b"".join(ended), np.uint8), np.cumsum([0, *map(len, ended)]))

    @classmethod
    def joined(cls, parts: Sequence["Lines"]) -> "Lines":
        """The lines of all of these."""
        if len(parts) == 1:
            return parts[0]
        sizes = [np.diff(part.bounds) for part in parts]
        texts = [part._text[part.bounds[0] : part.bounds[-1]] for part in parts]  # noqa: SLF001  of our own kind
        return cls(np.concatenate([np.empty(0, np.uint8), *texts]), np.cumsum(np.concatenate([np.zeros(1, np.int64), *sizes])))

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> "Lines": ...
    def __getitem__(self, at: int | slice) -> "bytes | Lines":
        """The line at a position, or those of a range. Raises IndexError, and ValueError for a range with gaps."""
        if isinstance(at, slice):
            start, stop, step = at.indices(len(self))
            if step != 1:
                raise ValueError("a part of some lines has no gaps")
            return Lines(self._text, self.bounds[start : max(start, stop) + 1])
        number = range(len(self))[at]
        return self._text[self.bounds[number] : self.bounds[number + 1] - 1].tobytes()

    def body(self) -> bytes:
        """All lines with a line break between two: what a request holds."""
        return self._text[self.bounds[0] : max(self.bounds[0], self.bounds[-1] - 1)].tobytes()
