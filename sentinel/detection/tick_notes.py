"""Notes: a few events of each series that are remembered by name, so that a finding can say who contributed and what to look at.

Three small rings a series: what was failed or extreme, a sample of the last minutes, a sample of the last hours. A finding is explained
by the first (traffic by the second): a value of a dimension that has a good part of these events, and clearly more than of those before it
began, is a contributor. Memory is bounded: only the first `MOST_SERIES` series of a partition have notes.
"""

from collections import Counter, deque
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from sentinel.core.anomaly import Contributor
from sentinel.core.batch import Dimensions
from sentinel.core.tell import Kind
from sentinel.detection.tick_state import NOTE_EXTREME, NOTE_FAILED, NOTE_SAMPLE, NOTE_USUAL
from sentinel.detection.tick_waiting import Words

MOST_SERIES: Final = 1_024
RING: Final = 32
LEAST_EVENTS: Final = 3
"""Events a share is worth something from, and that a contributor has at least: fewer are chance."""
LEAST_SHARE: Final = 0.3
LEAST_LIFT: Final = 2.0
"""How many times its usual share a contributor has."""
MOST_TOLD: Final = 3
_NAMES: Final = ("user", *Dimensions._fields)


class Note(NamedTuple):
    """One remembered event.

    Attributes:
        ts_ns: its time.
        bits: why it is remembered, see `tick_state`.
        weight: how extreme it is.
        trace_id, user, dimensions: its names.
    """

    ts_ns: int
    bits: int
    weight: float
    trace_id: str | None
    user: str | None
    dimensions: tuple[str | None, ...]

    def values(self) -> tuple[str | None, ...]:
        """Its value of each dimension, users first."""
        return (self.user, *self.dimensions)


class Notes:
    """The notes of a partition."""

    __slots__ = ("_odd", "_sample", "_usual")

    def __init__(self) -> None:
        self._odd: dict[int, deque[Note]] = {}
        self._sample: dict[int, deque[Note]] = {}
        self._usual: dict[int, deque[Note]] = {}

    def take(self, row: int, ts_ns: int, bits: int, weight: float, words: Words) -> None:
        """Remember an event."""
        if row >= MOST_SERIES:
            return
        note = Note(ts_ns, bits, weight, *words)
        for wanted, rings in ((NOTE_FAILED | NOTE_EXTREME, self._odd), (NOTE_SAMPLE, self._sample), (NOTE_USUAL, self._usual)):
            if bits & wanted:
                ring = rings.get(row)
                if ring is None:
                    ring = rings[row] = deque(maxlen=RING)
                ring.append(note)

    def about(self, kind: Kind, row: int, since_ns: int) -> tuple[list[Contributor], list[str]]:
        """Who contributed to a finding, strongest first, and traces to look at, the most extreme first."""
        if kind in {Kind.SILENCE, Kind.ALL_SILENT, Kind.DROP}:
            return [], []
        wanted = {Kind.FAILURES: NOTE_FAILED, Kind.SURGE: NOTE_SAMPLE}.get(kind, NOTE_EXTREME)
        odd = self._since(self._sample if wanted == NOTE_SAMPLE else self._odd, row, since_ns, wanted)
        if len(odd) < LEAST_EVENTS:
            odd = self._since(self._sample, row, since_ns, NOTE_SAMPLE)
        usual = [note for note in self._usual.get(row, ()) if note.ts_ns < since_ns]
        worst = sorted(odd, key=lambda note: (-note.weight, -note.ts_ns))
        traces = list(dict.fromkeys(note.trace_id for note in worst if note.trace_id is not None))
        return contributors(odd, usual), traces[:MOST_TOLD]

    @staticmethod
    def _since(rings: dict[int, deque[Note]], row: int, since_ns: int, bits: int) -> list[Note]:
        return [note for note in rings.get(row, ()) if note.ts_ns >= since_ns and note.bits & bits]

    def tables(self) -> dict[str, npt.NDArray[Any]]:
        """What a checkpoint keeps."""
        rings = [[(row, list(ring)) for row, ring in rings.items()] for rings in (self._odd, self._sample, self._usual)]
        return {"notes": np.frombuffer(msgspec.json.encode(rings), np.uint8)}

    def load(self, tables: dict[str, npt.NDArray[Any]]) -> None:
        """Become what `tables` was taken of. Raises KeyError or msgspec.MsgspecError when they do not fit."""
        kept = msgspec.json.decode(tables["notes"].tobytes(), type=list[list[tuple[int, list[Note]]]])
        self._odd, self._sample, self._usual = ({row: deque(notes, maxlen=RING) for row, notes in rings} for rings in kept)


def contributors(odd: Iterable[Note], usual: Iterable[Note]) -> list[Contributor]:
    """The values of dimensions that have a good part of the odd events, and clearly more than of the usual ones; at most a few.

    >>> notes = [Note(t, 1, 0.0, None, user, (None,) * 6) for t, user in enumerate("aaab")]
    >>> [(one.value, one.share) for one in contributors(notes, [])]
    [('a', 0.75)]
    """
    odd, usual = list(odd), list(usual)
    found = []
    if len(odd) < LEAST_EVENTS:
        return []
    for place, name in enumerate(_NAMES):
        now = Counter(note.values()[place] for note in odd)
        before = Counter(note.values()[place] for note in usual)
        for value, count in now.items():
            share = count / len(odd)
            known = before[value] / len(usual) if usual else None
            enough = count >= LEAST_EVENTS and share >= LEAST_SHARE
            # What all have, where nothing is known of before, may be how the series is.
            special = share < 1.0 if known is None else share >= LEAST_LIFT * known
            if value is not None and enough and special:
                found.append(Contributor(dimension=name, value=value, share=share, usual=known))
    found.sort(key=lambda one: (-(one.share - (one.usual or 0.0)), one.dimension, one.value))
    return found[:MOST_TOLD]
