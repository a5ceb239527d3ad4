"""Events that the store will never take become dead letters; everything else of their delivery is stored."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sentinel.core.batch import CleanBatch, PartitionId
from sentinel.core.errors import RejectCode
from sentinel.core.refusal import Refusal
from sentinel.core.reject import DeadLetter
from sentinel.pipeline.process import Processed


def without_refused(processed: Processed, refusals: Sequence[Refusal]) -> tuple[Processed, list[DeadLetter]]:
    """A processed delivery without the events its store has refused, and the dead letters they become, which it names too."""
    batch = processed.batch
    refused = {(refusal.offset, refusal.sub): refusal for refusal in refusals if refusal.source == batch.source}
    if not refused:
        return processed, []
    places = list(zip(batch.offsets.tolist(), batch.subs.tolist(), strict=True))
    keep = np.array([place not in refused for place in places], np.bool_)
    letters = [_letter(batch, at, refused[places[at]]) for at in np.flatnonzero(~keep).tolist()]
    left = replace(
        processed,
        batch=batch.take(keep),
        anomalies=processed.anomalies.of_events(keep),
        dead_letters=[*processed.dead_letters, *letters],
    )
    return left, letters


def _letter(batch: CleanBatch, at: int, refusal: Refusal) -> DeadLetter:
    return DeadLetter(
        source=PartitionId(*refusal.source),
        offset=refusal.offset,
        sub=refusal.sub,
        index=int(batch.index[at]),
        code=RejectCode.REFUSED_BY_STORE,
        detail=refusal.reason,
        received_ns=batch.received_ns,
        record=refusal.record,
        record_bytes=refusal.record_bytes,
    )
