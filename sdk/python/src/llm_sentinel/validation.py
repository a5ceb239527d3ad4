"""What the daemon would refuse is refused here, where it can still be told which field is at fault."""

import re
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, SupportsFloat, SupportsIndex

MAX_NAME: Final = 128
MAX_TENANT: Final = 64
MAX_EVENT_ID: Final = 128
MAX_METADATA: Final = 64
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
"""Event times lie from the year 2000 on and before 2200; anything else is no time of an LLM request."""

REQUIRED: Final = ("service_name", "model_name", "latency_ms")
UNITS_PER_S: Final = (1, 1_000, 1_000_000, 1_000_000_000)
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LARGEST_INTEGER: Final = 1 << 63

Check = Callable[[object], object]
"""Returns the value as it is sent, or raises ValueError with what it must be."""


class InvalidEventError(ValueError):
    """An event that the daemon would not take. The message never quotes the value: it may be somebody's.

    Attributes:
        field: the name of the field at fault.
        reason: what it must be.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


def checked(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event as it is sent: JSON values only, without the fields that are None.

    Raises:
        InvalidEventError: a required field is missing, a field is not known, or its value cannot be what it is meant to be.
    """
    clean: dict[str, Any] = {}
    for field, value in event.items():
        if value is None:
            continue
        check = _CHECKS.get(field)
        if check is None:
            raise InvalidEventError(str(field)[:MAX_NAME], "is no field of an event; put it into metadata")
        try:
            clean[field] = check(value)
        except ValueError as reason:
            raise InvalidEventError(field, str(reason)) from None
    for field in REQUIRED:
        if field not in clean:
            raise InvalidEventError(field, "is missing")
    return clean


def _must_be(what: str, value: object) -> ValueError:
    return ValueError(f"must be {what}, is {type(value).__name__}")


def _name(longest: int) -> Callable[[object], str]:
    def check(value: object) -> str:
        name = _text(value).strip(" ")
        if not 0 < len(name) <= longest:
            raise ValueError(f"must have 1 to {longest} characters")
        if not name.isprintable() and _CONTROL.search(name):
            raise ValueError("must hold no control character")
        return name

    return check


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _must_be("text", value)
    return value


def _identifier(value: object) -> str | int:
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise _must_be("text or a whole number", value)
    return value if abs(value) < _LARGEST_INTEGER else str(value)


def _event_id(value: object) -> str:
    return _name(MAX_EVENT_ID)(str(_identifier(value)))


def _amount(value: object) -> int | float:
    number = _number(value)
    if not 0 <= number <= sys.float_info.max:
        raise ValueError("must be 0 or more, and finite")
    return number


def _number(value: object) -> int | float:
    """A number, also one of another library: Decimal, numpy's and the like."""
    if type(value) is float or type(value) is int:
        return value
    if isinstance(value, bool) or not isinstance(value, (SupportsIndex, SupportsFloat)):
        raise _must_be("a number", value)
    try:
        return int(value) if isinstance(value, SupportsIndex) else float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("must be a finite number") from None


def _count(value: object) -> int:
    number = _amount(value)
    if number != int(number):
        raise ValueError("must be a whole number")
    return int(number)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise _must_be("true or false", value)
    return value


def _error(value: object) -> bool | str:
    if isinstance(value, BaseException):
        return type(value).__name__
    return value if isinstance(value, bool) else _text(value)


def _errors(value: object) -> list[bool | str]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise _must_be("a list of texts", value)
    return [_error(error) for error in value]


def _status(value: object) -> str | int:
    return value if isinstance(value, str) else _count(value)


def _timestamp(value: object) -> str | int | float:
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("must have a time zone, for example datetime.now(UTC)")
        if not EARLIEST <= value < LATEST:
            raise ValueError("must lie between the years 2000 and 2200")
        return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _must_be("a datetime, RFC 3339 text or a number since the epoch", value)
    earliest_s, latest_s = EARLIEST.timestamp(), LATEST.timestamp()
    if not any(earliest_s * units <= value < latest_s * units for units in UNITS_PER_S):
        raise ValueError("must lie between the years 2000 and 2200, in s, ms, us or ns since the epoch")
    return value


def _parsed(text: str) -> datetime:
    """RFC 3339; without a zone it is UTC, as the daemon has it."""
    try:
        at = datetime.fromisoformat(text[:MAX_NAME])
    except ValueError:
        raise ValueError("must be RFC 3339, for example 2026-01-15T10:30:01.250Z") from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _metadata(value: object) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise _must_be("a mapping", value)
    if len(value) > MAX_METADATA:
        raise ValueError(f"must have no more than {MAX_METADATA} keys, has {len(value)}")
    return {_text(key): _scalar(item) for key, item in value.items()}


def _scalar(value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, uuid.UUID):
        return str(value)
    number = _number(value)
    if not abs(number) <= sys.float_info.max:
        raise ValueError("must hold finite numbers")
    return number


_CHECKS: Final[dict[str, Check]] = {
    "event_id": _event_id,
    "timestamp": _timestamp,
    "service_name": _name(MAX_NAME),
    "model_name": _name(MAX_NAME),
    "tenant": _name(MAX_TENANT),
    "error": _error,
    "errors": _errors,
    "status": _status,
    "success": _flag,
    "streaming": _flag,
    "metadata": _metadata,
    **dict.fromkeys(
        ("latency_ms", "cost_usd", "ttft_ms", "time_per_output_token_ms", "memory_used_bytes", "image_count", "audio_count", "video_count"),
        _amount,
    ),
    **dict.fromkeys(("audio_seconds", "video_seconds"), _amount),
    **dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "cache_write_tokens"), _count),
    **dict.fromkeys(("reasoning_tokens", "prompt_length", "response_length", "schema_version"), _count),
    **dict.fromkeys(("user_id", "session_id", "request_id", "trace_id", "span_id", "parent_span_id", "prompt_version"), _identifier),
    **dict.fromkeys(("provider", "operation", "environment", "region", "finish_reason"), _text),
    **dict.fromkeys(("prompt_text", "response_text", "prompt_hash", "response_hash"), _text),
}
