"""The `Retry-After` header of an HTTP answer."""

from datetime import UTC
from email.utils import parsedate_to_datetime

from sentinel.alerting.backoff import LONGEST_ASKED_S


def asked_s(header: str | None, now_s: float) -> float | None:
    """How long the other side asks us to wait, in seconds from 0 to an hour; None when it does not say, or not so that it can be read.

    >>> asked_s("120", 0.0), asked_s("Wed, 21 Oct 2015 07:28:00 GMT", 1_445_412_470.0), asked_s("soon", 0.0)
    (120.0, 10.0, None)

    Args:
        header: whole seconds, or a date.
        now_s: seconds since the epoch.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return LONGEST_ASKED_S if len(text) > 6 else min(float(text), LONGEST_ASKED_S)
    if not text or len(text) > 64:
        return None
    try:
        when = parsedate_to_datetime(text)
        seconds = (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp() - now_s
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_ASKED_S)
