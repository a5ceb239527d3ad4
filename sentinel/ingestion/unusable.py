"""Why a record cannot be an event: codes and details in our own words, never a quote of the record."""

import re
from typing import NamedTuple

import msgspec

from sentinel.core.errors import RejectCode, SentinelError

UNREADABLE = (ValueError, RecursionError)
"""What the JSON decoder raises: its own errors are ValueErrors, as is bad UTF-8; nesting that is too deep is not."""


class Reason(NamedTuple):
    """The code of a reject, and what is wrong and where."""

    code: RejectCode
    detail: str


class UnusableError(SentinelError):
    """This record or span cannot be an event."""

    def __init__(self, code: RejectCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.reason = Reason(code, detail)


class Budget:
    """How much of one record may be looked at. A few bytes can stand for much work; counting keeps hostile records cheap.

    Args:
        most: units of work.
        unit: what is counted, for people.
    """

    def __init__(self, most: int, unit: str) -> None:
        self._left = most
        self._detail = f"more than {most} {unit} in one record"

    def spend(self, count: int) -> None:
        """Take `count` units. Raises UnusableError (too_large) when fewer are left."""
        self._left -= count
        if self._left < 0:
            raise UnusableError(RejectCode.TOO_LARGE, self._detail)


_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "datetime": "RFC 3339 string"}
_PATH = re.compile(r" - at `\$\.?([^`]*)`$")
_EXPECTED = re.compile(r"^Expected `([^`]*)`, got `([^`]*)`")
_BYTE = re.compile(r"\(byte (\d+)\)$")


def reason_of(error: Exception, raw: bytes, within: str = "") -> Reason:
    """The reject that a decoder's error means.

    Args:
        error: one of `UNREADABLE` or an UnusableError.
        raw: what was being decoded, to tell NaN from other malformed JSON.
        within: where in the record `raw` stands; "" = it is the record.

    >>> reason_of(msgspec.ValidationError("Expected `float | null`, got `str` - at `$.latency_ms`"), b"")
    Reason(code=<RejectCode.WRONG_TYPE: 'wrong_type'>, detail='latency_ms: expected number, got string')
    """
    match error:
        case UnusableError():
            return error.reason
        case RecursionError():
            return Reason(RejectCode.TOO_DEEP, "nested too deep")
        case UnicodeDecodeError():
            return Reason(RejectCode.BAD_UTF8, "a string is not UTF-8")
        case msgspec.ValidationError():
            return _invalid(str(error), raw, within)
        case _:
            return _malformed(str(error), raw)


def _invalid(words: str, raw: bytes, within: str) -> Reason:
    """Well-formed JSON of the wrong shape. The decoder's path holds names of our own fields only."""
    found = _PATH.search(words)
    path = ".".join(part for part in (within, found[1] if found else "") if part)
    expected = _EXPECTED.match(words)
    if expected and not path:
        return _not_an_object(_named(expected[2]), raw)
    if expected:
        return Reason(RejectCode.WRONG_TYPE, f"{path}: expected {_named(expected[1])}, got {_named(expected[2])}")
    if "multiple of" in words:
        return Reason(RejectCode.WRONG_TYPE, f"{path}: expected whole number")
    if words.startswith("Object missing"):
        return Reason(RejectCode.MISSING_FIELD, f"{path}: a required name is missing")
    if path == "timestamp":
        return Reason(RejectCode.BAD_TIMESTAMP, "timestamp: neither RFC 3339 nor an epoch number")
    return Reason(RejectCode.OUT_OF_RANGE, f"{path}: number negative or too large")


def _not_an_object(got: str, raw: bytes) -> Reason:
    """The decoder gives up at the first byte of the wrong type: only the rest tells whether this is JSON at all."""
    try:
        msgspec.json.decode(raw, type=msgspec.Raw)
    except UNREADABLE as error:
        return reason_of(error, raw)
    return Reason(RejectCode.NOT_AN_OBJECT, f"expected object, got {got}")


def _named(types: str) -> str:
    names = [_TYPES.get(name, name) for name in types.split(" | ")]
    return " or ".join(name for name in names if name != "null" or len(names) == 1)


def _malformed(words: str, raw: bytes) -> Reason:
    found = _BYTE.search(words)
    if found is None:
        return Reason(RejectCode.MALFORMED_JSON, "not valid JSON: ends too early")
    at = int(found[1])
    if raw[at : at + 8].startswith((b"NaN", b"Infinity")):
        return Reason(RejectCode.OUT_OF_RANGE, f"NaN or Infinity at byte {at}")
    return Reason(RejectCode.MALFORMED_JSON, f"not valid JSON at byte {at}")
