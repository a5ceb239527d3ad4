"""Line protocol: points as text that every parser reads the same way. Pure.

Parsers of line protocol differ in what a backslash means in a tag. So no tag ever holds one: a value with a backslash stands
percent-encoded, and `plain_tag` gives it back. String fields know two escapes, on which all agree. Control characters, which no
text that was sanitized holds, are refused here once more: a line break would begin another point.

Here is what stands once or is made value by value; whole columns of a batch become lines in `line_columns`.
"""

import re
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Final

import numpy as np

MAX_STRING_BYTES: Final = 65_536
"""Longest string field that InfluxDB takes."""
MAX_SERIES_BYTES: Final = 65_535
"""Longest measurement with all tags, as they stand in a line, that every parser takes."""

Value = float | int | bool | str | None
"""A field: a float, an integer, a boolean or a text. None and NaN are left out."""

_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_TAG_ESCAPES: Final = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ "})
_ENCODED: Final = re.compile("%5C|%25")
_INT64: Final = np.iinfo(np.int64)


class UnfitError(ValueError):
    """A value that cannot be written; the message names the field and says why, never the value."""


def fault_of(text: str, limit_bytes: int = MAX_STRING_BYTES) -> str | None:
    r"""Why a text cannot be written; None when it can.

    >>> fault_of("line\nbreak")
    'holds the control character U+000A'
    """
    if found := _CONTROLS.search(text):
        return f"holds the control character U+{ord(found[0]):04X}"
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        return "is not UTF-8"
    return f"is longer than {limit_bytes} bytes" if size > limit_bytes else None


def tag(name: str, value: str) -> str:
    r"""A tag's value as it stands in a line.

    >>> tag("service", "chat api,v=2"), tag("service", "C:\\api")
    ('chat\\ api\\,v\\=2', 'C:%5Capi')

    Raises:
        UnfitError: the value is empty, too long, or holds control characters.
    """
    if not value:
        raise UnfitError(f"the tag {name} is empty")
    stands = encoded_tag(value)
    if fault := fault_of(stands):
        raise UnfitError(f"the tag {name} {fault}")
    return stands.translate(_TAG_ESCAPES)


def encoded_tag(value: str) -> str:
    """The tag's value as the store keeps it and as it is asked for: without backslashes."""
    if "\\" in value or _ENCODED.search(value):
        return value.replace("%", "%25").replace("\\", "%5C")
    return value


def plain_tag(stored: str) -> str:
    r"""The value that `encoded_tag` made.

    >>> [plain_tag(encoded_tag(v)) for v in ("a\\", "50%", "%5C", "%25")]
    ['a\\', '50%', '%5C', '%25']
    """
    return stored.replace("%5C", "\\").replace("%25", "%") if "%" in stored else stored


def string(name: str, value: str, limit_bytes: int = MAX_STRING_BYTES) -> str:
    """A string field's value as it stands in a line, in its quotes.

    Raises:
        UnfitError: the value is too long or holds control characters.
    """
    if fault := fault_of(value, limit_bytes):
        raise UnfitError(f"the field {name} {fault}")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def field(name: str, value: Value) -> str | None:
    r"""A field's value as it stands in a line; None when it is left out.

    >>> field("a", 0.1), field("a", 3), field("a", True), field("a", 'say "hi"'), field("a", float("nan"))
    ('0.1', '3i', 'true', '"say \\"hi\\""', None)

    Raises:
        UnfitError: the number is infinite or no int64, or the text cannot be written.
    """
    if value is None or value != value:  # noqa: PLR0124  NaN
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if not _INT64.min <= value <= _INT64.max:
            raise UnfitError(f"the field {name} is beyond 64 bits")
        return f"{value}i"
    if isinstance(value, str):
        return string(name, value)
    if not isfinite(value):
        raise UnfitError(f"the field {name} is infinite")
    return repr(float(value))


def head(measurement: str, tags: Iterable[tuple[str, str | None]]) -> str:
    """Measurement and tags, up to the blank before the fields; a tag without a value is left out.

    Raises:
        UnfitError: a tag cannot be written, is named `time`, or stands twice, or all together are too long.
    """
    kept = [(name, value) for name, value in tags if value is not None]
    _distinct(name for name, _ in kept)
    written = "".join((measurement, *(f",{name}={tag(name, value)}" for name, value in kept)))
    if len(written.encode()) > MAX_SERIES_BYTES:
        raise UnfitError(f"the tags of a point of {measurement} are longer than {MAX_SERIES_BYTES} bytes together")
    return f"{written} "


def point(measurement: str, tags: Sequence[tuple[str, str | None]], fields: Sequence[tuple[str, Value]], time_ns: int) -> str:
    r"""One point as a line.

    >>> point("m", [("a", "x y")], [("f", 1.0), ("g", None)], 5)
    'm,a=x\\ y f=1.0 5'

    Raises:
        UnfitError: a value cannot be written, a name stands twice or is `time`, or no field is left.
    """
    written = [f"{name}={text}" for name, value in fields if (text := field(name, value)) is not None]
    if not written:
        raise UnfitError(f"a point of {measurement} has no field")
    _distinct([*(name for name, _ in tags), *(name for name, _ in fields)])
    return f"{head(measurement, tags)}{','.join(written)} {time_ns}"


def _distinct(names: Iterable[str]) -> None:
    """No name may stand twice, and `time` is the store's own: parsers accept both, and a value would be lost."""
    seen: set[str] = set()
    for name in names:
        if name in seen or name == "time":
            raise UnfitError(f"the name {name} stands twice" if name in seen else "a tag or field is named time")
        seen.add(name)
