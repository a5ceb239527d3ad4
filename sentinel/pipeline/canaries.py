"""Canaries are taken out of a batch before anything is scored, stored or told: people never see them. Pure."""

import numpy as np

from sentinel.core.batch import CleanBatch
from sentinel.core.canary import CANARY, Canary, is_canary


def without_canaries(batch: CleanBatch, key: bytes | None) -> tuple[CleanBatch, tuple[Canary, ...]]:
    """A batch of one log without our canaries, and these.

    Cost: one look for a name among the distinct series, where there is no canary.

    Args:
        batch: sanitized.
        key: of canary ids; None looks for none.
    """
    if key is None or CANARY not in batch.names:
        return batch, ()
    named = np.flatnonzero(batch.series == batch.names.index(CANARY)).tolist()
    own = [at for at in named if is_canary(key, batch.source, batch.event_ids[at])]
    if not own:
        return batch, ()
    keep = np.ones(len(batch), np.bool_)
    keep[own] = False
    return batch.take(keep), tuple(_canary(batch, at) for at in own)


def _canary(batch: CleanBatch, at: int) -> Canary:
    return Canary(batch.source, int(batch.offsets[at]), int(batch.subs[at]), batch.event_ids[at] or "", int(batch.ts_ns[at]))
