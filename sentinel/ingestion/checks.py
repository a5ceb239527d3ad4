"""Checks that a pattern cannot express: checksums, numbering plans and what stands around a match.

A check gets the UTF-8 bytes and a candidate span; it returns the span to redact, which may be shorter, or None when the candidate is
something else. Its cost is linear in the length of the span.

Sources: ISO/IEC 7812 (Luhn), ISO 13616 and the SWIFT IBAN registry, SSA randomisation rules, ITU-T E.164, RFC 4291, RFC 7617.
"""

import binascii
import math
from base64 import b64decode
from collections import Counter
from collections.abc import Callable
from ipaddress import AddressValueError, IPv6Address
from typing import Final

Span = tuple[int, int]
Check = Callable[[bytes, int, int], Span | None]

_NOT_DIGITS: Final = bytes(sorted(set(range(256)) - set(b"0123456789")))
_NOT_ALPHANUMERIC: Final = bytes(byte for byte in range(256) if not chr(byte).isascii() or not chr(byte).isalnum())
_WORD: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")
_DIGITS: Final = frozenset(b"0123456789")
_DOUBLED: Final = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))
_PLAIN: Final = bytes.maketrans(b"0123456789", bytes(range(10)))

# Country -> length of its IBANs; negative when everything after the country code is digits.
_IBAN_LENGTHS: Final = {
    b"AD": 24, b"AE": -23, b"AL": 28, b"AT": -20, b"AZ": 28, b"BA": -20, b"BE": -16, b"BG": 22, b"BH": 22, b"BI": -27, b"BR": 29,
    b"BY": 28, b"CH": 21, b"CR": -22, b"CY": 28, b"CZ": -24, b"DE": -22, b"DJ": -27, b"DK": -18, b"DO": 28, b"EE": -20, b"EG": -29,
    b"ES": -24, b"FI": -18, b"FK": 18, b"FO": -18, b"FR": 27, b"GB": 22, b"GE": 22, b"GI": 23, b"GL": -18, b"GR": 27, b"GT": 28,
    b"HN": 28, b"HR": -21, b"HU": -28, b"IE": 22, b"IL": -23, b"IQ": 23, b"IS": -26, b"IT": 27, b"JO": 30, b"KW": 30, b"KZ": 20,
    b"LB": 28, b"LC": 32, b"LI": 21, b"LT": -20, b"LU": 20, b"LV": 21, b"LY": -25, b"MC": 27, b"MD": 24, b"ME": -22, b"MK": 19,
    b"MN": -20, b"MR": -27, b"MT": 31, b"MU": 30, b"NI": 28, b"NL": 18, b"NO": -15, b"OM": 23, b"PK": 24, b"PL": -28, b"PS": 29,
    b"PT": -25, b"QA": 29, b"RO": 24, b"RS": -22, b"RU": 33, b"SA": 24, b"SC": 31, b"SD": -18, b"SE": -24, b"SI": -19, b"SK": -24,
    b"SM": 27, b"SO": -23, b"ST": -25, b"SV": 28, b"TL": -23, b"TN": -24, b"TR": 26, b"UA": 29, b"VA": -22, b"VG": 24, b"XK": -20,
    b"YE": 30,
}  # fmt: skip


def digits_of(raw: bytes) -> bytes:
    """Only the ASCII digits of `raw`."""
    return raw.translate(None, _NOT_DIGITS)


def luhn_ok(digits: bytes) -> bool:
    """Whether the check digit of a card number is right.

    >>> luhn_ok(b"4111111111111111"), luhn_ok(b"4111111111111112")
    (True, False)
    """
    return (sum(digits[-1::-2].translate(_PLAIN)) + sum(digits[-2::-2].translate(_DOUBLED))) % 10 == 0


def iban_ok(iban: bytes) -> bool:
    """Whether an upper-case IBAN without spaces has its country's length and the right check digits.

    >>> iban_ok(b"GB82WEST12345698765432"), iban_ok(b"GB82WEST12345698765431")
    (True, False)
    """
    length = _IBAN_LENGTHS.get(iban[:2], 0)
    if abs(length) != len(iban) or (length < 0 and not iban[2:].isdigit()):
        return False
    return int("".join(str(int(chr(byte), 36)) for byte in iban[4:] + iban[:4])) % 97 == 1


def _stands_alone(raw: bytes, start: int, end: int) -> bool:
    """Whether a number is a token of its own: not the middle of a hex id, a decimal, a GUID or a longer number."""
    before = raw[max(start - 2, 0) : start]
    after = raw[end : end + 5]
    if after and after[0] in _WORD:
        return False
    if after[:1] == b"." and after[1:2].isdigit():
        return False
    if after[:1] == b"-" and len(after) > 1 and all(byte in _HEX for byte in after[1:] if byte in _WORD) and after[1] in _HEX:
        return False
    if not before or (before[-1] not in b".-" and before[-1] not in _WORD):
        return True
    # "\n" and "\t" of a JSON text within a text, and a dash or a full stop that ends what came before.
    if before[-1] in b"ntr":
        return before[0] == ord("\\") and len(before) == 2
    return before[-1] in b".-" and (len(before) == 1 or before[0] not in _WORD)


