"""What personal data and secrets look like, and the search for them in time linear in the text.

All expressions run on google-re2 over UTF-8 bytes. One `re2.Set` automaton reads a text once and tells which rules can match at all; only
these search for their spans, and a check (`sentinel.ingestion.checks`) decides about each candidate. Most texts end at the automaton.

To add a type: write a `Rule`, give it positive and negative examples in `tests/ingestion/test_patterns.py`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import re2

from sentinel.ingestion import checks
from sentinel.ingestion.key_formats import KEY_FORMATS

FoundSpan = tuple[int, int, str]

GATE_BYTES: Final = 32 << 20
"""Room of a gate's states; beyond it RE2 starts its state cache anew and stays linear. A single expression has RE2's usual 8 MiB."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern of one type.

    Attributes:
        type: what is found, as in the mark that replaces it: `[EMAIL]`.
        pattern: RE2 expression; the span is group 1 where it has one, else the whole match.
        gate: a cheaper expression that matches wherever `pattern` does; `pattern` itself when None.
        check: decides about a candidate; None = every match counts.
        text_only: not searched in identifiers, which are full of digits that look like numbers of people, and may be addresses.
        look_again: after a refused candidate, search on from its second character instead of its end. Only for patterns with bounded
            matches, so that the search stays linear.
        weak: it names a span only where no other rule found anything in it.
    """

    type: str
    pattern: str
    gate: str | None = None
    check: checks.Check | None = None
    text_only: bool = False
    look_again: bool = False
    weak: bool = False


# A number starts at a word boundary or behind the "\n" of a JSON text within a text.
_EDGE: Final = r"(?:\b|\\[nrt])"
# Space, hyphen and their typographic kin.
_GAP: Final = r"[ \-\x{a0}\x{2009}\x{202f}\x{2010}-\x{2013}]"
_GAP_OR_DOT: Final = r"[ .\-\x{a0}\x{2009}\x{202f}\x{2010}-\x{2013}]"

_EMAIL: Final = r"[\pL\pN](?:[\pL\pN._%+'\-]*)(?:@|%40)[\pL\pN](?:[\pL\pN\-]*)(?:\.[\pL\pN\-]+)*\.(?:\pL{2,24}|xn--[a-z0-9\-]{2,50})"
_CARD: Final = rf"{_EDGE}[1-6]\d{{3}}(?:\d{{8,15}}|{_GAP_OR_DOT}\d{{2,7}}(?:{_GAP_OR_DOT}\d{{2,7}}){{1,3}})\b"
_IBAN: Final = rf"\b[A-Z]{{2}}\d{{2}}(?:[A-Z0-9]{{11,30}}|(?:{_GAP}[A-Z0-9]{{4}}){{2,7}}(?:{_GAP}[A-Z0-9]{{1,4}})?)\b"
_SSN: Final = rf"{_EDGE}\d{{3}}{_GAP_OR_DOT}\d{{2}}{_GAP_OR_DOT}\d{{4}}\b"
_OCTET: Final = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4: Final = rf"{_EDGE}{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}\b"
_HEXTETS: Final = r"[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,7}"
_IPV6: Final = rf"(?:{_HEXTETS})?::(?:{_HEXTETS}(?::{_IPV4[len(_EDGE) :]})?)?|[0-9A-Fa-f]{{1,4}}(?::[0-9A-Fa-f]{{1,4}}){{7}}"

_EXTENSION: Final = r"(?:[ ,]{0,2}(?:x|ext\.?|#) ?\d{1,6})?"
_INTERNATIONAL: Final = (
    rf"(?:\+|{_EDGE}00)[1-9]\d{{0,2}}{_GAP_OR_DOT}?(?:\(\d{{1,5}}\){_GAP_OR_DOT}?)?\d{{1,12}}(?:(?:{_GAP_OR_DOT}|/)\d{{2,8}}){{0,6}}"
)
_NORTH_AMERICAN: Final = (
    rf"(?:{_EDGE}1{_GAP_OR_DOT}?)?\([2-9]\d{{2}}\) ?\d{{3}}{_GAP_OR_DOT}?\d{{4}}"
    rf"|{_EDGE}(?:1{_GAP_OR_DOT})?[2-9]\d{{2}}{_GAP_OR_DOT}\d{{3}}{_GAP_OR_DOT}\d{{4}}"
    rf"|{_EDGE}[2-9]\d{{2}}{_GAP}\d{{7}}|{_EDGE}[2-9]\d{{9}}"
)
_BRACKETED: Final = rf"\([1-9]\d{{1,4}}\){_GAP}?\d{{2,4}}(?:{_GAP}\d{{2,4}}){{1,3}}"
_TRUNK_ZERO: Final = (
    rf"(?:{_EDGE}0[1-9]\d{{0,4}}|\(0\d{{1,5}}\))(?:[ /\-\x{{a0}}\x{{2010}}-\x{{2013}}]{{0,2}}\d{{2,9}}){{0,4}}|{_EDGE}0\d(?:\.\d\d){{4}}"
)
_THREES: Final = rf"{_EDGE}[1-9]\d{{2}}{_GAP}\d{{3}}{_GAP}\d{{3}}"
_PHONE: Final = rf"(?:{_INTERNATIONAL}|{_NORTH_AMERICAN}|{_BRACKETED}|{_TRUNK_ZERO}|{_THREES}){_EXTENSION}\b"
_PHONE_GATE: Final = (
    rf"\+[1-9]\d{{0,2}}.?[(\d]|\(\d{{2,6}}\).?.?\d|{_EDGE}00[1-9]\d|\d\d{_GAP_OR_DOT}\d{{2,4}}{_GAP_OR_DOT}\d{{2,4}}"
    rf"|{_EDGE}0[1-9]\d{{0,4}}[ /\-\x{{a0}}\x{{2010}}-\x{{2013}}]{{0,2}}\d{{2}}|{_EDGE}[2-9]\d{{9}}|{_EDGE}[2-9]\d{{2}}{_GAP}\d{{7}}"
)
# A word for a telephone and what may stand between it and the number, or a verb and a few words more ("call me at").
_PHONE_WORD: Final = (
    r"(?i)(?:\b(?:phone|telephone|tel|mobile|cell|cellphone|fax|whatsapp|dial|sms)\b\.?[^\d+(.;!?]*(?:n[or]\.)?[^\d+(.;!?]*"
    r"|\b(?:call|text|ring|reach|contact|answer)(?:ed|ing)?(?: [a-z]+){0,3}[:,]? ?)"
)
_LOOSE_NUMBER: Final = r"\+?\(?\d[\d ().\-/\x{a0}\x{2010}-\x{2013}]{5,20}\d"
_PHONE_IN_CONTEXT: Final = rf"{_PHONE_WORD}({_LOOSE_NUMBER})\b"
# Gates must not count characters between two finds: each count would be a state of the automaton.
_PHONE_IN_CONTEXT_GATE: Final = rf"{_PHONE_WORD}[+(]{{0,2}}\d[\d ().\-\x{{a0}}\x{{2010}}-\x{{2013}}]{{5}}"
_PLACE: Final = r"[ \-]{1,2}\(?(?:office|home|work|mobile|cell|fax|tel|direct)\b"
_PHONE_BEFORE_WORD: Final = rf"(?i)({_LOOSE_NUMBER}){_PLACE}"
_CARD_IN_CONTEXT: Final = r"(?i)\b(?:card|cc|visa|mastercard|amex|maestro)\b[^\d\n]{0,30}(\d[\d \-]{10,22}\d)\b"
_CARD_IN_CONTEXT_GATE: Final = r"(?i)\b(?:card|cc|visa|mastercard|amex|maestro)\b[^\d\n]*\d[\d \-]{10}"
_SSN_IN_CONTEXT: Final = r"(?i)\b(?:ssn|social security)\b[^\d\n]{0,30}(\d{9})\b"

_SSN_IN_CONTEXT_GATE: Final = r"(?i)\b(?:ssn|social security)\b[^\d\n]*\d{9}"

_URL: Final = r"(?i)\b(?:https?|ftp)://[^\s\"'<>`|\\^{}]+|\bwww\.[a-z0-9\-]{1,63}\.[^\s\"'<>`|\\^{}]+"
_URL_CREDENTIALS: Final = r"[A-Za-z][A-Za-z0-9+.\-]*://([^\s/?#@\"'<>]{1,256})@"
_PRIVATE_KEY: Final = (
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[\s\S]*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\z)"
    r"|PuTTY-User-Key-File-[\s\S]*?(?:Private-MAC: *[0-9a-f]+|\z)"
)
_JWT: Final = r"\beyJ[A-Za-z0-9_=\-]{8,}\.[A-Za-z0-9_=\-]{2,}(?:\.[A-Za-z0-9_=\-]*){0,3}"
_HEADER: Final = r"(?i)\bauthorization\\*[\"']?\s{0,4}[:=]\s{0,4}\\*[\"']?(?:[a-z]{2,16} )?"
_CREDENTIAL: Final = r"[A-Za-z0-9\-._~+/=:]"
_BEARER: Final = rf"(?i)\bbearer[ :=]{{1,4}}\\*[\"']?({_CREDENTIAL}{{8,}})"
_BASIC: Final = r"\b[Bb]asic +([A-Za-z0-9+/]{6,}={0,2})"
_COOKIE: Final = r"(?i)\b(?:set-)?cookie\\*[\"']?: {0,4}\\*[\"']?([^\s\"']+=[^\r\n\"']+)"

_WORDS: Final = ("password", "passwd", "pwd", "passphrase", "passcode", "passwort", "contraseña", "mot de passe")
_KEY_WORDS: Final = (
    "api_key", "auth_token", "access_token", "refresh_token", "private_token", "client_secret", "secret_key", "access_key", "account_key",
    "encryption_key", "signing_key",
)  # fmt: skip
# What stands between a key and its value: `=`, `: `, `":"`, `=>`, `>` of XML.
_SUFFIX: Final = r"(?:s|\d{1,3}|[_\-.][\w\-]{1,20})?"
_BETWEEN: Final = r"(?:\\*[\"'`]?\s{0,4}(?::=|=>|==?|:)\s{0,4}|>)"
_VALUE: Final = r"(\\+\"[^\"\\]+|\"(?:[^\"\\]|\\.)+\"?|'(?:[^'\\]|\\.)+'?|`[^`]+`?|(?:[^\s\"'`,;&<]|,[^\s\"'`,;&<])+)"
_RANDOM_KEY: Final = (
    r"(?:token|secret|credentials?|auth|passw|session_?id|connection_?string"
    r"|(?:api|access|secret|private|auth|account|encrypt(?:ion)?|signing|master|storage|shared|subscription|service|app|application|consumer"
    r"|license|client|deploy|webhook|bot|ssh|rsa|hmac|aes|root|admin)[_\-. ]?key)"
)
_RANDOM_VALUE: Final = r"(\\*[\"'`]?[A-Za-z0-9_\-./+=~!@#$%^*:]{16,})"
_SIGNATURE: Final = (
    r"[?&](?:sig|signature|X-Amz-Signature|X-Amz-Security-Token|X-Goog-Signature|access_token|auth|token|key|code)="
    r"([A-Za-z0-9%+/=_\-.~]{16,})"
)


def _pairs(words: Iterable[str], name: str, check: checks.Check) -> tuple[Rule, ...]:
    """The rules for the values of keys that hold one of `words`: `db_password=x`, `"api_key": "x"`, `secret: x`, `--token x`."""
    any_word = "(?:" + "|".join(_word(word) for word in words) + ")"
    pair = rf"(?i){any_word}{_SUFFIX}{_BETWEEN}"
    option = rf"(?i)--[\w\-]{{0,20}}{any_word}[\w\-]{{0,20}}[ =]"
    return (
        Rule(name, pair + _VALUE, gate=pair, check=check),
        Rule(name, rf"{option} {{0,4}}{_VALUE}", gate=option, check=check),
    )


def _word(word: str) -> str:
    """The expression of a key: `api_key` stands for `api-key`, `apiKey` and `api key` as well."""
    parts = word.replace("-", "_").replace(" ", "_").split("_")
    return r"[_\-. ]?".join(re2.escape(part) for part in parts if part)


def is_plain_word(pattern: str) -> bool:
    """Whether a configured pattern is a key's name rather than an RE2 expression."""
    return pattern.replace("_", "").replace("-", "").replace(" ", "").isalnum()


