"""What is kept of the free-form parts of an event: metadata and errors."""

import math
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final

import re2

from sentinel.ingestion.patterns import options
from sentinel.ingestion.redact import WHOLE, Counts, Redactor, encoded

Scalar = str | float | bool | None

MAX_KEYS: Final = 64
MAX_KEY_CHARS: Final = 128
MAX_VALUE_CHARS: Final = 1_000
CACHE_ENTRIES: Final = 4_096

_MAX_INTEGER: Final = 1 << 63
_LONG_NUMBER: Final = 10**8
"""An integer from here on may be somebody's number."""

_PERSON: Final = (
    r"(?i)(?:^|[_.\- ])(?:users?|user[_.\-]?(?:id|name)|enduser[_.\-]?id|e?[_\-]?mail|email[_.\-]?address"
    r"|customer(?:[_.\-]?id)?|login|phone|phone[_.\-]?number"
    r"|(?:first|last|full|sur|given|family|display)[_.\-]?name|address|ip|ip[_.\-]?address|client[_.\-]?ip|remote[_.\-]?addr|ssn|iban|card[_.\-]?number"
    r"|date[_.\-]?of[_.\-]?birth|dob|birthday)$|user[_.\-]?(?:id|name|email)$|email$"
)
_CONFIDENTIAL: Final = (
    r"(?i)passw|passphrase|passcode|secret|credential|authorization|cookie|bearer|private[_.\-]?key|api[_.\-]?key|access[_.\-]?key"
    r"|(?:auth|access|refresh|id|session|api|bot)[_.\-]?token|^(?:token|auth|pwd|jwt)$|[_.\-](?:pwd|jwt)$"
)
_CONTENT: Final = (
    r"(?i)(?:^|[_.\- ])(?:prompts?|responses?|completions?|messages?|inputs?|outputs?|contents?|texts?|body|question|answer|query"
    r"|transcript|conversation|instructions?|(?:input|output)[_.\-]value|arguments|result)$"
)
_ERROR_TYPE: Final = r"^[A-Za-z0-9_.:\-]{1,64}$"
_ERROR_TYPES: Final = ("type", "code", "name", "status")
_ERROR_TEXTS: Final = ("message", "msg", "reason", "detail", "description")


class _Kind(Enum):
    PLAIN = auto()
    PERSON = auto()
    SECRET = auto()
    CONTENT = auto()