def _known_issuer(digits: bytes) -> bool:
    """Whether a card number's first digits and length belong together."""
    length, two, four = len(digits), int(digits[:2]), int(digits[:4])
    if digits[0] == ord("4"):
        return length in {13, 16, 19}
    if 51 <= two <= 55 or 2221 <= four <= 2720:
        return length == 16
    if two in {34, 37}:
        return length == 15
    if two in {30, 36, 38, 39}:
        return 14 <= length <= 19
    if two == 35 or four in {2131, 1800}:
        return 15 <= length <= 19
    return two in {50, 56, 57, 58, 60, 62, 63, 64, 65, 67, 68, 69} and (12 <= length <= 19)


def card(raw: bytes, start: int, end: int) -> Span | None:
    """A payment card: issuer range, length and Luhn digit."""
    digits = digits_of(raw[start:end])
    right = 12 <= len(digits) <= 19 and _known_issuer(digits) and luhn_ok(digits) and len(set(digits)) > 1
    return (start, end) if right and _stands_alone(raw, start, end) else None


def card_in_context(raw: bytes, start: int, end: int) -> Span | None:
    """A number with a right Luhn digit after the word "card", whoever issued it."""
    digits = digits_of(raw[start:end])
    right = 12 <= len(digits) <= 19 and luhn_ok(digits) and len(set(digits)) > 1
    return (start, end) if right and _stands_alone(raw, start, end) else None


def iban(raw: bytes, start: int, end: int) -> Span | None:
    """An IBAN, cut to its country's length when a word in capitals follows it."""
    country = raw[start : start + 2].upper()
    wanted = abs(_IBAN_LENGTHS.get(country, 0))
    compact = bytearray()
    for at in range(start, end):
        if chr(raw[at]).isalnum() and raw[at] < 128:
            compact.append(raw[at])
            if len(compact) == wanted:
                after = raw[at + 1 : at + 2]
                alone = not after or after[0] not in _WORD
                return (start, at + 1) if alone and iban_ok(bytes(compact).upper()) else None
    return None


def ssn(raw: bytes, start: int, end: int) -> Span | None:
    """A US social security number; areas 000, 666 and 900-999, group 00 and serial 0000 were never issued."""
    digits = digits_of(raw[start:end])
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    issued = area not in {b"000", b"666"} and area < b"900" and group != b"00" and serial != b"0000"
    return (start, end) if issued and len(digits) == 9 and _stands_alone(raw, start, end) else None


def ipv4(raw: bytes, start: int, end: int) -> Span | None:
    """An IPv4 address that is not part of a longer dotted number."""
    return (start, end) if _stands_alone(raw, start, end) else None


def ipv6(raw: bytes, start: int, end: int) -> Span | None:
    """An IPv6 address; `a::b` of a program and slices like `[1::2]` are none."""
    if (start and raw[start - 1] in _WORD) or (end < len(raw) and raw[end] in _WORD):
        return None
    text = raw[start:end].rstrip(b".:").decode("ascii")
    parts = [part for part in text.split(":") if part]
    if len(parts) < 2 or (len(parts) < 4 and sum(map(len, parts)) < 5) or not any(map(str.isdigit, text)):
        return None
    try:
        IPv6Address(text)
    except AddressValueError:
        return None
    return start, start + len(text)


_COUNTING: Final = b"01234567890123456789"
_UNLIKE_PHONES: Final = (b"order", b"invoice", b"ticket", b"account", b"serial", b"number", b"ref", b"id", b"no", b"nr", b"#", b"$", b"@")


def phone(raw: bytes, start: int, end: int) -> Span | None:
    """A phone number by its layout: international, North American, with trunk zero or in groups of three."""
    digits = digits_of(raw[start:end])
    if not _stands_alone(raw, start, end) or len(set(digits)) < 2 or digits in _COUNTING:
        return None
    if raw[start] == ord("+") or digits.startswith(b"00"):
        return (start, end) if 7 <= len(digits) <= 17 else None
    if digits[0] == ord("0") or raw[start : start + 2] == b"(0":
        return (start, end) if 9 <= len(digits) <= 12 and not _date_or_postcode(raw[start:end]) else None
    if end - start == len(digits):  # no separators at all: only a number that could be dialled and is not called something else
        before = raw[max(start - 12, 0) : start].lower().rstrip(b" :=\"'#")
        if digits[3] < ord("2") or before.endswith(_UNLIKE_PHONES) or raw[max(start - 1, 0) : start] in {b"#", b"=", b"$", b"/"}:
            return None
    return start, end


def phone_in_context(raw: bytes, start: int, end: int) -> Span | None:
    """Seven to fifteen digits after a word like "phone"."""
    return (start, end) if 7 <= len(digits_of(raw[start:end])) <= 15 and _stands_alone(raw, start, end) else None


