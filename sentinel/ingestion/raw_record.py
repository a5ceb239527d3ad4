"""The readable, redacted form of a record that cannot be an event. The record may be anything: malformed, cut off, binary."""

from collections.abc import Callable
from typing import Final

import re2

from sentinel.ingestion.patterns import options

BINARY: Final = "[BINARY]"

# Keys whose values are texts or people, in all dialects; `stringValue` holds any attribute of OTLP JSON.
_KEYS: Final = (
    "user_?id|user|users|user_?name|enduser|email|customer_?id|session_?id|prompts?|prompt_?text|response|responses|response_?text|text|texts|content"
    "|contents|inputs?|outputs?|messages?|completions?|question|answer|query|instructions?|system|parts|arguments|result|body|value|values|string_?value"
    "|bytes_?value|int_?value|(?:prompt_?|response_?)?(?:embeddings?|sketch|vectors?)|password|passwd|pwd|secret|token|api_?key|authorization|cookie|credentials?"
)
_KEY: Final = rf"(?i)(?:^|[^\w])(?:[\w\-]{{0,64}}\.){{0,8}}(?:{_KEYS}|enduser\.id|user\.id)\\*[\"']?\s{{0,64}}[:=]\s{{0,64}}"
_SCALAR: Final = r"(?s)^(?:\\+\"[^\"]*\"?|\"(?:[^\"\\]|\\.)*(?:\"|\\?\z)|'(?:[^'\\]|\\.)*(?:'|\\?\z)|[^\s,}\]&]+)"
_TOKENS: Final = r"(?s)\"(?:[^\"\\]|\\.)*(?:\"|\\?\z)|[{}\[\]]"
_ESCAPE: Final = r"\\+(?:u[0-9A-Fa-f]{4}|[\"/bfnrt\\])"
_PLAIN_ESCAPES: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b" ", b"f": b" "}


class RawRecord:
    """Turns raw bytes into a text that is safe to keep.

    Args:
        redacted: removes personal data and secrets from a text.
        max_chars: characters kept.
    """

    def __init__(self, redacted: Callable[[str], str], max_chars: int) -> None:
        self._redacted = redacted
        self._max_chars = max_chars
        self._window = 4 * max_chars + 4_096
        self._key = re2.compile(_KEY, options())
        self._scalar = re2.compile(_SCALAR, options())
        self._tokens = re2.compile(_TOKENS, options())
        self._escape = re2.compile(_ESCAPE, options())

    def text(self, raw: bytes | None) -> str:
        """The record without texts, people and secrets, on one line of printable characters, cut to `max_chars`.

        A binary record is not shown at all: nothing tells its texts from its numbers.
        """
        if not raw or not self._max_chars:
            return ""
        window = raw[: self._window]
        if _binary(window):
            return BINARY
        text = window.decode("utf-8", "replace")
        if len(raw) > len(window):
            text = text[: _last_token(text)]
        # Patterns come first, while a value still stands behind its key, and once more behind the escapes that may have hidden one.
        raw_text = self._without_values(self._redacted(text).encode("utf-8", "replace"))
        text = self._escape.sub(_unescaped, raw_text).decode("utf-8", "replace")
        return _on_one_line(self._redacted(text))[: self._max_chars]

    def _without_values(self, raw: bytes) -> bytes:
        """The text with the value of every key in `_KEYS` replaced; a value that does not end goes to the end."""
        pieces: list[bytes] = []
        at = 0
        while (match := self._key.search(raw, at)) is not None:
            end = self._value_end(raw, match.end())
            pieces.append(raw[at : match.end()])
            if end > match.end():
                pieces.append(b'"[REDACTED]"')
            at = max(end, match.end())
        pieces.append(raw[at:])
        return b"".join(pieces)

    def _value_end(self, raw: bytes, start: int) -> int:
        if raw[start : start + 1] in {b"{", b"["}:
            return self._container_end(raw, start)
        match = self._scalar.match(raw[start:])
        return start if match is None else start + match.end()

    def _container_end(self, raw: bytes, start: int) -> int:
        depth = 0
        for match in self._tokens.finditer(raw, start):
            sign = match.group()
            depth += sign in {b"{", b"["}
            depth -= sign in {b"}", b"]"}
            if depth <= 0:
                return match.end()
        return len(raw)


def _binary(raw: bytes) -> bool:
    """Whether the record is no text: it holds control characters and does not begin like JSON."""
    return raw.lstrip()[:1] not in {b"{", b"[", b'"'} and any(byte < 32 and byte not in b"\t\n\r" for byte in raw)


def _last_token(text: str) -> int:
    at = len(text)
    while at and not text[at - 1].isspace() and text[at - 1] not in ',"':
        at -= 1
    return at


def _unescaped(match: "re2.Match") -> bytes:
    """The character a JSON escape stands for, however often it was escaped: a pattern must see what a reader would."""
    escape = match.group().lstrip(b"\\") or b"\\"
    if len(escape) == 5:
        return chr(int(escape[1:], 16)).encode("utf-8", "replace")
    return _PLAIN_ESCAPES.get(escape, escape)


def _on_one_line(text: str) -> str:
    """Line ends, controls and invisible characters as escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in text)
