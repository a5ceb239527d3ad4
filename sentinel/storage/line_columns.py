"""Whole columns of a batch as lines of line protocol, without an object per value. Pure.

Every value lies somewhere in one text: numbers as one call of orjson writes them (shortest digits that give the same number back), texts
joined. Kernels find them there, check them, and copy them into the lines.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import AnyStr, Final, NamedTuple

import numpy as np
import orjson

from sentinel.core.batch import Float64, Int64
from sentinel.core.buffers import ABSENT, UInt64, as_words, make_buffer
from sentinel.core.parts import InParts
from sentinel.storage.line_kernels import PADDING, are_fit, split_numbers, split_texts, write_lines
from sentinel.storage.line_protocol import MAX_STRING_BYTES, UnfitError
from sentinel.storage.lines import BREAK, Lines

_PADDING: Final = bytes(PADDING)
_BEHIND: Final = BREAK + _PADDING
"""Stands behind joined texts."""


class _Columns(NamedTuple):
    """Some columns of one kind: what stands before and, at most 8 bytes, behind the values of each; what finds these in the whole text."""

    around: Sequence[tuple[bytes, bytes]]
    find: Callable[[UInt64, Int64, Int64], None]
    escaped: bool = False


class LineColumns:
    r"""The columns of n lines, from left to right.

    >>> columns = LineColumns(2)
    >>> columns.heads([b"m,a=b "], np.array([0, 0]))
    >>> columns.floats(["f"], np.array([[0.1], [np.nan]]))
    >>> columns.strings("s", [None, 'say "hi"'])
    >>> columns.ends(["i"], np.array([[7, 1000], [8, 1001]]))
    >>> columns.lines().body()
    b'm,a=b f=0.1,i=7i 1000\nm,a=b s="say \\"hi\\"",i=8i 1001'

    Args:
        count: of lines, at least one.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._texts: list[bytes] = []
        self._size = 0
        self._room = 0
        self._columns: list[_Columns] = []

    def heads(self, heads: Sequence[bytes], codes: Int64) -> None:
        """Measurement and tags, and fields that many lines share, each with its comma; codes: int64[n], which of them a line has."""
        self._check(len(codes), "heads")
        bounds = np.cumsum([self._size, *map(len, heads)])
        start, end = bounds[codes], bounds[codes + 1]
        self._add(b"".join(heads), int((end - start).sum()), _Columns([(b"", b"")], partial(_at, start, end, 0)))

    def floats(self, names: Sequence[str], table: Float64) -> None:
        """Fields of a name for each column of float64[n, k]; NaN is left out, and so are infinities: these are the caller's to refuse."""
        self._numbers(table, [(f"{name}=".encode(), b",") for name in names])

    def integers(self, names: Sequence[str], table: Int64) -> None:
        """Fields of a name for each column of int64[n, k]."""
        self._numbers(table, [(f"{name}=".encode(), b"i,") for name in names])

    def ends(self, names: Sequence[str], table: Int64) -> None:
        """The last fields of the lines, and their times: int64[n, k + 1]. Nothing may follow."""
        *fields, last = ((f"{name}=".encode(), b"i,") for name in names)
        self._numbers(table, [*fields, (last[0], b"i "), (b"", BREAK)])

    def strings(self, name: str, column: Sequence[AnyStr | None]) -> None:
        """A field of texts, or of bytes that are UTF-8; None is left out.

        Raises:
            UnfitError: some text cannot be written; which one, `fault_of` tells. Nothing was added then.
        """
        self._check(len(column), name)
        found = _slices_in_parts(name, column) if isinstance(column, InParts) else _slices(name, column)
        if found is not None:
            text, size, start, end = found
            around = (f'{name}="'.encode(), b'",')
            self._add(text, 2 * size, _Columns([around], partial(_at, start, end, self._size), escaped=True))

    def lines(self) -> Lines:
        """The lines."""
        around = [pair for columns in self._columns for pair in columns.around]
        keys = np.cumsum([self._size, *(len(key) for key, _ in around)])
        text = b"".join([*self._texts, *(key for key, _ in around), _PADDING])
        words = as_words(text)
        start, end = np.empty((2, len(around), self._count), np.int64)
        escaped = np.array([columns.escaped for columns in self._columns for _ in columns.around])
        tails = np.frombuffer(b"".join(tail.ljust(8) for _, tail in around), np.uint64)
        tail_sizes = np.array([len(tail) for _, tail in around])
        out, out_words = make_buffer(self._room + self._count * int(keys[-1] - keys[0] + tail_sizes.sum()))
        bounds = np.empty(self._count + 1, np.int64)
        with np.errstate(over="ignore"):  # only plain Python minds that words overflow
            first = 0
            for columns in self._columns:
                last = first + len(columns.around)
                columns.find(words, start[first:last], end[first:last])
                first = last
            write_lines(words, start, end, escaped, keys[:-1], np.diff(keys), tails, tail_sizes, out, out_words, bounds)
        return Lines(out[: bounds[-1]], bounds)

    def _check(self, size: int, name: str) -> None:
        if size != self._count:
            raise ValueError(f"{size} values of {name} are not those of {self._count} lines")

    def _add(self, text: bytes, room: int, columns: _Columns) -> None:
        """Columns with a further text, whose values take up to so many bytes in the lines."""
        self._texts.append(text)
        self._size += len(text)
        self._room += room
        self._columns.append(columns)

    def _numbers(self, table: Float64 | Int64, around: Sequence[tuple[bytes, bytes]]) -> None:
        if table.shape != (self._count, len(around)):
            raise ValueError(f"a table of {table.shape} is not {self._count} lines of {len(around)} numbers")
        if around:
            digits = orjson.dumps(np.ascontiguousarray(table).reshape(-1), option=orjson.OPT_SERIALIZE_NUMPY)
            low, high = self._size + 1, self._size + len(digits) - 1
            self._add(digits, len(digits), _Columns(around, partial(_between, low, high)))


