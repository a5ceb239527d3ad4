"""Deliveries: what a source hands over, before anything is read out of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sentinel.core.batch import Int64, PartitionId

NO_LOG_TIME = 0
"""Log time of records from a log that has no time of its own, such as a file."""

RECORD_BYTES = 512
"""What a record costs in memory besides its bytes: tombstones and empty lines are no free ride."""


def weight_bytes(records: Sequence[bytes | None]) -> int:
    """What records count against limits on bytes.

    >>> weight_bytes([b"12345678", None])
    1032
    """
    return RECORD_BYTES * len(records) + sum(map(len, filter(None, records)))


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a source handed over: records in log order, awaiting their ack.

    Attributes:
        source: the log the records come from.
        records: raw bytes; None is a tombstone.
        offsets: int64[n], strictly rising.
        timestamps_ns: int64[n], the log's own time of each record (append or create time); NO_LOG_TIME when it has none.
        received_ns: wall-clock time of receipt.
        epoch: assignment epoch of the partition when it was read; work of an old epoch is dropped.
        size_bytes: what the records count against limits, see `weight_bytes`.
    """

    source: PartitionId
    records: Sequence[bytes | None]
    offsets: Int64
    timestamps_ns: Int64
    received_ns: int
    epoch: int
    size_bytes: int

    @classmethod
    def mark(cls, source: PartitionId, next_offset: int, now_ns: int, epoch: int) -> "Delivery":
        """A delivery of no records: what a time mark or a command brings to light goes the way of events, at the place it came."""
        return cls(source, (), np.array([next_offset - 1]), np.array([NO_LOG_TIME]), now_ns, epoch, 0)

    @property
    def next_offset(self) -> int:
        """The offset after the last record."""
        return int(self.offsets[-1]) + 1
