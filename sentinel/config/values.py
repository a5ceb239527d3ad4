"""One scalar of the file as the value its key wants.

The key decides, not the look of the value: `topic: 2024` is text and `password: 0123` keeps its zero, so nothing is lost to YAML's guesses.
"""

import math
import re
from dataclasses import dataclass

from sentinel.config.secret import Secret
from sentinel.config.shape import Shape

Scalar = str | int | float | bool | Secret | None

_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]{0,2}(_[0-9]{3}){0,5}|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9_]{0,24})?(\.[0-9]{1,24})?([eE][-+]?[0-9]{1,3})?")
_NULLS = {"~", "null", "Null", "NULL"}
_BOOLS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True, repr=False)
class ScalarText:
    """A scalar as it stands in the file, variables expanded.

    Attributes:
        text: its characters.
        plain: it stands there without quotes and is no block text.
        typed: its look may be read as a number or a boolean: it is plain, or it came from the environment.
    """

    text: str
    plain: bool
    typed: bool

    @property
    def is_empty(self) -> bool:
        """Nothing stands behind the colon."""
        return self.plain and not self.text

    @property
    def is_null(self) -> bool:
        """It says null."""
        return self.plain and self.text in _NULLS


class MisfitError(Exception):
    """The scalar is not what the key wants.

    Attributes:
        what: what is wrong when the shape's own sentence would not say it; None otherwise.
        suggestion: what to do; None when there is nothing to add.
    """

    def __init__(self, what: str | None = None, suggestion: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.suggestion = suggestion


def read_scalar(scalar: ScalarText, shape: Shape) -> Scalar:
    """The value of a scalar under a key of this shape; the limits are not checked here.

    Raises:
        MisfitError: it cannot be one; the error never holds the value.
    """
    if shape.nullable and (scalar.is_null or scalar.is_empty):
        return None
    if shape.kind in {"text", "secret", "choice"}:
        return _read_text(scalar, shape)
    if shape.kind in {"list", "section", "named"}:
        raise MisfitError
    if not scalar.typed:
        raise MisfitError(suggestion="Remove the quotes.")
    return _read_typed(scalar.text.strip(), shape)


def checked_secret(text: str) -> Secret:
    """A secret without the line end that files and block texts leave behind.

    Raises:
        MisfitError: it is empty, stars, or holds a control character or a line break.
    """
    stripped = text.rstrip("\r\n")
    if not stripped:
        raise MisfitError("is empty", "Give the secret, or remove the key.")
    if stripped == Secret.MASK:
        raise MisfitError("is the stars that `sentinel config show` prints", "Give the secret itself.")
    if _CONTROL.search(stripped):
        raise MisfitError("holds a line break or a control character", "A secret is one line of text.")
    return Secret(stripped)


def _read_text(scalar: ScalarText, shape: Shape) -> str | Secret:
    if shape.kind == "secret":
        return checked_secret(scalar.text)
    if scalar.is_null or scalar.is_empty:
        raise MisfitError
    if _CONTROL.search(scalar.text):
        raise MisfitError("holds a line break or a control character", "Write it on one line.")
    if shape.kind == "choice" and scalar.text not in shape.choices:
        raise MisfitError
    return scalar.text


def _read_typed(text: str, shape: Shape) -> int | float | bool:
    if shape.kind == "bool":
        if text.lower() not in _BOOLS:
            raise MisfitError
        return _BOOLS[text.lower()]
    if _WHOLE.fullmatch(text):
        return int(text.replace("_", ""))
    if shape.kind == "number" and text and _NUMBER.fullmatch(text):
        return _finite(text)
    raise MisfitError


def _finite(text: str) -> float:
    """The number; an overflow to infinity is refused like any other misfit."""
    try:
        number = float(text)
    except ValueError:
        raise MisfitError from None
    if not math.isfinite(number):
        raise MisfitError
    return number
