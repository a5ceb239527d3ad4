"""Cursors: where a page of events ended. Opaque to callers, checked when they come back."""

import binascii
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final, NamedTuple

_LAYOUT: Final = struct.Struct(">Bqqqq")
_FORMAT: Final = 1


class Place(NamedTuple):
    """One event in the order of pages: by time, then by its place in its log."""

    ts_ns: int
    part: int
    off: int
    sub: int


def encode_cursor(place: Place) -> str:
    """The cursor that goes on after an event.

    >>> decode_cursor(encode_cursor(Place(5, 1, 7, 0)))
    Place(ts_ns=5, part=1, off=7, sub=0)
    """
    return urlsafe_b64encode(_LAYOUT.pack(_FORMAT, *place)).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> Place:
    """The place a cursor stands for.

    Raises:
        ValueError: it is none that `encode_cursor` made.
    """
    try:
        format_, *place = _LAYOUT.unpack(urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
    except (binascii.Error, struct.error, UnicodeEncodeError) as error:
        raise ValueError("the cursor is damaged; take next_cursor as it was given, or ask without a cursor") from error
    decoded = Place(*place)
    if format_ != _FORMAT or encode_cursor(decoded) != cursor:
        raise ValueError("the cursor is of another version; ask again without a cursor")
    return decoded