def _date_or_postcode(raw: bytes) -> bool:
    """Whether a number with a leading zero is 01-02-2024 or the postal code 02110-1301."""
    if len(raw) == 10 and raw[5:6] == b"-":
        return True
    groups = [group for group in raw.replace(b"-", b" ").replace(b"/", b" ").replace(b".", b" ").split(b" ") if group]
    return len(groups) >= 3 and len(groups[0]) == 2 and len(groups[1]) == 2 and len(groups[2]) == 4 and groups[2][:2] in {b"19", b"20"}


def basic_auth(raw: bytes, start: int, end: int) -> Span | None:
    """The credentials of HTTP Basic: base64 that holds `user:password`."""
    try:
        plain = b64decode(raw[start:end] + b"=" * (-(end - start) % 4), validate=True)
    except binascii.Error:
        return None
    return (start, end) if b":" in plain else None


def credential(raw: bytes, start: int, end: int) -> Span | None:
    """A header's credential: not a word of a sentence."""
    value = raw[start:end].rstrip(b".")
    mixed = any(byte in _DIGITS for byte in value) or (len(value) >= 20 and not value.isalpha())
    return (start, start + len(value)) if mixed and not _stands_for(value) else None


_PLACEHOLDERS: Final = frozenset(
    b"none null nil true false undefined str string text bytes password passwd secret api_key apikey token required optional redacted"
    b" hidden your changeit empty missing invalid incorrect must should can cannot the a an is not please enter forgot reset see use"
    b" to for and or be in of on with".split()
)
_AFTER_A_STRING: Final = (b", ", b") ", b"),", b")\n", b"] ", b"],", b"} ", b"},")
_REFERENCES: Final = (b"${", b"$(", b"{{", b"<", b"%(", b"os.environ", b"os.getenv", b"getenv(", b"process.env", b"env.", b"self.")
_EXAMPLES: Final = (b"your", b"example", b"xxxx", b"placeholder", b"dummy", b"redacted", b"****", b"....", b"insert", b"environ", b"getenv")


def _stands_for(value: bytes) -> bool:
    """Whether the value only names where a secret would be: a type, a variable, asterisks."""
    lower = value.lower()
    return lower in _PLACEHOLDERS or lower.startswith(_REFERENCES) or not value.translate(None, b"*.xX-_ ")


def value(raw: bytes, start: int, end: int) -> Span | None:
    """The value of `password=...`, without its quotes and the bracket or full stop that ends the sentence around it."""
    while start < end and raw[start] == ord("\\"):
        start += 1
    if start < end and raw[start] in b"\"'`":
        quote = raw[start]
        start += 1
        if end > start and raw[end - 1] == quote:
            end -= 1
    else:
        if raw[max(start - 2, 0) : start] == b"= " and _call_of_code(raw[start:end]):
            return None
        end = start + len(raw[start:end].rstrip(b"\\.)}]>"))
    found = raw[start:end]
    if not found or _stands_for(found) or found.endswith(b"()") or found.startswith(_AFTER_A_STRING):
        return None
    return start, end


def _call_of_code(value: bytes) -> bool:
    """Whether a value is a call, as in `password = getpass.getpass("...`."""
    name, bracket, _ = value.partition(b"(")
    return bool(bracket) and len(name) > 3 and name.replace(b"_", b"").replace(b".", b"").isalpha()


def spoken_value(raw: bytes, start: int, end: int) -> Span | None:
    """The value of "the password is ...": something with a digit or a sign in it, unlike "required"."""
    span = value(raw, start, end)
    return None if span is None or raw[slice(*span)].isalpha() else span


def random_value(raw: bytes, start: int, end: int) -> Span | None:
    """A value that looks drawn at random: letters and digits, at least three bits a character, not a GUID, a path or an example."""
    span = value(raw, start, end)
    if span is None:
        return None
    found = raw[slice(*span)]
    letters = found.translate(None, _NOT_ALPHANUMERIC)
    if len(letters) < 16 or letters.isalpha() or letters.isdigit() or any(word in found.lower() for word in _EXAMPLES):
        return None
    if b"(" in found or found.count(b"/") > len(found) // 12 + 1 or (len(found) == 36 and found.count(b"-") == 4):
        return None
    counts = Counter(found).values()
    entropy = -sum(count / len(found) * math.log2(count / len(found)) for count in counts)
    return span if entropy >= 3.0 else None


def whole_token(raw: bytes, start: int, end: int) -> Span:
    """A key with everything that hangs on to it, should it be longer than its format says."""
    while end < len(raw) and raw[end] in _WORD:
        end += 1
    return start, end


def sentence_end(raw: bytes, start: int, end: int) -> Span:
    """A URL without the full stop, comma or bracket of the sentence around it."""
    return start, start + len(raw[start:end].rstrip(b".,;:!?)]}*"))
