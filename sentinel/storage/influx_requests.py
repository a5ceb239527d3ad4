"""From what is to be stored to requests, and back from a line of a request to the place in the log it belongs to. Pure."""

from bisect import bisect_right
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from typing import Final, Literal, NamedTuple

import numpy as np

from sentinel.config.schema import InfluxDB
from sentinel.core.batch import CleanBatch, Int64, PartitionId
from sentinel.core.ports import StoreWrite
from sentinel.core.refusal import Refusal
from sentinel.storage import influx_points, influx_ticks
from sentinel.storage.influx_points import Heads
from sentinel.storage.line_protocol import UnfitError
from sentinel.storage.lines import Lines

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


Part = tuple[Lines, Callable[[int], Place]]
"""Some lines, and what says where the i-th of them belongs."""


class Points:
    """Lines of one kind, and the places in the logs that they belong to.

    Args:
        parts: all of them, in order.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = [lines for lines, _ in parts]
        self._places = [place for _, place in parts]
        self._starts = list(accumulate(map(len, self._parts), initial=0))

    def sizes(self) -> Int64:
        """int64[n], the bytes of each line with its line break."""
        return np.concatenate([np.zeros(0, np.int64), *(np.diff(part.bounds) for part in self._parts)])

    def lines(self, part: range) -> Lines:
        """Some of the lines."""
        starts = zip(self._starts, self._parts, strict=False)
        cut = [lines[max(0, part.start - start) : max(0, part.stop - start)] for start, lines in starts]
        return Lines.joined([lines for lines in cut if lines])

    def place(self, i: int) -> Place:
        """Where line i belongs."""
        part = bisect_right(self._starts, i) - 1
        return self._places[part](i - self._starts[part])


class Request(NamedTuple):
    """Lines of one kind for one bucket: a part of all of that kind."""

    kind: Kind
    bucket: str
    points: Points
    part: range

    @property
    def lines(self) -> Lines:
        """The lines."""
        return self.points.lines(self.part)

    def refusal(self, i: int, reason: str) -> Refusal:
        """The place of the request's line i as one that is refused."""
        at = self.part[i]
        (line,) = self.points.lines(range(at, at + 1))
        return Refusal(*self.points.place(at), reason, line.decode()[:RECORD_CHARS], len(line))


def place_of(batch: CleanBatch, row: int) -> Place:
    """Where an event of a batch stands."""
    return Place(batch.source, int(batch.offsets[row]), int(batch.subs[row]))


class Made(NamedTuple):
    """The requests that store some writes; the events, and the anomalies of time windows, that cannot be written down."""

    requests: list[Request]
    refusals: list[Refusal]
    unfit: list[Refusal]


def requests_of(items: Sequence[StoreWrite], section: InfluxDB, heads: Heads) -> Made:
    """The requests that store these."""
    events: list[Part] = []
    anomalies: list[Part] = []
    refusals: list[Refusal] = []
    unfit: list[Refusal] = []
    for item in items:
        refusals += _add_batch(item, heads, events, anomalies)
        unfit += _add_ticks(item, anomalies)
    kinds: tuple[tuple[Kind, str, Points], ...] = (
        ("event", section.telemetry_bucket, Points(events)),
        ("anomaly", section.anomaly_bucket, Points(anomalies)),
    )
    return Made([Request(*kind, part) for kind in kinds for part in cut(kind[2].sizes(), section.batch_size)], refusals, unfit)


def _add_batch(item: StoreWrite, heads: Heads, events: list[Part], anomalies: list[Part]) -> list[Refusal]:
    """Put a batch's events and anomalies where they belong; returns the events that cannot be written."""
    batch, found = item.batch, item.anomalies
    made = influx_points.event_lines(batch, heads)
    events.append((made.lines, partial(_place_of_row, batch, made.rows)))
    unfit = {row for row, _ in made.refused}
    chosen = [i for i, event in enumerate(found.event.tolist()) if event not in unfit]
    lines = influx_points.anomaly_lines(batch, found, chosen, heads)
    anomalies.append((lines, partial(_place_of_row, batch, found.event[chosen].tolist())))
    return [Refusal(*place_of(batch, row), reason, "", 0) for row, reason in made.refused]


def _add_ticks(item: StoreWrite, anomalies: list[Part]) -> list[Refusal]:
    """Put a write's anomalies of time windows where they belong; returns those that cannot be written."""
    lines: list[str] = []
    places: list[Place] = []
    unfit: list[Refusal] = []
    for anomaly in item.tick_anomalies:
        place = Place(item.source, anomaly.offset, 0)
        try:
            lines.append(influx_ticks.line(anomaly))
        except UnfitError as error:
            unfit.append(Refusal(*place, str(error), "", 0))
        else:
            places.append(place)
    anomalies.append((Lines.of(lines), places.__getitem__))
    return unfit


def _place_of_row(batch: CleanBatch, rows: Sequence[int], i: int) -> Place:
    return place_of(batch, rows[i])


def cut(sizes: Int64, most: int) -> list[range]:
    """Where to cut lines into requests of at most `most` lines and MAX_REQUEST_BYTES; a larger line stands alone.

    Args:
        sizes: int64[n], of the lines with their line breaks. The last line of a request has none.
        most: lines of a request.

    >>> cut(np.array([2, 2, 2]), 2)
    [range(0, 2), range(2, 3)]
    """
    ends = np.cumsum(sizes)
    cuts, start, before = [], 0, 0
    while start < len(ends):
        fitting = int(np.searchsorted(ends, before + MAX_REQUEST_BYTES + 1, side="right"))
        end = min(max(fitting, start + 1), start + most, len(ends))
        cuts.append(range(start, end))
        start, before = end, int(ends[end - 1])
    return cuts


def part_from(item: StoreWrite, offset: int, known: Container[str]) -> StoreWrite | None:
    """What of a write is missing; None when nothing is.

    Args:
        item: the write.
        offset: events below it are stored; so is everything of a write that ends below it.
        known: ids of anomalies of time windows that are stored.
    """
    ticks = [anomaly for anomaly in item.tick_anomalies if anomaly.id not in known] if item.next_offset >= offset else []
    fresh = item.batch.offsets >= offset
    if not fresh.any() and not ticks:
        return None
    if fresh.all():
        return item if len(ticks) == len(item.tick_anomalies) else replace(item, tick_anomalies=ticks)
    return replace(item, batch=item.batch.take(fresh), anomalies=item.anomalies.of_events(fresh), tick_anomalies=ticks)
