"""From what is to be stored to requests, and back from a line of a request to the event it belongs to. Pure."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from sentinel.config.schema import InfluxDB
from sentinel.core.batch import CleanBatch, PartitionId
from sentinel.core.ports import StoreWrite
from sentinel.core.refusal import Refusal
from sentinel.storage import influx_points
from sentinel.storage.influx_points import Heads

Kind = Literal["event", "anomaly"]

RECORD_CHARS: Final = 4_096
"""How much of a refused point is handed on."""
MAX_REQUEST_BYTES: Final = 4_194_304
"""A request is cut before it grows beyond this; servers take 10 MB by default."""


class Place(NamedTuple):
    """An event's place in its log."""

    source: PartitionId
    offset: int
    sub: int


@dataclass(slots=True)
class Points:
    """Lines of one kind, and the events they belong to: batch by batch, the row of each line."""

    lines: list[str] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)
    _owners: list[tuple[CleanBatch, Sequence[int]]] = field(default_factory=list)

    def add(self, lines: Sequence[str], batch: CleanBatch, rows: Sequence[int]) -> None:
        """Lines of rows of a batch."""
        self._starts.append(len(self.lines))
        self._owners.append((batch, rows))
        self.lines.extend(lines)

    def place(self, i: int) -> Place:
        """Where the event of line i stands."""
        owner = bisect_right(self._starts, i) - 1
        batch, rows = self._owners[owner]
        return place_of(batch, rows[i - self._starts[owner]])


class Request(NamedTuple):
    """Lines of one kind for one bucket: a part of all of that kind."""

    kind: Kind
    bucket: str
    points: Points
    part: range

    @property
    def lines(self) -> Sequence[str]:
        """The lines."""
        return self.points.lines[self.part.start : self.part.stop]

    def refusal(self, i: int, reason: str) -> Refusal:
        """The event of the request's line i as one that is refused."""
        line = self.points.lines[self.part[i]]
        return Refusal(*self.points.place(self.part[i]), reason, line[:RECORD_CHARS], len(line.encode()))


def place_of(batch: CleanBatch, row: int) -> Place:
    """Where an event of a batch stands."""
    return Place(batch.source, int(batch.offsets[row]), int(batch.subs[row]))


def requests_of(items: Sequence[StoreWrite], section: InfluxDB, heads: Heads) -> tuple[list[Request], list[Refusal]]:
    """The requests that store these, and the events that cannot be written down."""
    events, anomalies = Points(), Points()
    refusals = []
    for item in items:
        batch, found = item.batch, item.anomalies
        made = influx_points.event_lines(batch, heads)
        events.add(made.lines, batch, made.rows)
        refusals += [Refusal(*place_of(batch, row), reason, "", 0) for row, reason in made.refused]
        unfit = {row for row, _ in made.refused}
        chosen = [i for i, event in enumerate(found.event.tolist()) if event not in unfit]
        anomalies.add(influx_points.anomaly_lines(batch, found, chosen, heads), batch, found.event[chosen].tolist())
    kinds: tuple[tuple[Kind, str, Points], ...] = (
        ("event", section.telemetry_bucket, events),
        ("anomaly", section.anomaly_bucket, anomalies),
    )
    return [Request(*kind, part) for kind in kinds for part in cut(kind[2].lines, section.batch_size)], refusals


def cut(lines: Sequence[str], most: int) -> list[range]:
    """Where to cut lines into requests of at most `most` lines and MAX_REQUEST_BYTES characters; a larger line stands alone.

    >>> cut(["a", "b", "c"], 2)
    [range(0, 2), range(2, 3)]
    """
    cuts, start, size = [], 0, 0
    for end, line in enumerate(lines):
        if end > start and (end - start == most or size + len(line) > MAX_REQUEST_BYTES):
            cuts.append(range(start, end))
            start, size = end, 0
        size += len(line) + 1
    return [*cuts, range(start, len(lines))] if lines else []


def part_from(item: StoreWrite, offset: int) -> StoreWrite | None:
    """The events and anomalies of a write from an offset on; None when there are none."""
    fresh = item.batch.offsets >= offset
    if fresh.all():
        return item if len(item.batch) else None
    if not fresh.any():
        return None
    return StoreWrite(item.batch.take(fresh), item.anomalies.of_events(fresh), item.source, item.next_offset)
