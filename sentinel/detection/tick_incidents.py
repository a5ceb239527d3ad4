"""Told once: which evidence opens a trouble, which belongs to one that people know of, and how severe it is by now.

A trouble opens with the first evidence at its edge and lasts until there was none for the hold; what comes meanwhile is part of it, and so
is what comes later of evidence that has never gone away in between. All
levels and tails of a series are one trouble, because a deploy or a broken model moves several at once: the first is told, with the others
named. A quantity that joins later than the hold after the opening is a trouble of its own. Failures, traffic and silence are each their
own.

Every trouble that is told is worth telling, so it begins as a warning. It is critical from a score of 3, or when a score of 1.5 has lasted
for an hour; becoming critical is told again.
"""

from typing import Final

import numpy as np

from sentinel.core.jit import leaf

INFO, WARNING, CRITICAL = range(3)
"""Severities, as indices into `sentinel.core.anomaly.SEVERITIES`."""
CRITICAL_SCORE: Final = 3.0
LASTING_SCORE: Final = 1.5
LASTING_NS: Final = 3_600 * 10**9


@leaf
def opens(incident: np.void, ts: int, since: int, hold_ns: int, quantity: int) -> bool:
    """Take evidence at its edge in; whether it is to be told.

    Args:
        incident: the record of the trouble.
        ts: time of the evidence.
        since: when it began to grow.
        hold_ns: see the module.
        quantity: which one it is about, -1 where there is only one.
    """
    bit = 1 << quantity if quantity >= 0 else 0
    over = ts - incident["seen_ns"] > hold_ns and since > incident["seen_ns"]
    fresh = incident["open_ns"] == 0 or over
    if fresh:
        incident["open_ns"] = ts
        incident["told"] = INFO
        incident["quantities"] = 0
    own = (incident["quantities"] & bit) != bit and ts - incident["open_ns"] > hold_ns
    if own:
        incident["open_ns"] = ts
        incident["told"] = INFO
    incident["seen_ns"] = ts
    incident["quantities"] |= bit
    return bool(fresh or own)


@leaf
def is_open(incident: np.void, ts: int, hold_ns: int) -> bool:
    """Whether people know of a trouble that is not over."""
    return bool(incident["open_ns"] > 0 and ts - incident["seen_ns"] <= hold_ns)


@leaf
def severity(score: float, lasted_ns: int) -> int:
    """How severe a told trouble is.

    >>> [severity(score, hours * 3_600 * 10**9) for score, hours in [(1.0, 0), (3.0, 0), (1.4, 5), (1.5, 1)]]
    [1, 2, 1, 2]
    """
    return CRITICAL if score >= CRITICAL_SCORE or (score >= LASTING_SCORE and lasted_ns >= LASTING_NS) else WARNING
