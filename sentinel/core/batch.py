"""Batches: n events as columns, before and after sanitizing.

Only a `CleanBatch` can reach a sink, a log, a dead letter or an alert. It is a type of its own, not a flag, so that the type
checker holds this law: nothing that writes accepts an `EventBatch`.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from itertools import chain
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from sentinel.core.errors import RejectCode
from sentinel.core.metrics import METRICS

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Int8 = npt.NDArray[np.int8]
Bool = npt.NDArray[np.bool_]


class SeriesKey(NamedTuple):
    """The name of a series: one service x model of one tenant."""

    tenant: str
    service: str
    model: str


OVERFLOW = SeriesKey("default", "__other__", "__other__")
"""The series that takes the samples of every series beyond the configured cap."""


NO_LOG_TIME = 0
"""Log time of records from a log that has no time of its own, such as a file."""


LOCAL_CLUSTER = "embedded"
"""The cluster of logs that are no Kafka's, where no other daemon shares the store."""


class PartitionId(NamedTuple):
    """One ordered log: a Kafka partition, the HTTP queue or a file."""

    cluster: str
    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.cluster}/{self.topic}/{self.partition}"


class Dimensions(NamedTuple):
    """What events are grouped by besides their series; few distinct values, None = not given."""

    provider: str | None = None
    operation: str | None = None
    environment: str | None = None
    region: str | None = None
    finish_reason: str | None = None
    prompt_version: str | None = None


class Dialect(IntEnum):
    """How the producer spelled the event."""

    FLAT = 0
    NESTED = 1
    OTLP_JSON = 2
    OTLP_PROTO = 3


class Flag(IntFlag):
    """What was noticed about an event that is kept all the same.

    Bit 16 + i says that metric i is outside its configured limits (`implausible_flag`).
    """

    TIMESTAMP_MISSING = 1
    TIMESTAMP_FUTURE = 2
    TOO_OLD = 4
    TOTAL_DISAGREES = 8
    TEXT_TRUNCATED = 16
    METADATA_TRIMMED = 32
    CLEANED = 64
    """Control characters were removed from an identifier or a text."""


IMPLAUSIBLE_SHIFT = 16


NOT_LEARNED = int(Flag.TOO_OLD) | (-1 << IMPLAUSIBLE_SHIFT)
"""Flags of events that have at least one value that must not enter a window."""


def implausible_flag(metric: int) -> int:
    """The flag bit that says metric number `metric` is outside its limits."""
    return 1 << (IMPLAUSIBLE_SHIFT + metric)


def flag_names(flags: int) -> list[str]:
    """The names of the set flags, for people and the API.

    >>> flag_names(1 | 1 << 16)
    ['timestamp_missing', 'implausible_latency_ms']
    """
    names = [str(flag.name).lower() for flag in Flag if flags & flag]
    return names + [f"implausible_{metric.name}" for i, metric in enumerate(METRICS) if flags & implausible_flag(i)]


RECORD_BYTES = 512
"""What a record costs in memory besides its bytes: tombstones and empty lines are no free ride."""


