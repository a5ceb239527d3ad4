"""From an input's parts to clean events within the asked time, and an account of everything that was left out."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from sentinel.app.backtest.inputs import Part, Span
from sentinel.config.schema import Config
from sentinel.core.batch import CleanBatch, SeriesKey
from sentinel.core.delivery import NO_LOG_TIME, Delivery
from sentinel.core.flags import Flag
from sentinel.ingestion.sanitize import Sanitizer
from sentinel.pipeline.process import Cleaned, Rules, clean

MOST_SERIES: Final = 100_000
"""Series that are told apart when they are counted."""


@dataclass(slots=True)
class Account:
    """What became of everything that was read.

    Attributes:
        events: to be judged, repeats among them.
        filtered: spans that are no LLM requests.
        timeless: events of a file that have no time of their own: nobody knows when they were.
        outside: events outside the asked time, and between which times they lay.
        rejected: records that cannot be events, by code; first_reject: the first of them.
        first_ns, last_ns: event times of the first and the last to be judged; None when there was none.
        series: distinct ones, up to MOST_SERIES.
    """

    events: int = 0
    filtered: int = 0
    timeless: int = 0
    outside: int = 0
    outside_ns: tuple[int, int] | None = None
    rejected: Counter[str] = field(default_factory=Counter)
    first_reject: str | None = None
    first_ns: int | None = None
    last_ns: int | None = None
    series: set[SeriesKey] = field(default_factory=set)

    @property
    def length_ns(self) -> int:
        """From the first event to the last, in event time."""
        return 0 if self.first_ns is None or self.last_ns is None else self.last_ns - self.first_ns


class Sieve:
    """Cleans parts by the rules of one configuration, and keeps account.

    Args:
        config: its limits and rules of privacy.
        span: event times that count.
        key: makes pseudonyms.
    """

    def __init__(self, config: Config, span: Span, key: bytes) -> None:
        ingestion = config.ingestion
        self._sections = (ingestion.parsing, ingestion.validation, ingestion.dead_letters, config.privacy)
        sanitizer = Sanitizer(ingestion.parsing, ingestion.validation, config.privacy, ingestion.dead_letters, key)
        self._rules = Rules(ingestion.parsing, ingestion.validation, sanitizer)
        self._span = span
        self.account = Account()

    def fits(self, config: Config) -> bool:
        """Whether another configuration cleans in the same way."""
        ingestion = config.ingestion
        return self._sections == (ingestion.parsing, ingestion.validation, ingestion.dead_letters, config.privacy)

    def clean(self, part: Part) -> Cleaned:
        """The events of a part that count."""
        events = part.events
        cleaned = clean(events, self._rules) if isinstance(events, Delivery) else Cleaned(len(events), events, [], 0)
        self._note_rejects(cleaned)
        timed = self._timed(cleaned.batch)
        batch = self._span.of(timed)
        self._note(timed, batch)
        return replace(cleaned, batch=batch)

    def _timed(self, batch: CleanBatch) -> CleanBatch:
        """The events that have a time. One without would stand at the time of reading, and make all others late."""
        timeless = ((batch.flags & Flag.TIMESTAMP_MISSING) != 0) & (batch.log_ns == NO_LOG_TIME)
        if not timeless.any():
            return batch
        self.account.timeless += int(np.count_nonzero(timeless))
        return batch.take(~timeless)

    def _note(self, timed: CleanBatch, batch: CleanBatch) -> None:
        account = self.account
        if len(batch):
            account.events += len(batch)
            first, last = int(batch.ts_ns.min()), int(batch.ts_ns.max())
            account.first_ns = first if account.first_ns is None else min(account.first_ns, first)
            account.last_ns = last if account.last_ns is None else max(account.last_ns, last)
            if len(account.series) < MOST_SERIES:
                account.series.update(batch.names)
        if len(batch) < len(timed):
            account.outside += len(timed) - len(batch)
            low, high = account.outside_ns or (int(timed.ts_ns[0]), int(timed.ts_ns[0]))
            account.outside_ns = min(low, int(timed.ts_ns.min())), max(high, int(timed.ts_ns.max()))

    def _note_rejects(self, cleaned: Cleaned) -> None:
        self.account.filtered += cleaned.filtered
        self.account.rejected.update(letter.code.value for letter in cleaned.dead_letters)
        if cleaned.dead_letters and self.account.first_reject is None:
            letter = cleaned.dead_letters[0]
            is_file = letter.source.topic.startswith("file:")
            where = f"line {letter.offset + 1:,}" if is_file else f"offset {letter.offset} of partition {letter.source.partition}"
            self.account.first_reject = f"{where}: {letter.code.value}: {letter.detail}"
