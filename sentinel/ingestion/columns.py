"""Decoded records to columns: series, times, metrics and flags of n events at once."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import compress
from typing import Any, Final, NamedTuple

import numpy as np

from sentinel.core.batch import Bool, EventBatch, Float64, Int32, Int64, SeriesKey, by_appearance, rows_of
from sentinel.core.errors import RejectCode
from sentinel.core.flags import Flag
from sentinel.core.metrics import COMPLETION_TOKENS, ERROR, LATENCY, METRIC_NAMES, PROMPT_TOKENS, TIME_PER_OUTPUT_TOKEN, TOTAL_TOKENS, TTFT
from sentinel.core.sketches import AXES, KINDS, SKETCH_FIELDS, Sketches
from sentinel.ingestion.sketch import numbers_of
from sentinel.ingestion.unusable import Reason
from sentinel.ingestion.wire import EARLIEST_NS, LATEST_NS, Undecoded, WireEvent, absent, transposed

MAX_NAME: Final = 128
MAX_TENANT: Final = 64
MAX_EVENT_ID: Final = 128
DEFAULT_TENANT: Final = "default"

_MEASURED: Final = [(index, name) for index, name in enumerate(METRIC_NAMES) if index != ERROR]
_FAILURE: Final = ("error", "errors", "success", "status")
Fields = Mapping[str, tuple[Any, ...]]
_FAILED = frozenset({"error", "failed", "failure"})
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNITS_NS: Final = (1_000_000_000, 1_000_000, 1_000, 1)
_SAME_TIME: Final = 1e-9


class Series(NamedTuple):
    """Which series each event belongs to.

    Attributes:
        names: distinct series in order of first appearance; refused ones are not among them.
        codes: int32[n], index into names; meaningless where refused.
        refused: by position, why the event has no series.
    """

    names: tuple[SeriesKey, ...]
    codes: Int32
    refused: dict[int, Reason]


def series(fields: Fields) -> Series:
    """Number the series of the events. Each distinct spelling is checked once, however many events carry it."""
    spellings: dict[tuple[str | None, str | None, str | None], int] = {}
    named = zip(fields["tenant"], fields["service_name"], fields["model_name"], strict=True)
    codes = np.array([spellings.setdefault(spelling, len(spellings)) for spelling in named], np.int32)
    return numbered(list(spellings), codes)


def numbered(spellings: Sequence[tuple[str | None, ...]], codes: Int32) -> Series:
    """Number the series of the events.

    Args:
        spellings: distinct tenant, service and model as the producers wrote them, in order of first appearance.
        codes: int32[n], index into them.
    """
    names: dict[SeriesKey, int] = {}
    bad: dict[int, Reason] = {}
    number = np.zeros(len(spellings), np.int32)
    for code, spelling in enumerate(spellings):
        key = _series_key(*spelling)
        if isinstance(key, Reason):
            bad[code] = key
        else:
            number[code] = names.setdefault(key, len(names))
    refused = {position: bad[code] for position, code in enumerate(codes.tolist()) if code in bad} if bad else {}
    return Series(tuple(names), number[codes], refused)


def _series_key(tenant: str | None, service: str | None, model: str | None) -> SeriesKey | Reason:
    names = (tenant or "").strip(" ") or DEFAULT_TENANT, (service or "").strip(" "), (model or "").strip(" ")
    if len(names[0]) <= MAX_TENANT and 0 < len(names[1]) <= MAX_NAME and 0 < len(names[2]) <= MAX_NAME and "".join(names).isprintable():
        return SeriesKey(*names)
    for field, name, longest in zip(("tenant", "service_name", "model_name"), names, (MAX_TENANT, MAX_NAME, MAX_NAME), strict=True):
        if not name:
            return Reason(RejectCode.MISSING_FIELD, f"{field}: empty")
        if len(name) > longest:
            return Reason(RejectCode.OUT_OF_RANGE, f"{field}: longer than {longest} characters")
        if _has_control_character(name):
            return Reason(RejectCode.CONTROL_CHARACTER, f"{field}: holds a control character")
    return SeriesKey(*names)


def _has_control_character(text: str) -> bool:
    return not text.isprintable() and _CONTROL.search(text) is not None


class Times(NamedTuple):
    """Event times.

    Attributes:
        ts_ns: int64[n]; the log's time where the record has none.
        flags: int32[n]: TIMESTAMP_MISSING.
        refused: by position, why the event has no usable time.
    """

    ts_ns: Int64
    flags: Int32
    refused: dict[int, Reason]


def times(given_times: Sequence[datetime | float | None], log_ns: Int64) -> Times:
    """The events' times in nanoseconds since the epoch.

    Args:
        given_times: as the producers gave them; a time without zone is UTC.
        log_ns: int64[n], the log's own times.
    """
    n = len(given_times)
    seconds = np.array([at.timestamp() if type(at) is datetime and at.tzinfo is not None else np.nan for at in given_times], np.float64)
    other = np.isnan(seconds)
    # Microseconds are the decoder's resolution; seconds as a float are exact to a quarter of one. Far years would overflow.
    usable = (seconds >= EARLIEST_NS / 1e9) & (seconds < LATEST_NS / 1e9)
    ts_ns = np.rint(np.where(usable, seconds, 0.0) * 1e6).astype(np.int64) * 1_000
    flags = np.zeros(n, np.int32)
    for position in np.flatnonzero(other).tolist():
        given = given_times[position]
        if given is None:
            ts_ns[position] = log_ns[position]
            flags[position] = Flag.TIMESTAMP_MISSING
        else:
            ts_ns[position] = epoch_ns(given)
    absurd = ((ts_ns < EARLIEST_NS) | (ts_ns >= LATEST_NS)) & (flags == 0)
    reason = Reason(RejectCode.BAD_TIMESTAMP, "timestamp: not between the years 2000 and 2200")
    return Times(ts_ns, flags, dict.fromkeys(np.flatnonzero(absurd).tolist(), reason))


def epoch_ns(given: datetime | float) -> int:
    """A time in nanoseconds; 0 when it is not between the years 2000 and 2200. A time without zone is UTC.

    The unit of a number is told by its magnitude: s, ms, us or ns since the epoch.

    >>> epoch_ns(1_768_473_000), epoch_ns(1_768_473_000_000), epoch_ns(-1)
    (1768473000000000000, 1768473000000000000, 0)
    """
    if isinstance(given, datetime):
        return epoch_ns((given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp())
    for unit in _UNITS_NS:
        if EARLIEST_NS <= given * unit < LATEST_NS:
            return given * unit if isinstance(given, int) else round(given * unit / 1e3) * 1_000
    return 0


def metrics(fields: Fields) -> tuple[Float64, Int32]:
    """The measured columns, float64[n, m] with NaN = absent, and int32[n] flags: TOTAL_DISAGREES."""
    n = len(fields["latency_ms"])
    table = np.empty((n, len(METRIC_NAMES)))
    for index, name in _MEASURED:
        table[:, index] = np.nan if absent(fields[name]) else np.array(fields[name], np.float64)
    table[:, ERROR] = _failures(fields)
    unstreamed = np.array([streaming is False for streaming in fields["streaming"]], np.bool_) if False in fields["streaming"] else None
    return table, settled(table, unstreamed)


def settled(table: Float64, unstreamed: Bool | None) -> Int32:
    """Make the metrics agree with each other, in place; int32[n] flags: TOTAL_DISAGREES.

    Args:
        table: float64[n, m].
        unstreamed: bool[n], answers that are said not to be streamed; None when there are none.
    """
    table += 0.0  # -0.0 becomes 0.0
    flags = np.zeros(len(table), np.int32)
    # Sums of absurd numbers overflow; `validate` refuses what is not finite.
    with np.errstate(over="ignore", invalid="ignore"):
        given, derived = table[:, TOTAL_TOKENS], table[:, PROMPT_TOKENS] + table[:, COMPLETION_TOKENS]
        flags[(given != derived) & ~np.isnan(given) & ~np.isnan(derived)] = Flag.TOTAL_DISAGREES
        table[:, TOTAL_TOKENS] = np.where(np.isnan(derived), given, derived)
        # Some libraries report the whole latency as the time to the first token of an answer that was not streamed.
        whole = np.abs(table[:, TTFT] - table[:, LATENCY]) <= _SAME_TIME * table[:, LATENCY]
    if unstreamed is not None:
        whole |= unstreamed
    if whole.any():
        table[whole, TTFT] = table[whole, TIME_PER_OUTPUT_TOKEN] = np.nan
    return flags


def _failures(fields: Fields) -> Float64:
    """float64[n]: 1 for the events that say in any way that they failed."""
    said = [fields[name] for name in _FAILURE]
    failed = np.zeros(len(said[0]))
    if not all(map(absent, said)):
        failed[:] = [
            bool(error or errors or success is False or (status is not None and is_failure(status)))
            for error, errors, success, status in zip(*said, strict=True)
        ]
    return failed


def is_failure(status: object) -> bool:
    """Whether a status means failure: a word or an HTTP code from 400 on."""
    if isinstance(status, str):
        return status.lower() in _FAILED or (len(status) == 3 and status.isascii() and status.isdigit() and status >= "400")
    return isinstance(status, int | float) and status >= 400


def are_event_ids(given: Sequence[str | int | None]) -> bool:
    """Whether all of these can stay as they are: then `clean_event_ids` would change none."""
    present: list[Any] = list(filter(None, given))
    if len(present) + given.count(None) != len(given):  # an empty text, or the number 0
        return False
    try:
        text = "".join(present)
    except TypeError:  # a number
        return False
    return text.isprintable() and " " not in text and max(map(len, present), default=0) <= MAX_EVENT_ID


def clean_event_ids(wires: Sequence[WireEvent]) -> Bool:
    """Make every event id a string of at most 128 printable characters or None, in place; bool[n] says which lost theirs.

    An empty id is no id: two events with one would be taken for the same.
    """
    lost = np.zeros(len(wires), np.bool_)
    for position, wire in enumerate(wires):
        given = wire.event_id
        # Everything that begins with a space or a control character, and the empty string, sorts before "!".
        if given is None or (type(given) is str and given >= "!" and len(given) <= MAX_EVENT_ID and given.isprintable()):
            continue
        wire.event_id = _event_id(given)
        lost[position] = wire.event_id is None and given != ""
    return lost


def _event_id(given: str | int) -> str | None:
    if isinstance(given, int) and abs(given) >= 10**MAX_EVENT_ID:
        return None
    text = str(given).strip(" ")
    return None if not text or len(text) > MAX_EVENT_ID or _has_control_character(text) else text


def sketches(fields: Fields) -> tuple[Sketches | None, list[int]]:
    """The sketches of embeddings, None when no event has one; and the events with something that is none."""
    columns = [(kind, fields[name]) for kind, name in enumerate(SKETCH_FIELDS) if not absent(fields[name])]
    if not columns:
        return None, []
    found, unusable = np.zeros((len(columns[0][1]), KINDS, 1 + AXES), np.int16), []
    for kind, column in columns:
        for at, text in enumerate(column):
            if text is not None:
                numbers = numbers_of(text)
                if numbers is None:
                    unusable.append(at)
                else:
                    found[at, kind] = numbers
    return (found if found.any() else None), unusable


def take(batch: EventBatch, keep: Bool) -> EventBatch | None:
    """The events where `keep` (bool[n]) is true, with the series that are left numbered by first appearance; None when there is none."""
    if not keep.any():
        return None
    names, series = by_appearance(batch.names, batch.series[keep])
    wire: Sequence[WireEvent]
    if isinstance(batch.wire, Undecoded):
        wire, fields = batch.wire.take(keep), batch.fields.take(keep)
    else:
        wire = list(compress(batch.wire, keep.tolist()))
        fields = transposed(wire)
    return replace(
        batch,
        **rows_of(batch, keep),
        names=names,
        series=series,
        wire=wire,
        fields=fields,
    )