def weight_bytes(records: Sequence[bytes | None]) -> int:
    """What records count against limits on bytes.

    >>> weight_bytes([b"12345678", None])
    1032
    """
    return RECORD_BYTES * len(records) + sum(map(len, filter(None, records)))


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a source handed over: records in log order, awaiting their ack.

    Attributes:
        source: the log the records come from.
        records: raw bytes; None is a tombstone.
        offsets: int64[n], strictly rising.
        timestamps_ns: int64[n], the log's own time of each record (append or create time); NO_LOG_TIME when it has none.
        received_ns: wall-clock time of receipt.
        epoch: assignment epoch of the partition when it was read; work of an old epoch is dropped.
        size_bytes: what the records count against limits, see `weight_bytes`.
    """

    source: PartitionId
    records: Sequence[bytes | None]
    offsets: Int64
    timestamps_ns: Int64
    received_ns: int
    epoch: int
    size_bytes: int

    @classmethod
    def mark(cls, source: PartitionId, next_offset: int, now_ns: int, epoch: int) -> "Delivery":
        """A delivery of no records: what a time mark or a command brings to light goes the way of events, at the place it came."""
        return cls(source, (), np.array([next_offset - 1]), np.array([NO_LOG_TIME]), now_ns, epoch, 0)

    @property
    def next_offset(self) -> int:
        """The offset after the last record."""
        return int(self.offsets[-1]) + 1


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that cannot be an event. It still holds raw bytes: only `sanitize` may read them.

    Attributes:
        offset: offset of the record; timestamp_ns its log time.
        index: position of the record in its delivery; `sub` the position of the event within the record.
        detail: what is wrong and where, in words made by us (never a quote of the record).
    """

    index: int
    offset: int
    sub: int
    timestamp_ns: int
    code: RejectCode
    detail: str
    raw: bytes | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A reject, redacted and truncated: safe to keep and to show."""

    source: PartitionId
    offset: int
    sub: int
    index: int
    code: RejectCode
    detail: str
    received_ns: int
    record: str
    record_bytes: int


@dataclass(frozen=True, slots=True)
class EventBatch:
    """n decoded events as columns, texts still raw.

    Attributes:
        source: the log they come from; epoch and received_ns as in the delivery.
        index: int32[n], position of the event's record in its delivery.
        offsets: int64[n]; subs: int32[n], position of the event within its record (OTLP carries many).
        ts_ns: int64[n], event time.
        log_ns: int64[n], the log's own time of the record.
        names: distinct series of this batch in order of first appearance, as the producer wrote them.
        series: int32[n], index into `names`.
        metrics: float64[n, len(METRICS)], NaN = absent.
        flags: int32[n], see `Flag`.
        dialects: int8[n], see `Dialect`.
        wire: the decoded records with all their other fields (`sentinel.ingestion.wire.WireEvent`).
        fields: the same as columns: `sentinel.ingestion.wire.transposed`, or `sentinel.ingestion.plain.Plain` of records not decoded yet.
    """

    source: PartitionId
    received_ns: int
    index: Int32
    offsets: Int64
    subs: Int32
    ts_ns: Int64
    log_ns: Int64
    names: tuple[SeriesKey, ...]
    series: Int32
    metrics: Float64
    flags: Int32
    dialects: Int8
    wire: Sequence[Any]
    fields: Any

    def __len__(self) -> int:
        return len(self.wire)


@dataclass(frozen=True, slots=True)
class CleanBatch:
    """n sanitized events as columns: the only type sinks take.

    Attributes as in `EventBatch`, with clean names, and:
        dimension_sets: distinct dimensions of this batch; dimensions: int32[n], index into them.
        users: distinct pseudonyms of this batch, None = not given; user: int32[n], index into them.
        personal: bool[n], whether personal data or a secret was found in its texts.
        event_ids: the producer's idempotence key, None when it gave none.
        trace_ids: the producer's trace, for links; it stands in `extra` too.
        extra: everything else that is kept of the event, sanitized, as one JSON object in UTF-8; None when there is nothing.
        findings: what was redacted, by type, over the whole batch.
    """

    source: PartitionId
    received_ns: int
    index: Int32
    offsets: Int64
    subs: Int32
    ts_ns: Int64
    log_ns: Int64
    names: tuple[SeriesKey, ...]
    series: Int32
    metrics: Float64
    flags: Int32
    dialects: Int8
    dimension_sets: tuple[Dimensions, ...]
    dimensions: Int32
    users: tuple[str | None, ...]
    user: Int32
    personal: Bool
    event_ids: Sequence[str | None]
    trace_ids: Sequence[str | None]
    extra: Sequence[bytes | None]
    findings: dict[str, int]

    def __len__(self) -> int:
        return len(self.extra)

    @classmethod
    def empty(cls, source: PartitionId, received_ns: int) -> "CleanBatch":
        """A batch of no events: its position still counts."""
        small, large = np.empty(0, np.int32), np.empty(0, np.int64)
        return cls(
            source=source,
            received_ns=received_ns,
            index=small,
            offsets=large,
            subs=small,
            ts_ns=large,
            log_ns=large,
            names=(),
            series=small,
            metrics=np.empty((0, len(METRICS))),
            flags=small,
            dialects=np.empty(0, np.int8),
            dimension_sets=(),
            dimensions=small,
            users=(),
            user=small,
            personal=np.empty(0, np.bool_),
            event_ids=(),
            trace_ids=(),
            extra=(),
            findings={},
        )

    @classmethod
    def merged(cls, parts: Sequence["CleanBatch"]) -> "CleanBatch":
        """The events of several batches of one delivery, at least one, in log order; the findings of all."""
        if len(parts) == 1:
            return parts[0]
        order = np.lexsort((np.concatenate([part.subs for part in parts]), np.concatenate([part.index for part in parts])))
        chosen = order.tolist()
        names, series = _united([(part.names, part.series) for part in parts])
        names, series = by_appearance(names, series[order])
        sets, dimensions = _united([(part.dimension_sets, part.dimensions) for part in parts])
        users, user = _united([(part.users, part.user) for part in parts])
        findings = Counter[str]()
        for part in parts:
            findings.update(part.findings)

        def column(name: str) -> npt.NDArray[Any]:
            together: npt.NDArray[Any] = np.concatenate([getattr(part, name) for part in parts])[order]
            return together

        def listed(name: str) -> list[Any]:
            together = list(chain.from_iterable(getattr(part, name) for part in parts))
            return [together[at] for at in chosen]

        return cls(
            source=parts[0].source,
            received_ns=parts[0].received_ns,
            index=column("index"),
            offsets=column("offsets"),
            subs=column("subs"),
            ts_ns=column("ts_ns"),
            log_ns=column("log_ns"),
            names=names,
            series=series,
            metrics=column("metrics"),
            flags=column("flags"),
            dialects=column("dialects"),
            dimension_sets=sets,
            dimensions=dimensions[order],
            users=users,
            user=user[order],
            personal=column("personal"),
            event_ids=listed("event_ids"),
            trace_ids=listed("trace_ids"),
            extra=listed("extra"),
            findings=dict(findings),
        )

    def take(self, keep: Bool) -> "CleanBatch":
        """The events where `keep` (bool[n]) is true; `findings` stay those of the whole batch."""
        kept = np.flatnonzero(keep)
        names, series = by_appearance(self.names, self.series[kept])
        chosen = kept.tolist()
        return CleanBatch(
            source=self.source,
            received_ns=self.received_ns,
            index=self.index[kept],
            offsets=self.offsets[kept],
            subs=self.subs[kept],
            ts_ns=self.ts_ns[kept],
            log_ns=self.log_ns[kept],
            names=names,
            series=series,
            metrics=self.metrics[kept],
            flags=self.flags[kept],
            dialects=self.dialects[kept],
            dimension_sets=self.dimension_sets,
            dimensions=self.dimensions[kept],
            users=self.users,
            user=self.user[kept],
            personal=self.personal[kept],
            event_ids=[self.event_ids[i] for i in chosen],
            trace_ids=[self.trace_ids[i] for i in chosen],
            extra=[self.extra[i] for i in chosen],
            findings=self.findings,
        )


K = TypeVar("K", bound=Hashable)


def _united(parts: Sequence[tuple[tuple[K, ...], Int32]]) -> tuple[tuple[K, ...], Int32]:
    """Distinct keys of several parts, and the index of each event's key in them, the parts one after the other."""
    number: dict[K, int] = {}
    codes = [np.array([number.setdefault(key, len(number)) for key in keys], np.int32)[index] for keys, index in parts]
    return tuple(number), np.concatenate(codes)


def by_appearance(names: Sequence[K], codes: Int32) -> tuple[tuple[K, ...], Int32]:
    """Only the names that are used, in order of first appearance, and the codes that go with them.

    The order decides who gets a window where there is not room for all, so it must not depend on how the log was cut.
    """
    used, first = np.unique(codes, return_index=True)
    used = used[np.argsort(first)]
    number = np.zeros(len(names), np.int32)
    number[used] = np.arange(len(used))
    return tuple(names[code] for code in used.tolist()), number[codes]


def learnable(metrics: Float64, flags: Int32) -> Float64:
    """The metrics with every value that must not enter a window replaced by NaN.

    A value outside its limits and every value of an event that is too old is stored, not learned.

    Args:
        metrics: float64[n, m].
        flags: int32[n].

    Returns:
        float64[n, m]; `metrics` itself when nothing is masked.
    """
    if not np.any(flags & NOT_LEARNED):
        return metrics
    bits = np.int32(1) << (IMPLAUSIBLE_SHIFT + np.arange(metrics.shape[1], dtype=np.int32))
    barred = (flags[:, None] & bits[None, :]) != 0
    barred |= ((flags & Flag.TOO_OLD) != 0)[:, None]
    return np.where(barred, np.nan, metrics)
