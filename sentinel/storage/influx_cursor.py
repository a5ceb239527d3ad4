"""Cursors of pages from InfluxDB: where a page of events ended. Opaque to callers, checked when they come back. Pure."""

import binascii
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final, NamedTuple

_LAYOUT: Final = struct.Struct(">Bqqq")
_FORMAT: Final = 2
_MAX_LENGTH: Final = 4_096


class Place(NamedTuple):
    """One event in the order of pages: by its point's time, then by its place in its log."""

    time_ns: int
    offset: int
    sub: int
    partition: str


def encode_cursor(place: Place) -> str:
    """The cursor that goes on after an event.

    >>> decode_cursor(encode_cursor(Place(5, 7, 0, "kafka/t/0")))
    Place(time_ns=5, offset=7, sub=0, partition='kafka/t/0')
    """
    packed = _LAYOUT.pack(_FORMAT, place.time_ns, place.offset, place.sub) + place.partition.encode()
    return urlsafe_b64encode(packed).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> Place:
    """The place a cursor stands for.

    Raises:
        ValueError: it is none that `encode_cursor` made.
    """
    try:
        packed = urlsafe_b64decode(cursor[: _MAX_LENGTH + 1].encode("ascii") + b"=" * (-len(cursor) % 4))
        format_, time_ns, offset, sub = _LAYOUT.unpack(packed[: _LAYOUT.size])
        place = Place(time_ns, offset, sub, packed[_LAYOUT.size :].decode())
    except (binascii.Error, struct.error, UnicodeError) as error:
        raise ValueError("the cursor is damaged; take next_cursor as it was given, or ask without a cursor") from error
    if format_ != _FORMAT or encode_cursor(place) != cursor:
        raise ValueError("the cursor is of another version or store; ask again without a cursor")
    return place
