"""Events that a store will never take, and how it says so."""

from collections.abc import Sequence
from dataclasses import dataclass

from sentinel.core.batch import PartitionId
from sentinel.core.errors import PermanentError


@dataclass(frozen=True, slots=True)
class Refusal:
    """One event that will never be accepted.

    Attributes:
        source: its log; offset and sub its place there.
        reason: why, in words of ours and of the store; bounded, without control characters.
        record: the point as it was to be stored, sanitized and cut short; empty when it could not even be written down.
        record_bytes: its whole length.
    """

    source: PartitionId
    offset: int
    sub: int
    reason: str
    record: str
    record_bytes: int


class RefusedError(PermanentError):
    """Some events of a write will never be accepted; all others of it are stored, and no position has moved.

    The caller makes these events dead letters and, once they are safe, gives the same writes again without them: that moves the
    positions. The same write with them raises this again, without another try.

    Attributes:
        refusals: at least one.
    """

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        first = refusals[0]
        more = f", and {len(refusals) - 1} more" if len(refusals) > 1 else ""
        super().__init__(f"the store refuses {first.source} offset {first.offset}: {first.reason}{more}")
        self.refusals = refusals