class MetadataRules:
    """Decides what is kept of an event's metadata. It holds a bounded cache of keys.

    Args:
        redactor: the rules for texts.
        pseudonym: replaces the value of a key that names a person.
        keep_text: whether prompts and responses under their usual keys are kept, redacted.
    """

    def __init__(self, redactor: Redactor, pseudonym: Callable[[str], str], *, keep_text: bool) -> None:
        self._redactor = redactor
        self._pseudonym = pseudonym
        self._keep_text = keep_text
        self._keys: dict[str, tuple[str, _Kind, bool]] = {}
        self._plain: set[str] = set()
        self._kinds = [
            (_Kind.SECRET, re2.compile(_CONFIDENTIAL, options())),
            (_Kind.PERSON, re2.compile(_PERSON, options())),
            (_Kind.CONTENT, re2.compile(_CONTENT, options())),
        ]

    def kept(self, metadata: dict[str, Any], counts: Counts) -> tuple[dict[str, Scalar], bool, bool]:
        """The sanitized scalars of `metadata`, whether something was left out, and whether invisible characters were removed.

        What was found is added to `counts`.
        """
        kept: dict[str, Scalar] = {}
        trimmed = cleaned = False
        suspect = self._redactor.suspect([*metadata, *(value for value in metadata.values() if type(value) is str)])
        for key, value in metadata.items():
            if not suspect and key in self._plain and type(value) is str and len(value) <= MAX_VALUE_CHARS and len(kept) < MAX_KEYS:
                kept[key] = value  # the common case, in short
                continue
            if len(kept) >= MAX_KEYS:
                trimmed = True
                break
            if not (value is None or isinstance(value, (str, bool, int, float))) or not _representable(value):
                trimmed = True
                continue
            clean_key, kind, key_cut = self._key(key, counts)
            clean, value_cut, changed = self._value(kind, value, counts, suspect=suspect)
            trimmed |= key_cut or value_cut or clean_key in kept
            cleaned |= changed
            kept[clean_key] = clean
        return kept, trimmed, cleaned

    def _key(self, key: str, counts: Counts) -> tuple[str, _Kind, bool]:
        known = self._keys.get(key)
        if known is None:
            found: Counts = {}
            cut = len(key) > MAX_KEY_CHARS
            clean = self._redactor.text(self._redactor.cut(key, MAX_KEY_CHARS) if cut else key, found)[0]
            kind = next((kind for kind, pattern in self._kinds if pattern.search(encoded(key[:MAX_KEY_CHARS])) is not None), _Kind.PLAIN)
            known = (clean, kind, cut)
            if found:  # not remembered: each occurrence counts, and the key itself is somebody's
                for name, count in found.items():
                    counts[name] = counts.get(name, 0) + count
                return known
            if len(self._keys) >= CACHE_ENTRIES:
                self._keys.clear()
                self._plain.clear()
            self._keys[key] = known
            if known == (key, _Kind.PLAIN, False):
                self._plain.add(key)
        return known

    def _value(self, kind: _Kind, value: Scalar, counts: Counts, *, suspect: bool) -> tuple[Scalar, bool, bool]:
        """The clean value, whether it was cut, and whether invisible characters were removed."""
        if value is None or isinstance(value, bool) or value == "":
            return value, False, False
        if kind is _Kind.SECRET and isinstance(value, str):
            return WHOLE, False, False
        if kind is _Kind.PERSON:
            return value if value == WHOLE else self._pseudonym(str(value)), False, False
        if not isinstance(value, str):
            return self._number(value, counts), False, False
        return (WHOLE, False, False) if kind is _Kind.CONTENT and not self._keep_text else self._string(value, counts, suspect=suspect)

    def _string(self, value: str, counts: Counts, *, suspect: bool) -> tuple[str, bool, bool]:
        cut = len(value) > MAX_VALUE_CHARS
        if cut:
            value = self._redactor.cut(value, MAX_VALUE_CHARS)
        if not (suspect or cut):
            return value, False, False
        clean, cleaned = self._redactor.text(value, counts)
        return clean, cut, cleaned

    def _number(self, value: float, counts: Counts) -> float | str:
        """A long whole number is searched like a text: it may be a card."""
        if abs(value) < _LONG_NUMBER or value != int(value):
            return value
        text = str(int(value))
        clean, _ = self._redactor.text(text, counts)
        return value if clean == text else clean


def _representable(value: object) -> bool:
    """Whether a scalar survives JSON: finite, and within 64 bits."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or -_MAX_INTEGER <= value < _MAX_INTEGER


_SHORT: Final = re2.compile(_ERROR_TYPE, options())


def error_text(error: object) -> str | None:
    """What an error says: a text, a number, the type and message of an object, the first of a list; None for true and false.

    >>> error_text({"type": "timeout", "message": "no answer in 30 s"})
    'timeout: no answer in 30 s'
    """
    if isinstance(error, dict):
        type_ = next((str(error[name]) for name in _ERROR_TYPES if _is_text(error.get(name))), None)
        words = next((str(error[name]) for name in _ERROR_TEXTS if _is_text(error.get(name))), None)
        return ": ".join(part for part in (type_, words) if part) or None
    if isinstance(error, list):
        return next((text for text in map(_scalar_text, error) if text), None)
    return _scalar_text(error)


def short_error(error: object) -> str | None:
    """Only the type of an error: up to 64 letters, digits and `_.:-`; None when it is anything longer."""
    if isinstance(error, dict):
        error = next((error[name] for name in _ERROR_TYPES if _is_text(error.get(name))), None)
    text = _scalar_text(error)
    return text if text and _SHORT.search(encoded(text)) is not None else None


def _is_text(value: object) -> bool:
    return _scalar_text(value) is not None


def _scalar_text(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    return str(value).strip() or None
