"""Records that cannot be events: a good record spoiled in one of the ways producers really get wrong."""

from collections.abc import Callable
from typing import Final

from sentinel.core.errors import RejectCode

SPOILERS: Final[tuple[tuple[RejectCode, Callable[[bytes], bytes]], ...]] = (
    (RejectCode.MALFORMED_JSON, lambda record: record[: len(record) // 2]),
    (RejectCode.NOT_AN_OBJECT, lambda _: b'"not an object"'),
    (RejectCode.MISSING_FIELD, lambda record: record.replace(b'"service_name":', b'"servce_name":', 1)),
    (RejectCode.WRONG_TYPE, lambda record: record.replace(b'"latency_ms":', b'"latency_ms":"fast","was":', 1)),
    (RejectCode.OUT_OF_RANGE, lambda record: record.replace(b'"latency_ms":', b'"latency_ms":-', 1)),
    (RejectCode.BAD_UTF8, lambda record: record.replace(b'"service_name":"', b'"service_name":"\xff\xfe', 1)),
    (RejectCode.BAD_TIMESTAMP, lambda record: record.replace(b'"timestamp":"', b'"timestamp":"someday ', 1)),
)
"""How to spoil a simulated record, and the reject code a strict reader may give for it."""


def spoil(record: bytes, way: int) -> bytes:
    """The record spoiled in the way `way` modulo the number of ways; it never holds a line feed.

    >>> spoil(b'{"service_name":"chat"}', 2)
    b'{"servce_name":"chat"}'
    """
    return SPOILERS[way % len(SPOILERS)][1](record)
