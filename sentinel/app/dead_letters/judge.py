"""Whether the record of a letter would be an event by the present configuration, and what is to be sent of it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from sentinel.app.dead_letters.fate import Fate, Original, Verdict
from sentinel.app.dead_letters.letter import Letter
from sentinel.config.schema import Ingestion
from sentinel.core.batch import Dialect, PartitionId
from sentinel.core.delivery import Delivery, weight_bytes
from sentinel.core.errors import RejectCode
from sentinel.core.flags import Flag
from sentinel.core.reject import Reject
from sentinel.core.timestamp import rfc3339
from sentinel.ingestion.decode import BYTE_ORDER_MARK, decode
from sentinel.ingestion.unusable import UNREADABLE
from sentinel.ingestion.validate import validate
from sentinel.ingestion.wire import WireEvent, as_record, read_event

_BEFORE_JSON = BYTE_ORDER_MARK + b" \t\r\n"


@dataclass(frozen=True, slots=True)
class _Event:
    """An event of a record: its fields, how it was spelled, and the log's time where it has none of its own."""

    wire: WireEvent
    dialect: Dialect
    log_ns: int | None


@dataclass(frozen=True, slots=True)
class _Read:
    """What a record holds now, by position in it."""

    events: dict[int, _Event]
    rejects: dict[int, Reject]

    @property
    def is_trace(self) -> bool:
        """Whether it is OTLP, which may hold many events."""
        return any(event.dialect >= Dialect.OTLP_JSON for event in self.events.values())


def judge(letters: Sequence[Letter], original: Original, limits: Ingestion) -> list[Verdict]:
    """One verdict for each letter of a record.

    Args:
        letters: of the same log and offset.
        original: their record.
        limits: what the daemon goes by.
    """
    raw = original.value
    if raw is None:
        return [Verdict(letter, Fate.MISSING, "its record has no value: there is nothing to send") for letter in letters]
    read = _read(letters[0], raw, original.log_ns, limits)
    return [_verdict(letter, raw, read) for letter in letters]


def _read(letter: Letter, raw: bytes, log_ns: int, limits: Ingestion) -> _Read:
    """Decode and validate, as the daemon does."""
    source = PartitionId(letter.cluster, letter.topic, letter.partition)
    offset, times_ns = np.array([letter.offset], np.int64), np.array([log_ns], np.int64)
    decoded = decode(Delivery(source, [raw], offset, times_ns, letter.received_ns, 0, weight_bytes([raw])), limits.parsing)
    rejects, batch = list(decoded.rejects), decoded.batch
    if batch is not None:
        batch, invalid = validate(batch, limits.validation)
        rejects += invalid
    if batch is None:
        return _Read({}, {reject.sub: reject for reject in rejects})
    events = {
        sub: _Event(wire, Dialect(dialect), log_ns if flags & Flag.TIMESTAMP_MISSING else None)
        for sub, wire, dialect, flags in zip(batch.subs.tolist(), batch.wire, batch.dialects.tolist(), batch.flags.tolist(), strict=True)
    }
    return _Read(events, {reject.sub: reject for reject in rejects})


def _verdict(letter: Letter, raw: bytes, read: _Read) -> Verdict:
    if not _is_of(letter, raw, read):
        told = f"another record of {len(raw):,} bytes lies there now, its own had {letter.record_bytes:,}: the topic was made anew"
        return Verdict(letter, Fate.MISSING, told)
    # A record that was refused as a whole may hold many events now.
    whole = letter.record_bytes == len(raw)
    subs = sorted(read.events) if whole else [letter.sub] if letter.sub in read.events else []
    if subs:
        return Verdict(
            letter, Fate.PASSES, _remark(letter, read, whole=whole), [_record(letter, sub, read.events[sub], raw) for sub in subs]
        )
    reject = next(iter(read.rejects.values()), None) if whole else read.rejects.get(letter.sub)
    if reject is None:
        return Verdict(letter, Fate.REFUSED, "its record holds no such request of an LLM")
    return Verdict(letter, Fate.REFUSED, f"{reject.code}: {reject.detail}", [raw if whole else reject.raw or raw])


def _is_of(letter: Letter, raw: bytes, read: _Read) -> bool:
    """Whether a record is the letter's own, as far as its length tells; that of a span or a point is not the record's."""
    if letter.code == RejectCode.REFUSED_BY_STORE or letter.record_bytes == len(raw) or letter.sub or read.is_trace:
        return True
    return letter.record_bytes in {*_lengths(raw), *(len(reject.raw or b"") for reject in read.rejects.values())}


def _lengths(raw: bytes) -> set[int]:
    """How long its one event is in the flat dialect, in which events with implausible values are kept."""
    try:
        wires = [read_event(raw.lstrip(_BEFORE_JSON))]
    except UNREADABLE:
        return set()
    return {len(as_record(wire)) for wire in wires}


def _remark(letter: Letter, read: _Read, *, whole: bool) -> str:
    if letter.code == RejectCode.REFUSED_BY_STORE:
        return "as far as decoding goes; the store refused it, and its event_id may still count as seen"
    if whole and read.rejects:
        refused = ", ".join(sorted({reject.code for reject in read.rejects.values()}))
        return f"{len(read.events):,} of its {len(read.events) + len(read.rejects):,} events; the others would be refused ({refused})"
    return ""


# ------------------------------------------------------------------------------------------------------------------ records


def _record(letter: Letter, sub: int, event: _Event, raw: bytes) -> bytes:
    """The event as it is sent: its record with what it lacks, or, out of a trace, a record of its own.

    An id that follows from its place makes it the same event however often it is sent; its time is that of its record.
    """
    added: dict[str, str] = {}
    if event.wire.event_id is None:
        added["event_id"] = _id_of(letter, sub)
    if event.log_ns is not None:
        added["timestamp"] = rfc3339(event.log_ns)
    text = raw.lstrip(_BEFORE_JSON)
    # A key that is there without a value would come after ours, and count.
    if event.dialect >= Dialect.OTLP_JSON or any(f'"{name}"'.encode() in text for name in added):
        return as_record(msgspec.structs.replace(event.wire, **added))
    return text if not added else msgspec.json.encode(added)[:-1] + b"," + text[1:]


def _id_of(letter: Letter, sub: int) -> str:
    return "replay-" + hashlib.sha256(f"{letter.id}/{sub}".encode()).hexdigest()[:32]
