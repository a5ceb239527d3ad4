"""What the status of a webhook's answer means. Pure."""

from typing import Final

from sentinel.alerting.errors import GoneError, RefusedError
from sentinel.core.errors import RetryableError, SentinelError

GONE: Final = 410
PASSING: Final = frozenset((408, 425, 429))
"""Client errors that say "later", not "no"."""
THROTTLED: Final = frozenset((429, 503))
"""With these, `Retry-After` counts."""


def accepted(status: int) -> bool:
    """The alert is delivered."""
    return 200 <= status < 300


def judge(status: int, asked_s: float | None, host: str) -> SentinelError | None:
    """What to raise, None when all is well. An alert is never given up for an answer: a wrong URL or secret can be mended.

    >>> judge(204, None, "a.example"), judge(503, 7.0, "a.example").after_s
    (None, 7.0)

    Args:
        status: of the answer.
        asked_s: what its `Retry-After` says, in seconds.
        host: for the message; the rest of a URL may hold a secret.
    """
    if accepted(status):
        return None
    if status == GONE:
        return GoneError(f"{host} answered 410: it wants no more alerts. Remove it from alerting.webhook, or correct it, and restart")
    if 300 <= status < 400:
        return RefusedError(f"{host} answered {status}: redirects are not followed. Set alerting.webhook.url to where it points")
    if 400 <= status < 500 and status not in PASSING:
        return RefusedError(f"{host} answered {status}. Check alerting.webhook.url, method and secret, and the receiver's log")
    return RetryableError(f"{host} answered {status}", asked_s if status in THROTTLED else None)
