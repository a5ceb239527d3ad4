"""Times as people and JSON see them."""

from datetime import UTC, datetime

_SECOND_NS = 1_000_000_000


def rfc3339(ts_ns: int) -> str:
    """The time in UTC with as many digits as it has: milliseconds, microseconds or nanoseconds.

    >>> rfc3339(1_768_473_000_123_000_000)
    '2026-01-15T10:30:00.123Z'
    >>> rfc3339(1)
    '1970-01-01T00:00:00.000000001Z'
    """
    seconds, fraction_ns = divmod(ts_ns, _SECOND_NS)
    whole = datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
    digits = f"{fraction_ns:09d}"
    for unused in ("000000", "000"):
        if digits.endswith(unused):
            return f"{whole}.{digits[: -len(unused)]}Z"
    return f"{whole}.{digits}Z"


def nanoseconds(timestamp: str) -> int:
    """The inverse of `rfc3339`.

    >>> nanoseconds("2026-01-15T10:30:00.123Z"), nanoseconds("1970-01-01T00:00:00.000000001Z")
    (1768473000123000000, 1)
    """
    whole, _, fraction = timestamp.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{whole}+00:00").timestamp()) * _SECOND_NS + int(fraction.ljust(9, "0"))
