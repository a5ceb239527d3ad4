"""Plain records as a batch, without a Python object per field: what `scan` found, as an `EventBatch`.

`decode` stays the reference and reads everything else; what becomes of an event does not depend on which of the two read it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, overload

import msgspec
import numpy as np

from sentinel.config.schema import Parsing
from sentinel.core.batch import Bool, Dialect, EventBatch, Int32
from sentinel.core.delivery import NO_LOG_TIME, Delivery
from sentinel.core.flags import Flag
from sentinel.core.metrics import ERROR, METRIC_NAMES
from sentinel.core.parts import InParts, Parts
from sentinel.ingestion.columns import Series, is_failure, numbered, settled
from sentinel.ingestion.scan import Scanned, scan
from sentinel.ingestion.scan_columns import gather, group, objects, strings
from sentinel.ingestion.scan_keys import NUMBERS, STRINGS, TEXTS
from sentinel.ingestion.wire import Undecoded, WireEvent

_MEASURED: Final = [METRIC_NAMES.index(name) for name in NUMBERS]
_ROW: Final = {name: row for row, name in enumerate(STRINGS)}
_SERIES: Final = ("tenant", "service_name", "model_name")
_TRUE: Final = 2
_STRING: Final = 3

_read_string = msgspec.json.Decoder(str).decode


class Slices(InParts):
    """Parts of a text, cut out when somebody asks for one.

    Args:
        letters: the text, ASCII.
        start, end: int32[n]; start -1 = absent.
    """

    def __init__(self, letters: str, start: Int32, end: Int32) -> None:
        self._letters = letters
        self._start = start
        self._end = end

    def __len__(self) -> int:
        return len(self._start)

    @overload
    def __getitem__(self, at: int) -> str | None: ...
    @overload
    def __getitem__(self, at: slice) -> "Slices": ...
    def __getitem__(self, at: int | slice) -> "str | Slices | None":
        """The part or parts at a position."""
        if isinstance(at, slice):
            return Slices(self._letters, self._start[at], self._end[at])
        start = self._start[at]
        return self._letters[start : self._end[at]] if start >= 0 else None

    def __iter__(self) -> Iterator[str | None]:
        """All parts, at a fraction of what it costs to ask for one after the other."""
        letters = self._letters
        return (letters[low:high] if low >= 0 else None for low, high in zip(self._start.tolist(), self._end.tolist(), strict=True))

    def parts(self) -> Parts:
        """Where they lie, see `InParts`."""
        return Parts(self._letters.encode("ascii"), self._start, self._end)


@dataclass(frozen=True, slots=True)
class Plain:
    """The strings of n plain records, where they lie in their text. Other columns of theirs stand in the batch.

    Attributes:
        text: the records; letters: the same, one character a byte.
        start, end: int32[k, n], the values of STRINGS; -1 = absent.
        escaped: bool[t, n], which of TEXTS hold escapes.
        busy: bool[n], events that have more than identifiers: a text, or an error with words.
    """

    text: bytes
    letters: str
    start: Int32
    end: Int32
    escaped: Bool
    busy: Bool

    def __len__(self) -> int:
        return len(self.busy)

    def take(self, keep: Bool) -> "Plain":
        """The events where `keep` (bool[n]) is true."""
        return Plain(self.text, self.letters, self.start[:, keep], self.end[:, keep], self.escaped[:, keep], self.busy[keep])

    def lazy_column(self, name: str) -> "Slices":
        """One identifier of all events, made when somebody asks for it. It is copied out of the records, which may go before it."""
        start, end = self._spans((name,))
        found = gather(self.text, start, end, np.ones(len(self), np.bool_), 1)
        bounds = found.bounds.astype(np.int32)
        return Slices(found.text.tobytes().decode("latin-1"), np.where(start[0] >= 0, bounds[:-1], np.int32(-1)), bounds[1:])

    def column(self, name: str, at: Int32 | None = None) -> list[str | None]:
        """One identifier of all events, or of those at some positions."""
        row = _ROW[name]
        start, end = (self.start[row], self.end[row]) if at is None else (self.start[row, at], self.end[row, at])
        letters = self.letters
        return [letters[low:high] if low >= 0 else None for low, high in zip(start.tolist(), end.tolist(), strict=True)]

    def distinct(self, names: Sequence[str]) -> tuple[list[tuple[str | None, ...]], Int32]:
        """The distinct values of some identifiers together, in order of first appearance, and int32[n] which of them each event has."""
        codes, first = group(self.text, *self._spans(names), np.ones(len(self), np.bool_))
        return list(zip(*(self.column(name, first) for name in names), strict=True)), codes

    def texts(self, names: Sequence[str], events: int) -> tuple[list[bytes], int]:
        """Some identifiers of all events, those of so many events in one text, separated by spaces; and the length of the longest."""
        found = gather(self.text, *self._spans(names), np.ones(len(self), np.bool_), events)
        raw = found.text.tobytes()
        return [raw[start:end] for start, end in pairwise(found.bounds.tolist())], found.longest

    def longer(self, names: Sequence[str], limit: int) -> Bool:
        """bool[n]: events with an identifier longer than `limit`."""
        start, end = self._spans(names)
        return np.asarray((end - start > limit).any(axis=0))

    def objects(self, names: Sequence[str], users: Sequence[str | None], user: Int32) -> list[bytes | None]:
        """Each event's user and some of its identifiers as a JSON object; None where it has none.

        Args:
            names: of the identifiers.
            users: distinct pseudonyms; None = absent.
            user: int32[n], index into them.
        """
        keys = strings([f'"{name}":'.encode() for name in ("user_id", *names)])
        known = strings([(name or "").encode() for name in users])
        absent = np.array([name is None for name in users], np.bool_)
        found = objects(self.text, *self._spans(names), keys, known, np.where(absent[user], np.int32(-1), user))
        raw = found.text.tobytes()
        return [raw[start:end] or None for start, end in pairwise(found.bounds.tolist())]

    def events(self, at: Int32) -> list[WireEvent]:
        """The texts and errors of the events at some positions."""
        texts = [self._texts(name, at) for name in TEXTS]
        return [
            WireEvent(prompt_text=prompt, response_text=response, error=error, status=status)
            for prompt, response, error, status in zip(*texts, self.column("status", at), strict=True)
        ]

    def _texts(self, name: str, at: Int32) -> list[str | None]:
        row, text = _ROW[name], self.text
        spans = zip(self.start[row, at].tolist(), self.end[row, at].tolist(), self.escaped[TEXTS.index(name), at].tolist(), strict=True)
        return [
            None if low < 0 else _read_string(b'"' + text[low:high] + b'"') if escaped else text[low:high].decode()
            for low, high, escaped in spans
        ]

    def _spans(self, names: Sequence[str]) -> tuple[Int32, Int32]:
        rows = [_ROW[name] for name in names]
        return self.start[rows], self.end[rows]


def plain_events(delivery: Delivery, limits: Parsing) -> tuple[EventBatch | None, list[int]]:
    """The events of a delivery's plain records, None when there is none; and the positions of the other records.

    Args:
        delivery: records in log order.
        limits: the largest record.
    """
    scanned = scan(_fitting(delivery.records, limits.max_record_bytes))
    at = np.flatnonzero(scanned.plain)
    if not len(at):
        return None, list(range(len(delivery.records)))
    fields = _strings(scanned)
    fields = fields if len(at) == len(fields) else fields.take(scanned.plain)
    series = numbered(*fields.distinct(_SERIES))
    if series.refused:  # `decode` says why
        keep = np.ones(len(at), np.bool_)
        keep[list(series.refused)] = False
        at, fields = at[keep], fields.take(keep)
        series = series._replace(codes=series.codes[keep])
    batch = _batch(delivery, scanned, at.astype(np.int32), fields, series) if len(at) else None
    others = np.ones(len(delivery.records), np.bool_)
    others[at] = False
    return batch, np.flatnonzero(others).tolist()


def _fitting(records: Sequence[bytes | None], max_bytes: int) -> Sequence[bytes]:
    """The records, with nothing in the place of tombstones and those that are too large."""
    present = list(filter(None, records))
    if len(present) == len(records) and max(map(len, present), default=0) <= max_bytes:
        return present
    return [record if record is not None and len(record) <= max_bytes else b"" for record in records]


def _strings(scanned: Scanned) -> Plain:
    busy = (scanned.start[[_ROW["prompt_text"], _ROW["response_text"]]] >= 0).any(axis=0) | (scanned.error_kind == _STRING)
    return Plain(scanned.text, scanned.text.decode("latin-1"), scanned.start, scanned.end, scanned.escaped, busy)


def _batch(delivery: Delivery, scanned: Scanned, at: Int32, fields: Plain, series: Series) -> EventBatch:
    n = len(at)
    log_ns, ts_ns = delivery.timestamps_ns[at], scanned.ts_ns[at]
    missing = ts_ns == 0
    if missing.any():
        ts_ns = np.where(missing, np.where(log_ns == NO_LOG_TIME, delivery.received_ns, log_ns), ts_ns)
    table = np.empty((n, len(METRIC_NAMES)))
    table[:, _MEASURED] = scanned.numbers[:, at].T
    table[:, ERROR] = _failures(scanned, at, fields)
    return EventBatch(
        source=delivery.source,
        received_ns=delivery.received_ns,
        index=at,
        offsets=delivery.offsets[at],
        subs=np.zeros(n, np.int32),
        ts_ns=ts_ns,
        log_ns=log_ns,
        names=series.names,
        series=series.codes,
        metrics=table,
        flags=settled(table, scanned.streaming[at] == 0) | (missing * int(Flag.TIMESTAMP_MISSING)).astype(np.int32),
        dialects=np.full(n, Dialect.FLAT, np.int8),
        wire=Undecoded([delivery.records[position] or b"" for position in at.tolist()]),
        fields=fields,
    )


def _failures(scanned: Scanned, at: Int32, fields: Plain) -> Bool:
    """bool[n]: the events that say in any way that they failed."""
    kind, error = scanned.error_kind[at], _ROW["error"]
    worded = (kind == _STRING) & (fields.end[error] > fields.start[error])
    failed: Bool = (kind == _TRUE) | worded | (scanned.success[at] == 0)
    if (fields.start[_ROW["status"]] >= 0).any():
        statuses, codes = fields.distinct(("status",))
        failed |= np.array([is_failure(status) for (status,) in statuses], np.bool_)[codes]
    return failed
