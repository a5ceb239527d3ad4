"""A look at protobuf's wire format without building messages: where the nested ones begin and end.

Source: https://protobuf.dev/programming-guides/encoding/.
"""

from typing import Final, NamedTuple

from sentinel.core.errors import RejectCode
from sentinel.ingestion.unusable import Budget, UnusableError

_VARINT, _FIXED64, _NESTED, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES: Final = {_FIXED64: 8, _FIXED32: 4}


class Extent(NamedTuple):
    """One length-delimited field: its number, and where its content starts and stops."""

    number: int
    start: int
    stop: int


class Extents:
    """Finds the length-delimited fields of a message at a cost bounded for the whole record.

    Args:
        raw: the record.
        budget: how many fields may be looked at in all.
    """

    def __init__(self, raw: bytes, budget: Budget) -> None:
        self._raw = raw
        self._budget = budget

    def within(self, start: int, stop: int) -> list[Extent]:
        """The length-delimited fields of the message that fills `raw[start:stop]`.

        Raises:
            UnusableError: malformed_json when this is not protobuf, too_large when the budget is spent.
        """
        found = []
        at = start
        while at < stop:
            self._budget.spend(1)
            tag, at = self._varint(at)
            kind = tag & 7
            if kind == _NESTED:
                size, at = self._varint(at)
                found.append(Extent(tag >> 3, at, at + size))
                at += size
            elif kind == _VARINT:
                _, at = self._varint(at)
            elif kind in _FIXED_BYTES:
                at += _FIXED_BYTES[kind]
            else:
                raise _not_protobuf()
        if at != stop:
            raise _not_protobuf()
        return found

    def _varint(self, at: int) -> tuple[int, int]:
        """The number at a position, and the position after it."""
        value = shift = 0
        for byte in self._raw[at : at + 10]:
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
        raise _not_protobuf()


def _not_protobuf() -> UnusableError:
    return UnusableError(RejectCode.MALFORMED_JSON, "neither JSON nor OTLP protobuf")
