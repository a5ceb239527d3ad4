"""Flags, and what may be learned."""

import numpy as np
import pytest

from sentinel.core.flags import NOT_LEARNED, Flag, flag_names, implausible_flag, learnable
from sentinel.core.metrics import COST, LATENCY, METRICS


@pytest.mark.parametrize("metric", range(len(METRICS)))
def test_an_implausible_value_is_not_learned_and_its_neighbours_are(metric: int) -> None:
    """Only the flagged value of the flagged event is masked, alone in its batch or not."""
    metrics = np.ones((3, len(METRICS)))
    flags = np.array([0, implausible_flag(metric), int(Flag.TOTAL_DISAGREES)], np.int32)
    masked = np.argwhere(np.isnan(learnable(metrics, flags))).tolist()
    assert masked == [[1, metric]]


def test_an_event_that_is_too_old_is_not_learned_at_all() -> None:
    """All its values are masked, whatever else is flagged."""
    flags = np.array([int(Flag.TOO_OLD), int(Flag.TOO_OLD) | implausible_flag(COST), 0], np.int32)
    assert np.isnan(learnable(np.ones((3, len(METRICS))), flags)).all(axis=1).tolist() == [True, True, False]


def test_without_such_flags_nothing_is_copied() -> None:
    """The common case costs nothing: the same array comes back."""
    metrics = np.ones((2, len(METRICS)))
    harmless = np.array([0, int(Flag.TIMESTAMP_MISSING | Flag.TEXT_TRUNCATED | Flag.CLEANED)], np.int32)
    assert learnable(metrics, harmless) is metrics
    assert NOT_LEARNED & int(Flag.CLEANED) == 0


def test_every_flag_has_a_name() -> None:
    """All bits at once: one name each."""
    every = sum(int(flag) for flag in Flag) | implausible_flag(LATENCY) | implausible_flag(COST)
    assert len(flag_names(every)) == len(Flag) + 2
