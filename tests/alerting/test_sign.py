"""Signatures of webhooks, held against the reference library for receivers."""

import base64
import hashlib
import hmac
import random
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from sentinel.alerting import sign

VECTORS = 10_000


def vectors(seed: int) -> list[tuple[bytes, str, bytes]]:
    """Keys, ids and bodies of all kinds: dots in ids, text of every script, empty and large bodies."""
    dice = random.Random(seed)  # noqa: S311  test vectors
    letters = "abcXYZ0189._-"
    texts = ["", "{}", '{"a":"ü€😀"}', "\x00\n", "a.b.c"]
    found = []
    for number in range(VECTORS):
        message_id = "".join(dice.choices(letters, k=dice.randint(1, 60)))
        body = dice.choice(texts) + ("x" * dice.randint(0, 300)) + str(number)
        found.append((dice.randbytes(dice.randint(24, 64)), message_id, body.encode()))
    return found


def secret_of(key: bytes) -> str:
    """The key as receivers write it."""
    return sign.PREFIX + base64.b64encode(key).decode()


def test_ten_thousand_signatures_are_verified_by_the_reference_library() -> None:
    """Every receiver that uses it accepts what we sign, and our own check agrees."""
    now_s = int(time.time())
    for key, message_id, body in vectors(1):
        lines = sign.headers([key], message_id, now_s, body)
        Webhook(secret_of(key)).verify(body, lines, json_parse=False)
        assert sign.matches([key], lines, body)


def test_ten_thousand_tampered_messages_are_refused() -> None:
    """One bit of the body, id, time or signature changed, or another key: nothing verifies."""
    now_s = int(time.time())
    dice = random.Random(2)  # noqa: S311  test vectors
    for number, (key, message_id, body) in enumerate(vectors(3)):
        lines = sign.headers([key], message_id, now_s, body)
        match number % 5:
            case 0:
                at = dice.randrange(len(body))
                body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]  # noqa: PLW2901  the tampered one
            case 1:
                lines[sign.ID] += "x"
            case 2:
                lines[sign.TIMESTAMP] = str(now_s + 1)
            case 3:
                raw = bytearray(base64.b64decode(lines[sign.SIGNATURE][3:]))
                raw[dice.randrange(len(raw))] ^= 1
                lines[sign.SIGNATURE] = f"v1,{base64.b64encode(raw).decode()}"
            case 4:
                key = bytes([key[0] ^ 1]) + key[1:]  # noqa: PLW2901  the wrong one
        assert not sign.matches([key], lines, body)
        with pytest.raises((WebhookVerificationError, UnicodeDecodeError)):
            Webhook(secret_of(key)).verify(body, lines, json_parse=False)


def test_a_dot_cannot_be_moved_between_id_and_time() -> None:
    """Parts that spell the same text together are told apart by the reference library's own rules: the time must be a number."""
    lines = sign.headers([b"k" * 32], "msg.1", 1_700_000_000, b"{}")
    moved = lines | {sign.ID: "msg", sign.TIMESTAMP: "1.1700000000"}
    with pytest.raises(WebhookVerificationError):
        Webhook(secret_of(b"k" * 32)).verify(b"{}", moved, json_parse=False)
    assert sign.age_problem(moved[sign.TIMESTAMP], 1_700_000_000) is not None


def test_while_rotating_both_secrets_verify() -> None:
    """With two secrets a receiver may have either; with one the other fails."""
    old, new = b"o" * 32, b"n" * 32
    now_s = int(time.time())
    both = sign.headers([new, old], "m", now_s, b"{}")
    for key in (old, new):
        Webhook(secret_of(key)).verify(b"{}", both, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret_of(old)).verify(b"{}", sign.headers([new], "m", now_s, b"{}"), json_parse=False)
    assert both[sign.BODY_SIGNATURE] == sign.headers([new], "m", now_s, b"{}")[sign.BODY_SIGNATURE]


def test_the_plain_signature_is_that_of_the_body() -> None:
    """Receivers that know no Standard Webhooks need one line."""
    wanted = hmac.new(b"key", b"body", hashlib.sha256).hexdigest()
    assert sign.headers([b"key"], "m", 1, b"body")["X-Sentinel-Signature"] == f"sha256={wanted}"


def test_without_a_secret_nothing_is_signed() -> None:
    """Id and time are there, signatures are not."""
    assert set(sign.headers([], "m", 1, b"{}")) == {sign.ID, sign.TIMESTAMP}


@pytest.mark.parametrize("key", [b"sentinel", b"\x00\xff" * 16, b"k" * 31])
def test_secrets_may_lack_padding(key: bytes) -> None:
    """`whsec_` with and without `=` at its end is the same key."""
    assert sign.key_of(secret_of(key)) == sign.key_of(secret_of(key).rstrip("=")) == key


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!!!", "whsec_ä", "whsec_a"])
def test_what_is_no_secret_is_said_without_quoting_it(secret: str) -> None:
    """The error names what is wrong, never the secret."""
    with pytest.raises(ValueError, match=r"empty|base64") as raised:
        sign.key_of(secret)
    assert secret.removeprefix("whsec_") in ("", "a") or secret not in str(raised.value)


@pytest.mark.parametrize(("age_s", "fresh"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)])
def test_the_boundary_of_age_is_five_minutes_both_ways(age_s: int, fresh: bool) -> None:
    """As the standard has it."""
    assert (sign.age_problem("1700000000", 1_700_000_000 + age_s) is None) == fresh


@given(
    st.dictionaries(st.sampled_from([sign.ID, sign.TIMESTAMP, sign.SIGNATURE]), st.text(st.characters(), max_size=80)),
    st.binary(max_size=40),
)
def test_no_headers_break_the_check(lines: dict[str, str], body: bytes) -> None:
    """Whatever somebody pastes, the answer is no."""
    assert not sign.matches([b"k" * 32], lines, body)
    if sign.TIMESTAMP in lines:
        sign.age_problem(lines[sign.TIMESTAMP], datetime.now(UTC).timestamp())
