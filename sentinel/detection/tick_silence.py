"""Silence: has a series, or everything, stopped?

Judged at time marks only, which are given when a log has been read to its end: so "nothing came" is never confused with "we are behind".
The requests that should have come since the last one, at the pace of the last half hour (or of the last minutes, if that is slower), are
the evidence, less what an ordinary sway of the rate explains: the test of a drop with a count of zero.

If no series of a log speaks, the evidence of all is added, and one finding stands for all: the producer, or the way from it to us, has
stopped. Otherwise it is this series' own.

Source: the void probabilities of a Cox process: D. R. Cox, Some Statistical Methods Connected with Series of Events, JRSS B 17, 1955.
"""

from typing import Final

import numpy as np

from sentinel.core.jit import leaf
from sentinel.detection.tick_evidence import HALF_WAY
from sentinel.detection.tick_flow import WARM_UP_TICKS, beyond_sway, sway_over, unsure

LEAST_SPOKEN: Final = 20.0
"""Requests a series must have sent before its silence means something."""


KNOWN_TICKS: Final = 3 * WARM_UP_TICKS
"""Ticks since a series began before its silence means something: the pace is that of half an hour, and a burst is no pace."""

URGENT: Final = 0.1
"""Silence may be wrong ten times as often as other tests (c of `tick_evidence`): nothing else is so urgent, and so easily checked."""


@leaf
def missing(flow: np.void, pace: float, since: int, now: int) -> float:
    """The evidence that requests at a pace (per second) have stopped since a time."""
    sway = sway_over(flow, now - since) + unsure(flow)
    return float(beyond_sway(0.0, max(pace * (now - since) * 1e-9, 1e-9), 0.0, np.sqrt(sway)) / flow["clump"])


@leaf
def unheard(flow: np.void, since: int, now: int, at: float) -> bool:
    """Whether a stretch without a request is too long to be ordinary: then it says nothing about the rate.

    Args:
        flow: of the series.
        since: beginning of the stretch.
        now: its end.
        at: the edge of the tests of traffic.
    """
    if flow["pace"] * (now - since) * 1e-9 < HALF_WAY * at:
        return False
    return bool(missing(flow, flow["pace"], since, now) >= HALF_WAY * at)


@leaf
def judged(flow: np.void, events: float) -> bool:
    """Whether a series is known well enough."""
    return bool(flow["ticks"] >= KNOWN_TICKS and events >= LEAST_SPOKEN and flow["pace"] > 0.0)