def _at(known_start: Int64, known_end: Int64, base: int, _words: UInt64, start: Int64, end: Int64) -> None:
    """Values whose places are known: int64[n] from `base` on."""
    start[0] = np.where(known_start < 0, ABSENT, known_start + base)
    end[0] = known_end + base


def _between(low: int, high: int, words: UInt64, start: Int64, end: Int64) -> None:
    """Numbers between two places."""
    split_numbers(words, low, high, start, end)


_Slices = tuple[bytes, int, Int64, Int64]
"""A text, the bytes of all values in it together or more, and int64[n] start and end of each; start -1 = absent."""


def _slices(name: str, column: Sequence[AnyStr | None]) -> _Slices | None:
    """Texts joined; None when all are absent."""
    present = [text for text in column if text is not None]
    if not present:
        return None
    text = _joined(name, present)
    size = len(text) - len(_BEHIND)
    start, end = np.empty((2, len(present)), np.int64)
    words = as_words(text)
    with np.errstate(over="ignore"):  # only plain Python minds that words overflow
        fit = split_texts(words, size, start, end) and are_fit(words, start, end, MAX_STRING_BYTES)
    if not fit:
        raise _unfit(name, [text[:size]])
    if len(present) < len(column):
        has_text = np.array([text is not None for text in column])
        some_start, some_end = start, end
        start, end = np.full((2, len(column)), ABSENT)
        start[has_text], end[has_text] = some_start, some_end
    return text, size, start, end


def _slices_in_parts(name: str, column: InParts) -> _Slices | None:
    """Texts where they lie; None when all are absent."""
    text, some_start, some_end = column.parts()
    start, end = some_start.astype(np.int64), some_end.astype(np.int64)
    if not (start >= 0).any():
        return None
    with np.errstate(over="ignore"):  # as above
        fit = are_fit(as_words(text + _PADDING), start, end, MAX_STRING_BYTES)
    if not fit:
        raise _unfit(name, [text[low:high] for low, high in zip(start.tolist(), end.tolist(), strict=True) if low >= 0])
    return text, int((end - start)[start >= 0].sum()), start, end


def _joined(name: str, texts: list[AnyStr]) -> bytes:
    """The texts in UTF-8 with a line break behind each, and padding. Raises UnfitError."""
    try:
        if not isinstance(texts[0], bytes):
            return ("\n".join(texts) + _BEHIND.decode()).encode()
        joined = b"\n".join(texts) + _BEHIND
        if not joined.isascii():
            joined.decode()
    except UnicodeError as error:
        raise UnfitError(f"the field {name} is not UTF-8") from error
    return joined


def _unfit(name: str, texts: Iterable[bytes]) -> UnfitError:
    """What is wrong with some of these."""
    if max(len(line) for text in texts for line in text.split(BREAK)) > MAX_STRING_BYTES:
        return UnfitError(f"the field {name} is longer than {MAX_STRING_BYTES} bytes")
    return UnfitError(f"the field {name} holds control characters")
