"""The records of a request's body, undecoded. However hostile the body, no more is taken apart than a request may hold."""

import io
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import msgspec

LINE_TYPES: Final = ("ndjson", "jsonl", "json-lines", "json-seq")
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
BLANK: Final = b" \t\r\n\x1e"
"""What may stand around a record; application/json-seq begins each with a record separator."""
_ABSENT: Final = msgspec.Raw(b"")


class TooManyError(ValueError):
    """The body holds more records than allowed."""


def split(body: bytes, content_type: str, most: int) -> list[bytes]:
    r"""The records of a body: array elements, lines, or the one object. Raises TooManyError beyond `most` of them.

    >>> split(b'[{"a": 1}, {"b": 2}]', "application/json", 10)
    [b'{"a": 1}', b'{"b": 2}']
    >>> split(b'{"a": 1}\n{"b": 2}\n', "application/x-ndjson", 10)
    [b'{"a": 1}', b'{"b": 2}']
    """
    body = body.removeprefix(BYTE_ORDER_MARK)
    if any(kind in content_type for kind in LINE_TYPES):
        return _lines(body, most)
    start = body[:1] if body[:1] in {b"[", b"{"} else body.lstrip()[:1]
    try:
        if start == b"[":
            return _elements(body, most)
        if start == b"{":
            msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        if isinstance(error, TooManyError):
            raise
        # No single JSON value: several lines, or one record that decoding will reject with its code.
        return _lines(body, most)
    return [body] if start else []


def _lines(body: bytes, most: int) -> list[bytes]:
    found: list[bytes] = []
    for record in _records(body):
        if len(found) == most:
            raise TooManyError
        found.append(record)
    return found


def _records(body: bytes) -> Iterator[bytes]:
    return filter(None, (line.strip(BLANK) for line in io.BytesIO(body)))


def _elements(body: bytes, most: int) -> list[bytes]:
    """The elements of an array. There are at most as many as commas, and one."""
    if body.count(b",") < most:
        return [bytes(raw) for raw in msgspec.json.decode(body, type=list[msgspec.Raw])]
    try:
        array = msgspec.json.decode(body, type=_array_of_at_most(most))
    except msgspec.ValidationError as error:
        raise TooManyError from error
    return [bytes(raw) for raw in msgspec.structs.astuple(array) if raw is not _ABSENT]


@lru_cache(maxsize=1)
def _array_of_at_most(most: int) -> type[msgspec.Struct]:
    """A type for arrays of up to `most` undecoded elements: decoding stops at the first beyond, before memory is spent on millions."""
    fields = [(f"element{i}", msgspec.Raw, _ABSENT) for i in range(most)]
    return msgspec.defstruct("Elements", fields, array_like=True, forbid_unknown_fields=True)
