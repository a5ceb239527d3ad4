"""Records that cannot be events: as they came, and as they may be kept."""

from dataclasses import dataclass

from sentinel.core.batch import PartitionId
from sentinel.core.errors import RejectCode


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that cannot be an event. It still holds raw bytes: only `sanitize` may read them.

    Attributes:
        offset: offset of the record; timestamp_ns its log time.
        index: position of the record in its delivery; `sub` the position of the event within the record.
        detail: what is wrong and where, in words made by us (never a quote of the record).
    """

    index: int
    offset: int
    sub: int
    timestamp_ns: int
    code: RejectCode
    detail: str
    raw: bytes | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A reject, redacted and truncated: safe to keep and to show."""

    source: PartitionId
    offset: int
    sub: int
    index: int
    code: RejectCode
    detail: str
    received_ns: int
    record: str
    record_bytes: int
