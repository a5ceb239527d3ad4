"""Columns of texts that are parts of one text, so that nobody has to make an object of each. Pure."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from sentinel.core.batch import Int32


class Parts(NamedTuple):
    """Parts of a text.

    Attributes:
        text: ASCII.
        start, end: int32[n], where each part lies in it; start -1 = absent.
    """

    text: bytes
    start: Int32
    end: Int32


class InParts(Sequence[str | None]):
    """A column of a batch that can say where in one text its values lie."""

    @abstractmethod
    def parts(self) -> Parts:
        """The values, in the order of the column."""
