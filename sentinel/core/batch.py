"""Batches: n events as columns, before and after sanitizing.

Only a `CleanBatch` can reach a sink, a log, a dead letter or an alert. It is a type of its own, not a flag, so that the type
checker holds this law: nothing that writes accepts an `EventBatch`.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import chain
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from sentinel.core.metrics import METRICS
from sentinel.core.sketches import Sketches, joined

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
        flags: int32[n], see `sentinel.core.flags.Flag`.
        dialects: int8[n], see `Dialect`.
        wire: the decoded records with all their other fields (`sentinel.ingestion.wire.WireEvent`).
        fields: the same as columns: `sentinel.ingestion.wire.transposed`, or `sentinel.ingestion.plain.Plain` of records not decoded yet.
        sketches: of the events' embeddings, see `sentinel.core.sketches`; None where no event of the batch has one.
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
    sketches: Sketches | None = None

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
    sketches: Sketches | None = None

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

        shared: dict[str, Any] = {name: column(name) for name in SHARED}
        sketches = joined([(len(part), part.sketches) for part in parts])
        return cls(
            source=parts[0].source,
            received_ns=parts[0].received_ns,
            **shared,
            names=names,
            series=series,
            dimension_sets=sets,
            dimensions=dimensions[order],
            users=users,
            user=user[order],
            personal=column("personal"),
            event_ids=listed("event_ids"),
            trace_ids=listed("trace_ids"),
            extra=listed("extra"),
            findings=dict(findings),
            sketches=None if sketches is None else sketches[order],
        )

    def take(self, keep: Bool) -> "CleanBatch":
        """The events where `keep` (bool[n]) is true; `findings` stay those of the whole batch."""
        kept = np.flatnonzero(keep)
        names, series = by_appearance(self.names, self.series[kept])
        chosen = kept.tolist()
        return replace(
            self,
            **rows_of(self, kept),
            names=names,
            series=series,
            dimensions=self.dimensions[kept],
            user=self.user[kept],
            personal=self.personal[kept],
            event_ids=[self.event_ids[i] for i in chosen],
            trace_ids=[self.trace_ids[i] for i in chosen],
            extra=[self.extra[i] for i in chosen],
        )


SHARED: Final = ("index", "offsets", "subs", "ts_ns", "log_ns", "metrics", "flags", "dialects")


def rows_of(batch: EventBatch | CleanBatch, rows: slice | Bool | Int64) -> dict[str, Any]:
    """Some rows of the columns that both kinds of batch have, by name, as `dataclasses.replace` takes them; no index into other columns."""
    shared: dict[str, Any] = {name: getattr(batch, name)[rows] for name in SHARED}
    return shared if batch.sketches is None else shared | {"sketches": batch.sketches[rows]}


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
