"""Signatures of webhooks, made and checked.

Standard Webhooks 1.0 (https://www.standardwebhooks.com): the HMAC-SHA256 of `id.timestamp.body`, base64, with one signature for each
secret, so that a secret can be changed while messages are under way. Beside it the plain HMAC-SHA256 of the body in hexadecimal.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Final

PREFIX: Final = "whsec_"
TOLERANCE_S: Final = 300
"""Receivers refuse messages whose time is further than this from theirs."""

ID: Final = "webhook-id"
TIMESTAMP: Final = "webhook-timestamp"
SIGNATURE: Final = "webhook-signature"
BODY_SIGNATURE: Final = "X-Sentinel-Signature"


def key_of(secret: str) -> bytes:
    """The key a secret stands for: what the base64 after `whsec_` says, or the text itself.

    >>> key_of("whsec_c2VudGluZWw="), key_of("sentinel")
    (b'sentinel', b'sentinel')

    Raises:
        ValueError: it is empty, or what follows `whsec_` is not base64; the error does not quote it.
    """
    if not secret.startswith(PREFIX):
        key = secret.encode()
    else:
        try:
            # Some tools leave the padding out.
            key = base64.b64decode(secret.removeprefix(PREFIX) + "=" * (-len(secret.removeprefix(PREFIX)) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"what follows {PREFIX} is not base64") from None
    if not key:
        raise ValueError("it is empty")
    return key


def headers(keys: Sequence[bytes], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The headers of a signed message; those of the signature are missing when there is no key.

    Args:
        keys: the first is the one in use; all of them sign the Standard Webhooks header, the first alone the other one.
        message_id: the same on every repeat.
        timestamp_s: when it is sent, seconds since the epoch: new on every repeat, or receivers would take it for a replay.
        body: exactly the bytes that are sent.
    """
    lines = {ID: message_id, TIMESTAMP: str(timestamp_s)}
    if keys:
        lines[SIGNATURE] = " ".join(signature(key, message_id, str(timestamp_s), body) for key in keys)
        lines[BODY_SIGNATURE] = body_signature(keys[0], body)
    return lines


def signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """One Standard Webhooks signature.

    >>> signature(b"sentinel", "msg_1", "1700000000", b"{}")
    'v1,6c2mSf9XMq5WxZUOURiMILa5wq5qBSWIV5M+EZaqflM='
    """
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode(errors="surrogatepass") + body, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def body_signature(key: bytes, body: bytes) -> str:
    """The plain signature of a body."""
    return f"sha256={hmac.digest(key, body, hashlib.sha256).hex()}"


def matches(keys: Sequence[bytes], lines: Mapping[str, str], body: bytes) -> bool:
    """Whether any key made any of the signatures in the headers, in constant time for each.

    Args:
        keys: the secrets of the receiver.
        lines: headers by the names of this file; a missing one matches nothing.
        body: exactly the bytes that came.
    """
    message_id, timestamp = lines.get(ID, ""), lines.get(TIMESTAMP, "")
    given = lines.get(SIGNATURE, "").split(" ")
    wanted = [signature(key, message_id, timestamp, body) for key in keys]
    return any(same(one, two) for one in given for two in wanted)


def same(one: str, two: str) -> bool:
    """Whether two signatures are the same, in a time that does not tell how much of them is."""
    # A text from a command line may hold surrogates; it is then no signature of ours, and no reason to fail.
    return hmac.compare_digest(one.encode(errors="surrogatepass"), two.encode(errors="surrogatepass"))


def age_problem(timestamp: str, now_s: float, tolerance_s: float = TOLERANCE_S) -> str | None:
    """What a receiver would say of a message's time; None when it is fresh.

    >>> age_problem("1700000000", 1_700_000_290), age_problem("1700000000", 1_700_000_301)
    (None, 'is 301 s old, and receivers refuse more than 300 s')
    """
    if not (timestamp.isascii() and timestamp.isdigit()) or len(timestamp) > 12:
        return "is not a number of seconds since 1970"
    age_s = now_s - int(timestamp)
    if age_s > tolerance_s:
        return f"is {age_s:.0f} s old, and receivers refuse more than {tolerance_s:g} s"
    if age_s < -tolerance_s:
        return f"lies {-age_s:.0f} s in the future, and receivers refuse more than {tolerance_s:g} s"
    return None
