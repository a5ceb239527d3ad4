"""Query parameters as values, with errors that name the parameter."""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

from sentinel.api.operation import Parameter
from sentinel.core.query import SeriesFilter, TimeRange

MIN_HOURS, MAX_HOURS = 0.001, 24 * 366
MAX_LIMIT = 1_000
HOUR_NS = 3_600_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")
LAST_YEAR = 2200
"""Times up to here fit into 64 bits of nanoseconds."""


class BadParameterError(ValueError):
    """A parameter that cannot be used; the text names it and says what is expected."""


SERIES = (
    Parameter("service", "Only this service", {"type": "string", "maxLength": 128}),
    Parameter("model", "Only this model", {"type": "string", "maxLength": 128}),
    Parameter("tenant", "Only this tenant", {"type": "string", "maxLength": 64}),
)
RANGE = (
    Parameter("hours", "How far back from `end`", {"type": "number", "minimum": MIN_HOURS, "maximum": MAX_HOURS, "default": 24}),
    Parameter("start", "Begin of the range, RFC 3339; instead of `hours`", {"type": "string", "format": "date-time"}),
    Parameter("end", "End of the range, RFC 3339; now when absent", {"type": "string", "format": "date-time"}),
)


def limit_of(default: int) -> Parameter:
    """The parameter `limit` with this default."""
    return Parameter("limit", "Most entries in the answer", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": default})


LIMIT = limit_of(100)


def word_of(name: str, about: str) -> Parameter:
    """A parameter that takes a name of our own kind."""
    return Parameter(name, about, {"type": "string", "pattern": f"^{WORD.pattern}$"})


def known(given: Mapping[str, str], allowed: Collection[Parameter]) -> None:
    """Refuse parameters that would be silently ignored: unknown ones, and the second of a name."""
    names = [parameter.name for parameter in allowed]
    times = Counter(name for name, _ in given.items())  # items, not keys: a multidict has a name once among its keys
    for name, count in times.items():
        if name not in names:
            raise BadParameterError(f"there is no parameter {name[:64]!r} here; known are {', '.join(names) or 'none'}")
        if count > 1:
            raise BadParameterError(f"{name} may be given once")


def series(given: Mapping[str, str]) -> SeriesFilter:
    """Which series, from `service`, `model`, `tenant`."""
    return SeriesFilter(tenant=given.get("tenant"), service=given.get("service"), model=given.get("model"))


def limit(given: Mapping[str, str], default: int = 100) -> int:
    """`limit` as a number between 1 and MAX_LIMIT."""
    text = given.get("limit")
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and 1 <= int(text) <= MAX_LIMIT):
        raise BadParameterError(f"limit must be a whole number from 1 to {MAX_LIMIT}")
    return int(text)


def time_range(given: Mapping[str, str], now_ns: int) -> TimeRange:
    """The range from `start` and `end`, or the `hours` before `end`."""
    end_ns = moment(given["end"], "end") if "end" in given else now_ns
    back_ns = int(number(given, "hours", 24.0, MIN_HOURS, MAX_HOURS) * HOUR_NS)
    start_ns = moment(given["start"], "start") if "start" in given else end_ns - back_ns
    if start_ns >= end_ns:
        raise BadParameterError("start must lie before end")
    return TimeRange(start_ns, end_ns)


def number(given: Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    """A number within [low, high]."""
    text = given.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        raise BadParameterError(f"{name} must be a number from {low:g} to {high:g}") from None
    if not low <= value <= high:
        raise BadParameterError(f"{name} must be a number from {low:g} to {high:g}")
    return value


def choice(given: Mapping[str, str], name: str, choices: Collection[str]) -> str | None:
    """One of the choices, None when absent."""
    value = given.get(name)
    if value is not None and value not in choices:
        raise BadParameterError(f"{name} must be one of {', '.join(choices)}")
    return value


def word(given: Mapping[str, str], name: str) -> str | None:
    """A name of our own kind, such as that of a metric or a detector; None when absent."""
    value = given.get(name)
    if value is not None and not WORD.fullmatch(value):
        raise BadParameterError(f"{name} must be a name of up to 64 letters, digits, dots, dashes and underscores")
    return value


def moment(text: str, name: str) -> int:
    """A time as RFC 3339 has it, in nanoseconds since the epoch."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadParameterError(f"{name} must be a time such as 2026-01-31T12:00:00Z") from None
    if not EPOCH.year <= found.year <= LAST_YEAR:
        raise BadParameterError(f"{name} must lie between {EPOCH.year} and {LAST_YEAR}")
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return (found - EPOCH) // MICROSECOND * 1_000
