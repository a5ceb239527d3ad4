"""Batches as columns."""

import numpy as np

from sentinel.core.batch import CleanBatch, PartitionId
from sentinel.core.metrics import METRICS


def test_an_empty_batch_has_no_events() -> None:
    """Empty columns of the right width."""
    empty = CleanBatch.empty(PartitionId("c", "t", 0), 7)
    assert (len(empty), empty.metrics.shape, empty.offsets.dtype) == (0, (0, len(METRICS)), np.int64)