_KEYS: Final = r"\b(?:" + "|".join(KEY_FORMATS) + ")"
_KEY_VALUE_RANDOM: Final = rf"(?i){_RANDOM_KEY}{_SUFFIX}{_BETWEEN}"
_SPOKEN: Final = r"(?i)\b(?:password|passphrase|passcode|pass phrase|pin|secret|token|api key) (?:is|was|will be|to)\b"

BUILT_IN: Final[tuple[Rule, ...]] = (
    Rule("PRIVATE_KEY", _PRIVATE_KEY, gate=r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY|PuTTY-User-Key-File-"),
    Rule("API_KEY", _KEYS, check=checks.whole_token),
    Rule("JWT", _JWT),
    Rule("AUTH_HEADER", rf"{_HEADER}({_CREDENTIAL}{{6,}})", gate=_HEADER, check=checks.credential),
    Rule("AUTH_HEADER", _BEARER, check=checks.credential),
    Rule("AUTH_HEADER", _BASIC, check=checks.basic_auth),
    Rule("AUTH_HEADER", _COOKIE),
    Rule("URL_CREDENTIALS", _URL_CREDENTIALS, gate=r"://[^\s/?#@\"'<>]{1,256}@"),
    Rule("SECRET", _SIGNATURE, check=checks.random_value),
    *_pairs(_WORDS, "PASSWORD", checks.value),
    *_pairs(_KEY_WORDS, "SECRET", checks.spoken_value),
    Rule("PASSWORD", rf"{_SPOKEN} {{0,4}}:? {{0,4}}{_VALUE}", gate=_SPOKEN, check=checks.spoken_value),
    Rule("SECRET", _KEY_VALUE_RANDOM + _RANDOM_VALUE, check=checks.random_value),
    Rule("EMAIL", _EMAIL, gate=r"[\pL\pN._%+'\-](?:@|%40)[\pL\pN]"),
    Rule("CREDIT_CARD", _CARD, check=checks.card, text_only=True, look_again=True),
    Rule("CREDIT_CARD", _CARD_IN_CONTEXT, gate=_CARD_IN_CONTEXT_GATE, check=checks.card_in_context, text_only=True, look_again=True),
    Rule("IBAN", _IBAN, check=checks.iban, look_again=True),
    Rule("IBAN", f"(?i){_IBAN}", check=checks.iban, text_only=True, look_again=True),  # small letters, as in hexadecimal ids
    Rule("US_SSN", _SSN, check=checks.ssn, text_only=True, look_again=True),
    Rule("US_SSN", _SSN_IN_CONTEXT, gate=_SSN_IN_CONTEXT_GATE, check=checks.ssn, text_only=True),
    Rule("IP_ADDRESS", _IPV4, check=checks.ipv4, text_only=True),
    Rule("IP_ADDRESS", _IPV6, gate=r"[0-9A-Fa-f]::|::[0-9A-Fa-f]|(?:[0-9A-Fa-f]{1,4}:){7}", check=checks.ipv6, text_only=True),
    Rule("PHONE", _PHONE, gate=_PHONE_GATE, check=checks.phone, text_only=True, look_again=True),
    Rule("PHONE", _PHONE_IN_CONTEXT, gate=_PHONE_IN_CONTEXT_GATE, check=checks.phone_in_context, text_only=True, look_again=True),
    Rule("PHONE", _PHONE_BEFORE_WORD, gate=rf"(?i)\d{_PLACE}", check=checks.phone_in_context, text_only=True, look_again=True),
    Rule("URL", _URL, check=checks.sentence_end, text_only=True, weak=True),
)


def configured(patterns: Sequence[str]) -> tuple[Rule, ...]:
    """The rules of `ingestion.parsing.sanitize_patterns`.

    Plain words are keys whose values are removed (type SECRET); everything else is an RE2 expression whose matches are (type CUSTOM).

    Raises:
        ValueError: a pattern is empty, is not RE2 or matches the empty text; names the pattern and the cure.
    """
    words = [pattern for pattern in patterns if is_plain_word(pattern)]
    rules = list(_pairs(words, "SECRET", checks.value)) if words else []
    for pattern in patterns:
        if pattern not in words:
            _refuse_unusable(pattern)
            rules.append(Rule("CUSTOM", f"(?:{pattern})"))
    return tuple(rules)


# Behind an even number of backslashes, and outside of [...].
_ANCHOR: Final = re.compile(r"\A(?:[^\\\[^$]|\\[^Az]|(?>\[\^?\]?(?:[^\]\\]|\\.)*\]))*(?:[$^]|\\[Az])")


def _refuse_unusable(pattern: str) -> None:
    place = f"ingestion.parsing.sanitize_patterns: {pattern!r}"
    try:
        compiled = re2.compile(f"(?:{pattern})", options())
    except re2.error as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise ValueError(f"{place} is not an RE2 expression ({reason}); look-around and back-references do not exist there") from None
    if _ANCHOR.search(pattern):
        raise ValueError(
            f"{place} is anchored (^, $, \\A or \\z), but texts are searched many at a time; write \\b where a word begins or ends"
        )
    if compiled.search(b"") is not None:
        raise ValueError(
            f"{place} matches the empty text, so it would match everywhere; write a word or an expression that needs a character"
        )


def options(memory_bytes: int = 8 << 20) -> re2.Options:
    """The options of every expression: quiet, UTF-8, bounded memory."""
    chosen = re2.Options()
    chosen.log_errors = False
    chosen.max_mem = memory_bytes
    return chosen


class Finder:
    """A compiled set of rules.

    Attributes:
        rules: in order of priority: of two equally long overlapping spans the earlier rule names the type.
        unwanted: the number by which `gate` tells of characters that must not be there.
    """

    def __init__(self, rules: Sequence[Rule], unwanted: str) -> None:
        self.rules = tuple(rules)
        self.unwanted = len(self.rules)
        self._searches = [re2.compile(rule.pattern, options()) for rule in self.rules]
        self._groups = [
            min(search.groups, 1) if rule.type != "CUSTOM" else 0 for rule, search in zip(self.rules, self._searches, strict=True)
        ]
        self._gate = gate_of([*(rule.gate or rule.pattern for rule in self.rules), unwanted])
        self._marks = re2.compile(r"\[(?:" + "|".join(sorted({rule.type for rule in self.rules} | {"REDACTED"})) + r")\]", options())

    def gate(self, raw: bytes) -> list[int] | None:
        """The numbers of the rules that can match; None, as for most texts, when none can. About 2 ns a byte."""
        return self._gate.Match(raw)

    def spans(self, raw: bytes, hits: Iterable[int]) -> list[FoundSpan]:
        """What the rules `hits` find: byte spans with their types, in order, without overlaps.

        Overlapping spans become one, named after the longest. Marks of an earlier redaction are left alone.
        """
        found = [(start, end, number) for number in hits if number != self.unwanted for start, end in self._of_rule(number, raw)]
        if found and b"[" in raw:
            found = self._without_marks(raw, found)
        return self._united(sorted(found))

    def _of_rule(self, number: int, raw: bytes) -> Iterable[tuple[int, int]]:
        rule, search, group = self.rules[number], self._searches[number], self._groups[number]
        at = 0
        while (match := search.search(raw, at)) is not None:
            start, end = match.span(group)
            if rule.text_only and raw[start] == 92:  # the "\n" before a number
                start += 2
            span = (start, end) if rule.check is None else rule.check(raw, start, end)
            if span is not None:
                yield span
                at = max(span[1], match.start() + 1)
            else:
                at = match.start() + 1 if rule.look_again else max(end, match.start() + 1)

    def _without_marks(self, raw: bytes, found: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        """`found` without the spans in which nothing but marks and signs would be redacted."""
        marks = [match.span() for match in self._marks.finditer(raw)]
        return [span for span in found if self._holds_more(raw, span, marks)] if marks else found

    @staticmethod
    def _holds_more(raw: bytes, span: tuple[int, int, int], marks: list[tuple[int, int]]) -> bool:
        start, end, _ = span
        at = start
        for mark_start, mark_end in marks:
            if mark_start < end and start < mark_end:
                if any(chr(byte).isalnum() for byte in raw[at:mark_start]):
                    return True
                at = max(at, mark_end)
        return any(chr(byte).isalnum() for byte in raw[at:end])

    def _united(self, found: list[tuple[int, int, int]]) -> list[FoundSpan]:
        united: list[FoundSpan] = []
        longest = (False, 0, 0)
        for start, end, number in found:
            rank = (not self.rules[number].weak, end - start, -number)
            if united and start < united[-1][1]:
                last_start, last_end, last_type = united[-1]
                united[-1] = (last_start, max(last_end, end), self.rules[number].type if rank > longest else last_type)
                longest = max(longest, rank)
            else:
                united.append((start, end, self.rules[number].type))
                longest = rank
        return united


def gate_of(patterns: Iterable[str]) -> re2.Set:
    """One automaton over all `patterns`; its `Match` gives the numbers of those that occur."""
    gate = re2.Set.SearchSet(options(GATE_BYTES))
    for pattern in patterns:
        gate.Add(pattern)
    gate.Compile()
    return gate


def redact(raw: bytes, spans: Sequence[FoundSpan]) -> bytes:
    """`raw` with each span replaced by the mark of its type.

    >>> redact(b"write to a@b.org", [(9, 16, "EMAIL")])
    b'write to [EMAIL]'
    """
    pieces: list[bytes] = []
    at = 0
    for start, end, name in spans:
        pieces += (raw[at:start], b"[%b]" % name.encode())
        at = end
    pieces.append(raw[at:])
    return b"".join(pieces)
