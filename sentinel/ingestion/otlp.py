"""What an OTLP record of traces held, whichever encoding it came in, and how much may be looked at in one.

Source: OpenTelemetry protocol 1.x, `opentelemetry/proto/trace/v1/trace.proto`. Spans are decoded one by one, so that a bad span spoils no
other and memory is bounded by the largest span.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sentinel.ingestion.attributes import Value
from sentinel.ingestion.span import Span, SpanEvent, event_of
from sentinel.ingestion.unusable import UNREADABLE, Budget, Reason, UnusableError, reason_of

MAX_LLM_SPANS: Final = 2_500
MAX_SPANS: Final = 5_000
MAX_PARTS: Final = 30_000
MAX_VALUES: Final = 100_000
"""What may be looked at in one record; beyond it the record, or the span that holds too many values, is too_large. Two bytes of OTLP can
stand for 200 bytes of memory and much work; a megabyte of real spans stays below.
"""

EVENT_TEXTS: Final = ("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.prompt", "gen_ai.completion")
STATUS_ERROR: Final = 2


class BadSpan(NamedTuple):
    """A span that looks like an LLM request and cannot be an event, with the bytes of this span alone."""

    reason: Reason
    raw: bytes


@dataclass(slots=True)
class Spans:
    """What one record held.

    Attributes:
        events: one per LLM span, in the record's order: the event, or why it is none.
        filtered: how many spans are no LLM requests; 1 for a record without any span, so that every record is accounted for.
        budget: how many more LLM spans are accepted.
    """

    events: list[SpanEvent | BadSpan] = field(default_factory=list)
    filtered: int = 0
    budget: Budget = field(default_factory=lambda: Budget(MAX_LLM_SPANS, "LLM spans"))

    def add(self, raw: bytes, read: Callable[[bytes], Span], resource: Mapping[str, Value]) -> None:
        """Read one span; what is wrong with it is wrong with it alone. Raises UnusableError when the record holds too many."""
        try:
            event: SpanEvent | BadSpan | None = event_of(read(raw), resource)
        except (UnusableError, *UNREADABLE) as error:
            event = BadSpan(reason_of(error, raw, "span"), raw)
        if event is None:
            self.filtered += 1
        else:
            self.budget.spend(1)
            self.events.append(event)

    def counted(self) -> "Spans":
        """The same; one is filtered when there was no span."""
        self.filtered = self.filtered or int(not self.events)
        return self


def with_texts(attributes: dict[str, Value], events: Iterable[tuple[str, Mapping[str, Value]]]) -> tuple[dict[str, Value], str | None]:
    """A span's attributes with the texts that older conventions put into its events, and the type of the first exception."""
    exception = None
    for name, inner in events:
        if name == "exception" and exception is None:
            exception = str(inner.get("exception.type") or "exception")
        elif name.startswith("gen_ai."):
            attributes |= {text: inner[text] for text in EVENT_TEXTS if text in inner and text not in attributes}
    return attributes, exception
