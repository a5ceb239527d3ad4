"""The rules: what they find, what they leave alone, and that they stay linear."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.config.schema import DeadLetters, Parsing, Privacy, Validation
from sentinel.ingestion.checks import iban_ok, luhn_ok
from sentinel.ingestion.key_formats import KEY_FORMATS
from sentinel.ingestion.patterns import BUILT_IN, configured
from sentinel.ingestion.redact import PASSES, Redactor
from sentinel.ingestion.sanitize import Sanitizer


def sanitizer(*patterns: str) -> Sanitizer:
    """A sanitizer that keeps texts, with these configured patterns."""
    parsing = Parsing(sanitize_patterns=list(patterns) or ["password", "api_key", "secret"])
    return Sanitizer(parsing, Validation(), Privacy(capture="redacted"), DeadLetters(), b"k" * 32)


SANITIZER = sanitizer()

# Made-up secrets are put together here, so that no scanner takes this file for a leak.
A20, A36, A40, HEX32 = "a1B2c3D4e5" * 2, "a1B2c3D4e5" * 3 + "f6G7h8", "a1B2c3D4e5" * 4, "0123456789abcdef" * 2

FOUND = [
    ("EMAIL", "write to jane.doe+x@mail.example.co.uk today", "jane.doe+x@mail.example.co.uk"),
    ("EMAIL", "jürgen@müller.de schreibt", "jürgen@müller.de"),
    ("EMAIL", "?to=joe%40example.org&x", "joe%40example.org"),
    ("PHONE", "call +44 20 7946 0958 now", "+44 20 7946 0958"),
    ("PHONE", "or (415) 555-2671 ext 12", "(415) 555-2671 ext 12"),
    ("PHONE", "at 415-555-2671.", "415-555-2671"),
    ("PHONE", "+41 (0)85 806 98 67", "+41 (0)85 806 98 67"),
    ("PHONE", "ring 0171 1234567 bitte", "0171 1234567"),
    ("PHONE", "call 06.12.34.56.78 demain", "06.12.34.56.78"),
    ("PHONE", "Phone:\n467 3395", "467 3395"),
    ("PHONE", "78 651 450 office", "78 651 450"),
    ("PHONE", "+1\u00a0415\u2011555\u20112671", "+1\u00a0415\u2011555\u20112671"),
    ("PHONE", '{"note": "line\\n415-555-2671"}', "415-555-2671"),
    ("CREDIT_CARD", "card 4111 1111 1111 1111 ok", "4111 1111 1111 1111"),
    ("CREDIT_CARD", "amex 3782-822463-10005", "3782-822463-10005"),
    ("CREDIT_CARD", "1234 5555555555554444", "5555555555554444"),
    ("IBAN", "IBAN GB82 WEST 1234 5698 7654 32 PLEASE", "GB82 WEST 1234 5698 7654 32"),
    ("IBAN", "de89370400440532013000", "de89370400440532013000"),
    ("US_SSN", "ssn 536-22-1234", "536-22-1234"),
    ("US_SSN", "social security number is 536221234", "536221234"),
    ("IP_ADDRESS", "from 203.0.113.77:8080", "203.0.113.77"),
    ("IP_ADDRESS", "[2001:db8::8a2e:370:7334] port", "2001:db8::8a2e:370:7334"),
    ("IP_ADDRESS", "fe80:0:0:0:204:61ff:fe9d:f156", "fe80:0:0:0:204:61ff:fe9d:f156"),
    ("URL", "see https://example.org/people/jane?x=1.", "https://example.org/people/jane?x=1"),
    ("API_KEY", f"key sk-proj-{A40} ok", f"sk-proj-{A40}"),
    ("API_KEY", f"sk-ant-api03-{A40}", f"sk-ant-api03-{A40}"),
    ("API_KEY", "AKIA" + "IOSFODNN7EXAMPLE", "AKIA" + "IOSFODNN7EXAMPLE"),
    ("API_KEY", f"ghp_{A36}", f"ghp_{A36}"),
    ("API_KEY", f"glpat-{A20}", f"glpat-{A20}"),
    ("API_KEY", "AIza" + A36[:35], "AIza" + A36[:35]),
    ("API_KEY", f"xoxb-123456789012-{A20}", f"xoxb-123456789012-{A20}"),
    ("API_KEY", f"sk_live_{A20}", f"sk_live_{A20}"),
    ("API_KEY", f"hf_{A36}", f"hf_{A36}"),
    ("API_KEY", f"SG.{A20}.{A40}", f"SG.{A20}.{A40}"),
    ("API_KEY", f"SK{HEX32}", f"SK{HEX32}"),
    ("API_KEY", f"npm_{A36}", f"npm_{A36}"),
    ("API_KEY", f"pypi-AgEIcHlwaS5vcmc{A40}", f"pypi-AgEIcHlwaS5vcmc{A40}"),
    ("API_KEY", f"dop_v1_{HEX32 * 2}", f"dop_v1_{HEX32 * 2}"),
    ("API_KEY", f"123456789:AA{A36}", f"123456789:AA{A36}"),
    ("JWT", f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{A40}", f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{A40}"),
    ("SECRET", f'aws_secret_access_key = "{A40}"', A40),
    ("SECRET", f"AccountKey={A40}{A40}abcdef==", f"{A40}{A40}abcdef=="),
    ("SECRET", f"https_x?sig={A40}", A40),
    ("SECRET", 'the "api_key": "abc-1" there', "abc-1"),
    ("SECRET", "MY_SECRET: s3cr3t;", "s3cr3t"),
    ("PASSWORD", "db_password=hunter22 x", "hunter22"),
    ("PASSWORD", '{"password": "pa ss\\"word"}', 'pa ss\\"word'),
    ("PASSWORD", '{\\"password\\": \\"hunter22\\", \\"a\\": 1}', "hunter22"),
    ("PASSWORD", "<password>hunter22</password>", "hunter22"),
    ("PASSWORD", "mysql --password hunter22 -u root", "hunter22"),
    ("PASSWORD", "the password is hunter22.", "hunter22"),
    ("AUTH_HEADER", f"Authorization: Bearer {A20}", A20),
    ("AUTH_HEADER", "Basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNzd29yZA=="),
    ("AUTH_HEADER", "Cookie: session=abc; theme=dark", "session=abc; theme=dark"),
    ("URL_CREDENTIALS", "postgres://app:pw@db/x", "app:pw"),
]


@pytest.mark.parametrize(("kind", "text", "secret"), FOUND)
def test_every_type_is_found_where_it_stands(kind: str, text: str, secret: str) -> None:
    """The span is exactly the secret, its type is right, and the text around it survives."""
    spans = SANITIZER.find(text)
    assert [(name, text[start:end]) for start, end, name in spans] == [(kind, secret)]
    clean, counts = SANITIZER.text(text)
    assert clean == text.replace(secret, f"[{kind}]")
    assert counts == {kind: 1}


@pytest.mark.parametrize("end", ["RSA PRIVATE KEY-----", None])
def test_private_keys_go_even_when_cut_off(end: str | None) -> None:
    """A PEM block is removed to its end, or to the end of the text when it has none."""
    begin = "-----BEGIN " + "RSA PRIVATE KEY-----"
    text = f"key:\n{begin}\nMIIEow{A40}\n" + (f"-----END {end}\nafter" if end else "")
    assert SANITIZER.text(text)[0] == "key:\n[PRIVATE_KEY]" + ("\nafter" if end else "")


LEFT_ALONE = [
    "550e8400-e29b-41d4-a716-446655440000",
    "00000000-4111-1111-1111-111111111111",
    "trace 4bf92f3577b34da6a3ce929d0e0e4736 span 00f067aa0ba902b7",
    '{"ids": ["a4111111111111111", "4111111111111111b"], "loss": 0.4155552671, "x": 1.2345678901}',
    "4111 1111 1111 1112",
    "4222222222222222222",
    "GB82 WEST 1234 5698 7654 33",
    "000-12-3456 666-12-3456 900-12-3456 123-00-1234 123-12-0000",
    "2024-01-15T10:30:45.123456789Z and 15/01/2024 10:30:45, 01-02-2024 12:30",
    "epoch 1700000000 1700000000000 1700000000000000000",
    "version 1.2.3.4.5 and 10.2.3",
    "1,234,567,890 dollars and 12345678 rows, 3.14159265358979",
    "a::b, std::vector, x[1::2], y[::3], 10:30:45 and aa:bb:cc:dd:ee:ff",
    "@user on social, a @ b, f(x)@home",
    "order id 9876543210",
    "the password is required, a secret ingredient, basic understanding, bearer of news",
    "PW = getpass.getpass('x'); password = load_secret(1), input(prompt='Password: ', echo=0) in '0123456789' of Boston, MA 02110-1301",
    "password=os.environ['PW'] password: ${PASSWORD} password: str, secret: <your secret>",
    "max_tokens=4096 total_tokens: 1234567 next_token: none",
    "token: 550e8400-e29b-41d4-a716-446655440000",
    "skip-the-queue sk-short AKIA hf_ ghp_ eyJ.eyJ",
    "[EMAIL] [PHONE] password=[PASSWORD] secret: [SECRET], Bearer [AUTH_HEADER]",
    "你好，世界。私の名前は田中です。 مرحبا 🎉",
    "",
]


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_what_only_looks_like_a_secret_survives(text: str) -> None:
    """Ids, numbers, dates, code and prose are unchanged."""
    assert SANITIZER.text(text) == (text, {})


@given(st.uuids())
def test_guids_survive(guid: object) -> None:
    """No GUID is taken for a number of a person, in any spelling."""
    for text in (str(guid), str(guid).upper(), f'{{"id": "{guid}"}}', f"id={guid};", str(guid).replace("-", "")):
        assert SANITIZER.find(text) == []


@given(st.integers(min_value=12, max_value=19), st.data())
def test_luhn_refuses_every_single_wrong_digit(length: int, data: st.DataObject) -> None:
    """One changed digit makes a right card number wrong."""
    body = data.draw(st.text("0123456789", min_size=length - 1, max_size=length - 1))
    number = next(f"{body}{check}" for check in range(10) if luhn_ok(f"{body}{check}".encode()))
    at = data.draw(st.integers(0, length - 1))
    changed = number[:at] + str((int(number[at]) + data.draw(st.integers(1, 9))) % 10) + number[at + 1 :]
    assert not luhn_ok(changed.encode())


@given(st.text(string.digits, min_size=18, max_size=18), st.integers(0, 95))
def test_iban_check_digits_decide(account: str, wrong: int) -> None:
    """Of all check digits exactly the right ones make a German IBAN."""
    right = 98 - int(account + "131400") % 97
    assert iban_ok(f"DE{right:02d}{account}".encode())
    other = wrong + 2 if wrong + 2 != right else 98 if right != 98 else 97
    assert not iban_ok(f"DE{other:02d}{account}".encode())


PIECES = st.sampled_from(
    [text for _, text, _ in FOUND] + LEFT_ALONE + ["-----BEGIN PRIVATE KEY-----", "\x00", "\u200b", "＋４４", "[", "]", '"', "="]
)
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=12)), max_size=6).flatmap(
    lambda parts: st.sampled_from(["", " ", "\n", ",", "="]).map(lambda s: s.join(parts))
)


@settings(max_examples=400)
@given(TEXTS)
def test_sanitizing_twice_changes_nothing(text: str) -> None:
    """What was sanitized passes unchanged and counts nothing new."""
    clean, _ = SANITIZER.text(text)
    assert SANITIZER.text(clean) == (clean, {})


@settings(max_examples=300)
@given(TEXTS)
def test_the_gate_never_hides_a_find(text: str) -> None:
    """A rule that would find something is among those the gate lets through."""
    finder = SANITIZER._redactor._texts
    raw = text.encode()
    everything = finder.spans(raw, range(len(finder.rules)))
    assert finder.spans(raw, finder.gate(raw) or []) == everything


@settings(max_examples=300)
@given(TEXTS)
def test_spans_are_in_order_and_apart(text: str) -> None:
    """Spans lie within the text, in order, without overlaps."""
    at = 0
    for start, end, name in SANITIZER.find(text):
        assert at <= start < end <= len(text)
        assert name
        at = end


@pytest.mark.parametrize("hidden", ["4111\u200b1111\u200b1111\u200b1111", "jane\x00@example.org", "４１１１１１１１１１１１１１１１"])
def test_invisible_and_full_width_characters_do_not_hide_a_secret(hidden: str) -> None:
    """Zero-width and control characters are removed, full-width digits made plain, before the search."""
    clean, counts = SANITIZER.text(f"x {hidden} y")
    assert clean in {"x [CREDIT_CARD] y", "x [EMAIL] y"}
    assert sum(counts.values()) == 1


def test_chained_finds_end_in_one_mark() -> None:
    """A text that shows something new after every pass is replaced as a whole, not searched for ever."""
    chain = "a@b.com" + "+15551234567" * (PASSES + 5)
    clean, _ = SANITIZER.text(chain)
    assert SANITIZER.text(clean)[0] == clean
    assert "555" not in clean


ADVERSARIAL = [
    "a" * 65_536 + "!",
    "a@" * 32_768,
    "a.a." * 16_384 + "@",
    "4111 " * 13_107,
    "1 2 3 " * 10_922,
    "1." * 32_768,
    ":" * 65_536,
    "a:" * 32_768,
    "eyJ" * 21_845,
    "eyJ0eXAi." * 7_281,
    "password=" * 7_281,
    "password=${" * 5_957,
    "-----BEGIN PRIVATE KEY-----" * 2_427,
    "://" * 21_845,
    "://a:b" * 10_922,
    "+1" * 32_768,
    "GB82" * 16_384,
    "(0" * 32_768,
    "phone " * 10_922,
    "Bearer " * 9_362,
    "sk-" + "a" * 65_536,
    '"password": "' + '\\"' * 32_768,
    "\u200b" * 21_845,
]


@pytest.mark.parametrize("text", ADVERSARIAL, ids=lambda text: text[:12])
def test_hostile_texts_cost_linear_work(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Characters handed to the engine grow with the text, not with its square: every search starts behind the last."""
    redactor = Redactor(configured(["password"]))
    finder = redactor._texts
    searched = 0

    class Counting:
        def __init__(self, search: object) -> None:
            self.search_of = search
            self.groups = search.groups

        def search(self, raw: bytes, at: int) -> object:
            nonlocal searched
            match = self.search_of.search(raw, at)
            searched += (len(raw) if match is None else match.end()) - at
            return match

    monkeypatch.setattr(finder, "_searches", [Counting(search) for search in finder._searches])
    redactor.find(text)
    assert searched <= 40 * (len(text.encode()) + 1_000)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("(a", "missing"), ("(?=x)y", "RE2"), (r"(a)\1", "RE2"), ("", "empty"), ("x*", "empty text"), ("(?:a{1000}){1000}", "RE2")],
)
def test_a_bad_pattern_is_named_with_its_cure(pattern: str, words: str) -> None:
    """A pattern that cannot be used stops the start with its own name and what to do."""
    with pytest.raises(ValueError, match=r"sanitize_patterns") as caught:
        sanitizer(pattern)
    assert repr(pattern) in str(caught.value)
    assert words in str(caught.value)


def test_configured_words_and_expressions_are_used() -> None:
    """A word names a key, in any spelling; an expression is searched as it is."""
    own = sanitizer("badge", "client-pin", r"\bEMP-\d{4}\b")
    assert own.text("badge=77, clientPin: 1234 and EMP-0042")[0] == "badge=[SECRET], clientPin: [SECRET] and [CUSTOM]"


def test_an_expression_that_matches_marks_does_no_harm() -> None:
    """A configured expression never eats the marks of other rules."""
    own = sanitizer("[A-Z_]{5,}")
    assert own.text("HELLO a@b.org")[0] == "[CUSTOM] [EMAIL]"


def test_many_key_formats_are_known() -> None:
    """The list of formats is long, without repeats, and every rule has a type of capitals."""
    assert len(set(KEY_FORMATS)) == len(KEY_FORMATS) > 90
    assert all(rule.type.isupper() for rule in BUILT_IN)
