"""What sanitizing one batch brings to light."""

from dataclasses import dataclass, field

from sentinel.core.batch import Int32
from sentinel.core.flags import Flag
from sentinel.ingestion.redact import Counts


@dataclass(slots=True)
class Noticed:
    """What was found and changed, by position of the event in the batch.

    Attributes:
        counts: findings by type.
        cleaned, truncated, trimmed: events that get the flag of this name; an event may be named more than once.
        personal: events in whose texts something was found.
    """

    counts: Counts = field(default_factory=dict)
    cleaned: list[int] = field(default_factory=list)
    truncated: list[int] = field(default_factory=list)
    trimmed: list[int] = field(default_factory=list)
    personal: list[int] = field(default_factory=list)

    def count(self, found: Counts, times: int) -> None:
        """Add what was found in something that so many events have."""
        for kind, count in found.items():
            self.counts[kind] = self.counts.get(kind, 0) + count * times

    def flagged(self, flags: Int32) -> Int32:
        """The batch's flags with what was noticed."""
        marked = flags.copy()
        for events, flag in ((self.cleaned, Flag.CLEANED), (self.truncated, Flag.TEXT_TRUNCATED), (self.trimmed, Flag.METADATA_TRIMMED)):
            if events:
                marked[events] |= int(flag)
        return marked
