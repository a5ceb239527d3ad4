"""Deliveries of several logs as one, and back: whoever has many small ones pays once for what each would cost."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, chain, pairwise

import numpy as np

from sentinel.core.batch import CleanBatch, by_appearance, rows_of
from sentinel.core.delivery import Delivery


def joined(deliveries: Sequence[Delivery]) -> Delivery:
    """The records of all, at least one, as if they came from the log of the first. All must have been received at one time."""
    first = deliveries[0]
    if len(deliveries) == 1:
        return first
    return replace(
        first,
        records=list(chain.from_iterable(delivery.records for delivery in deliveries)),
        offsets=np.concatenate([delivery.offsets for delivery in deliveries]),
        timestamps_ns=np.concatenate([delivery.timestamps_ns for delivery in deliveries]),
        size_bytes=sum(delivery.size_bytes for delivery in deliveries),
    )


def bounds(deliveries: Sequence[Delivery]) -> list[tuple[int, int]]:
    """First position of each one's records among all of them, and the position after its last."""
    return list(pairwise(accumulate((len(delivery.records) for delivery in deliveries), initial=0)))


def part(batch: CleanBatch, delivery: Delivery, start: int, stop: int) -> CleanBatch:
    """The events of a delivery whose records lie from `start` to before `stop` among all: as it would have had them alone.

    Only what was found by kind of personal data stays with the first.
    """
    rows = slice(*np.searchsorted(batch.index, [start, stop]).tolist())
    names, series = by_appearance(batch.names, batch.series[rows])
    sets, dimensions = by_appearance(batch.dimension_sets, batch.dimensions[rows])
    users, user = by_appearance(batch.users, batch.user[rows])
    shared = rows_of(batch, rows)
    shared["index"] = shared["index"] - np.int32(start)
    return replace(
        batch,
        **shared,
        source=delivery.source,
        received_ns=delivery.received_ns,
        names=names,
        series=series,
        dimension_sets=sets,
        dimensions=dimensions,
        users=users,
        user=user,
        personal=batch.personal[rows],
        event_ids=batch.event_ids[rows],
        trace_ids=batch.trace_ids[rows],
        extra=batch.extra[rows],
        findings=batch.findings if start == 0 else {},
    )
