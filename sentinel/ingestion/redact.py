"""Texts and identifiers without personal data and secrets: the rules of `patterns` applied until nothing is left to find."""

from collections.abc import Sequence
from typing import Final

import re2

from sentinel.ingestion.patterns import BUILT_IN, Finder, FoundSpan, Rule, options, redact

Counts = dict[str, int]

PASSES: Final = 8
"""Redacting one span can uncover another next to it. A text that still shows something after this many passes is replaced as a whole."""

LOOKAHEAD_CHARS: Final = 256
"""A text is searched this far beyond its cut, so that a secret that the cut would split is seen whole."""

WHOLE: Final = "[REDACTED]"

# Invisible characters: C0 and C1 controls but tab and line ends, soft hyphen, zero-width and bidirectional controls, lone surrogates. They
# forge log lines and hide secrets from patterns. Full-width letters and digits become plain ones for the second reason.
_INVISIBLE: Final = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{9f}\x{ad}\x{200b}\x{200e}\x{200f}\x{202a}-\x{202e}\x{2060}-\x{2069}\x{feff}]"
_IN_TEXT: Final = _INVISIBLE[:-1] + r"\x{ff10}-\x{ff19}\x{ff20}-\x{ff3a}\x{ff41}-\x{ff5a}]"
_IN_IDENTIFIER: Final = r"[\pC\p{Zl}\p{Zp}]"


class Redactor:
    """All built-in rules and the configured ones, compiled once.

    Args:
        configured: the rules of `sanitize_patterns`, `sentinel.ingestion.patterns.configured`.
    """

    def __init__(self, configured: Sequence[Rule]) -> None:
        rules = (*BUILT_IN, *configured)
        self._texts = Finder(rules, _IN_TEXT)
        self._identifiers = Finder([rule for rule in rules if not rule.text_only], _IN_IDENTIFIER)
        self._wide = re2.compile(f"{_IN_TEXT}+", options())
        self._unprintable = re2.compile(f"{_IN_IDENTIFIER}+", options())

    def text(self, text: str, counts: Counts) -> tuple[str, bool]:
        """The redacted text, and whether invisible characters were removed. What was found is added to `counts`.

        Redacting a redacted text changes nothing. A text without findings costs one pass of the automaton.
        """
        raw = encoded(text)
        hits = self._texts.gate(raw)
        if hits is None:
            return text, False
        return self._until_clean(self._texts, self._wide, raw, hits, counts)

    def count(self, text: str, counts: Counts) -> None:
        """Add to `counts` what a text holds that is not going to be kept."""
        raw = encoded(text)
        hits = self._texts.gate(raw)
        if hits is not None:
            _add(counts, self._texts.spans(raw, hits))

    def find(self, text: str) -> list[tuple[int, int, str]]:
        """What one pass finds: spans in characters, in order, without overlaps."""
        raw = encoded(text)
        hits = self._texts.gate(raw)
        spans = [] if hits is None else self._texts.spans(raw, hits)
        return spans if len(raw) == len(text) else [(_chars(raw, start), _chars(raw, end), name) for start, end, name in spans]

    def suspect(self, texts: Sequence[str]) -> bool:
        """Whether any of many short texts may hold something: one pass over them all."""
        return self._texts.gate(encoded("\n \n".join(texts))) is not None

    def suspect_identifiers(self, identifiers: bytes) -> bool:
        """The same for identifiers, in UTF-8 and joined by spaces: no number-shaped rules, but no unprintable characters either."""
        return self._identifiers.gate(identifiers) is not None

    def identifier(self, identifier: str, counts: Counts) -> str:
        """An identifier or name without secrets and unprintable characters. Ids made of digits survive."""
        raw = encoded(identifier)
        hits = self._identifiers.gate(raw)
        if hits is None:
            return identifier
        return self._until_clean(self._identifiers, self._unprintable, raw, hits, counts)[0]

    def cut(self, text: str, limit: int) -> str:
        """At most `limit` characters of the text, fewer where the cut would split a secret or a token too long to be seen whole."""
        window = _replaced(self._wide, encoded(text[: limit + LOOKAHEAD_CHARS])).decode()
        if len(window) <= limit and len(text) <= limit + LOOKAHEAD_CHARS:
            return window
        at = min(limit, len(window))
        if len(text) > limit + LOOKAHEAD_CHARS:
            token = len(window)
            while token and "!" <= window[token - 1] <= "~":
                token -= 1
            at = min(at, token)
        for start, end, _ in self.find(window):
            if start < at < end:
                at = start
        return window[:at]

    @staticmethod
    def _until_clean(finder: Finder, unwanted: "re2.Pattern", raw: bytes, hits: list[int] | None, counts: Counts) -> tuple[str, bool]:
        cleaned = False
        for _ in range(PASSES):
            if hits is None:
                return raw.decode(), cleaned
            if finder.unwanted in hits:
                raw, cleaned = _replaced(unwanted, raw), True
                hits = finder.gate(raw)
                continue
            spans = finder.spans(raw, hits)
            if not spans:
                return raw.decode(), cleaned
            _add(counts, spans)
            raw = redact(raw, spans)
            hits = finder.gate(raw)
        return WHOLE, cleaned


def encoded(text: str) -> bytes:
    """The text as UTF-8; lone surrogates, which JSON can smuggle in, become question marks."""
    return text.encode("utf-8", "replace")


def _replaced(unwanted: "re2.Pattern", raw: bytes) -> bytes:
    """`raw` without its unwanted characters; full-width letters and digits become plain ones."""
    return unwanted.sub(_plain, raw)


def _plain(match: "re2.Match") -> bytes:
    return bytes(ord(char) - 0xFEE0 for char in match.group().decode() if "\uff01" <= char <= "\uff5e")


def _chars(raw: bytes, at: int) -> int:
    return len(raw[:at].decode())


def _add(counts: Counts, spans: Sequence[FoundSpan]) -> None:
    for _, _, name in spans:
        counts[name] = counts.get(name, 0) + 1
