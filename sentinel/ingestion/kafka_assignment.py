"""One partition while it is ours: where it stands, what may be committed, whether it moves."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from aiokafka import TopicPartition

from sentinel.core.batch import PartitionId
from sentinel.ingestion.offsets import Watermark

FRESH_LOOK_S: Final = 3.0
"""How long it counts that a look showed nothing more."""

STALLED_LOOKS: Final = 30
"""So many looks in a row that show records and no move mean that the client has silently ended."""


@dataclass(slots=True, eq=False)
class Assignment:
    """One partition while it is ours.

    Attributes:
        position: the offset after the last record taken from the client; None until the state is restored.
        commit: the offset to commit next; None when all is committed.
        fault: why it is paused although it is ours.
        task: tries an unreadable one again later.
        looks: how many looks in a row showed records and no move from `seen`.
        end_at: when a look showed that there is nothing more, monotonic seconds; None when the last one showed otherwise.
    """

    tp: TopicPartition
    source: PartitionId
    epoch: int
    watermark: Watermark = field(default_factory=Watermark)
    position: int | None = None
    commit: int | None = None
    fault: str | None = None
    task: "asyncio.Task[None] | None" = None
    seen: int | None = None
    looks: int = 0
    end_at: float | None = None

    @property
    def is_readable(self) -> bool:
        """Whether its records may be taken."""
        return self.position is not None and self.fault is None

    @property
    def is_stalled(self) -> bool:
        """Whether records wait at the brokers and the client does not move."""
        return self.looks >= STALLED_LOOKS

    def at_end(self, now_s: float) -> bool:
        """Whether a look a moment ago, in monotonic seconds, showed nothing more."""
        return self.end_at is not None and now_s - self.end_at <= FRESH_LOOK_S

    def looked(self, *, behind: bool, end_at: float | None) -> None:
        """Take what a look at the brokers showed: whether the client is behind, and since when there is nothing more."""
        self.looks = self.looks + 1 if behind and self.seen == self.position else 0
        self.seen = self.position
        self.end_at = end_at


def beyond(position: int, end: int) -> str:
    """Why a partition is not read whose log is shorter than we know it."""
    return (
        f"position {position} is beyond the end {end}: was the topic made anew? "
        "If so, start with another state_dir and group_id; nothing was skipped."
    )
