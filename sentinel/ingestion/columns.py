"""Decoded records to columns: series, times, metrics and flags of n events at once."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Final, NamedTuple

import numpy as np

from sentinel.core.batch import Bool, Flag, Float64, Int32, Int64, SeriesKey
from sentinel.core.errors import RejectCode
from sentinel.core.metrics import COMPLETION_TOKENS, ERROR, LATENCY, METRIC_NAMES, PROMPT_TOKENS, TIME_PER_OUTPUT_TOKEN, TOTAL_TOKENS, TTFT
from sentinel.ingestion.unusable import Reason
from sentinel.ingestion.wire import EARLIEST_NS, LATEST_NS, WireEvent

MAX_NAME: Final = 128
MAX_TENANT: Final = 64
MAX_EVENT_ID: Final = 128
DEFAULT_TENANT: Final = "default"

_READ = [(index, attrgetter(name)) for index, name in enumerate(METRIC_NAMES) if index != ERROR]
_FAILED = frozenset({"error", "failed", "failure"})
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNITS_NS: Final = (1_000_000_000, 1_000_000, 1_000, 1)
_SAME_TIME: Final = 1e-9


class Series(NamedTuple):
    """Which series each event belongs to.

    Attributes:
        names: distinct series in order of first appearance; refused ones are not among them.
        index: int32[n] into names; meaningless where refused.
        refused: by position, why the event has no series.
    """

    names: tuple[SeriesKey, ...]
    index: Int32
    refused: dict[int, Reason]


def series(wires: Sequence[WireEvent]) -> Series:
    """Number the series of the events. Each distinct spelling is checked once, however many events carry it."""
    spellings: dict[tuple[str | None, str | None, str | None], int] = {}
    codes = np.fromiter(
        [spellings.setdefault((wire.tenant, wire.service_name, wire.model_name), len(spellings)) for wire in wires], np.int32, len(wires)
    )
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


def renumber(names: tuple[SeriesKey, ...], index: Int32) -> tuple[tuple[SeriesKey, ...], Int32]:
    """The series that are left when some events are gone, in order of first appearance, and the index into them.

    >>> names, index = renumber((SeriesKey("t", "a", "m"), SeriesKey("t", "b", "m")), np.array([1, 1], np.int32))
    >>> names, index.tolist()
    ((SeriesKey(tenant='t', service='b', model='m'),), [0, 0])
    """
    used, first = np.unique(index, return_index=True)
    used = used[np.argsort(first)]
    number = np.zeros(len(names), np.int32)
    number[used] = np.arange(len(used))
    return tuple(names[i] for i in used.tolist()), number[index]


def _series_key(tenant: str | None, service: str | None, model: str | None) -> SeriesKey | Reason:
    clean = []
    for field, name, longest in (("tenant", tenant, MAX_TENANT), ("service_name", service, MAX_NAME), ("model_name", model, MAX_NAME)):
        name = (name or "").strip(" ")
        if not name and field != "tenant":
            return Reason(RejectCode.MISSING_FIELD, f"{field}: missing or empty")
        if len(name) > longest:
            return Reason(RejectCode.OUT_OF_RANGE, f"{field}: longer than {longest} characters")
        if _has_control_character(name):
            return Reason(RejectCode.CONTROL_CHARACTER, f"{field}: holds a control character")
        clean.append(name or DEFAULT_TENANT)
    return SeriesKey(*clean)


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


def times(wires: Sequence[WireEvent], log_ns: Int64) -> Times:
    """The events' times in nanoseconds since the epoch.

    Args:
        wires: the events; a time without zone is UTC.
        log_ns: int64[n], the log's own times.
    """
    n = len(wires)
    seconds = np.fromiter(
        [at.timestamp() if type(at := wire.timestamp) is datetime and at.tzinfo is not None else np.nan for wire in wires], np.float64, n
    )
    other = np.isnan(seconds)
    # Microseconds are the decoder's resolution; seconds as a float are exact to a quarter of one.
    ts_ns = np.rint(np.where(other, 0.0, seconds) * 1e6).astype(np.int64) * 1_000
    flags = np.zeros(n, np.int32)
    for position in np.flatnonzero(other).tolist():
        given = wires[position].timestamp
        if given is None:
            ts_ns[position] = log_ns[position]
            flags[position] = Flag.TIMESTAMP_MISSING
        else:
            ts_ns[position] = epoch_ns(given)
    absurd = ((ts_ns < EARLIEST_NS) | (ts_ns >= LATEST_NS)) & (flags == 0)
    reason = Reason(RejectCode.BAD_TIMESTAMP, "timestamp: not between the years 2000 and 2200")
    return Times(ts_ns, flags, dict.fromkeys(np.flatnonzero(absurd).tolist(), reason))


def epoch_ns(given: datetime | float) -> int:
    """A time in nanoseconds; 0 when it is none. The unit of a number is told by its magnitude: s, ms, us or ns since the epoch.

    >>> epoch_ns(1_768_473_000), epoch_ns(1_768_473_000_000), epoch_ns(-1)
    (1768473000000000000, 1768473000000000000, 0)
    """
    if isinstance(given, datetime):
        return round((given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp() * 1e6) * 1_000
    for unit in _UNITS_NS:
        if EARLIEST_NS <= given * unit < LATEST_NS:
            return given * unit if isinstance(given, int) else round(given * unit / 1e3) * 1_000
    return 0


def metrics(wires: Sequence[WireEvent]) -> tuple[Float64, Int32]:
    """The measured columns, float64[n, m] with NaN = absent, and int32[n] flags: TOTAL_DISAGREES."""
    n = len(wires)
    table = np.empty((n, len(METRIC_NAMES)))
    for index, read in _READ:
        table[:, index] = np.fromiter(map(read, wires), np.float64, n)
    table[:, ERROR] = np.fromiter([_failed(wire) for wire in wires], np.float64, n)
    table += 0.0  # -0.0 becomes 0.0
    flags = np.zeros(n, np.int32)
    # Sums of absurd numbers overflow; `validate` refuses what is not finite.
    with np.errstate(over="ignore", invalid="ignore"):
        given, derived = table[:, TOTAL_TOKENS], table[:, PROMPT_TOKENS] + table[:, COMPLETION_TOKENS]
        flags[(given != derived) & ~np.isnan(given) & ~np.isnan(derived)] = Flag.TOTAL_DISAGREES
        table[:, TOTAL_TOKENS] = np.where(np.isnan(derived), given, derived)
        # Some libraries report the whole latency as the time to the first token of an answer that was not streamed.
        whole = np.abs(table[:, TTFT] - table[:, LATENCY]) <= _SAME_TIME * table[:, LATENCY]
    whole |= np.fromiter([wire.streaming is False for wire in wires], np.bool_, n)
    if whole.any():
        table[whole, TTFT] = table[whole, TIME_PER_OUTPUT_TOKEN] = np.nan
    return table, flags


def _failed(wire: WireEvent) -> bool:
    if wire.error or wire.errors or wire.success is False:
        return True
    status = wire.status
    if isinstance(status, str):
        return status.lower() in _FAILED or (status.isascii() and status.isdigit() and len(status) == 3 and status >= "400")
    return isinstance(status, int | float) and status >= 400


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
