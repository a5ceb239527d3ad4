"""The order in which time windows see events: by event time, however the log was shuffled within the lateness bound.

The watermark is the running maximum of event time in arrival order, and the horizon lies `lateness` behind it, or at the last time mark if
that is later. An event waits until the horizon has reached its time; then it is released, in order of (event time, arrival). So any two
arrival orders in which no event is older than the horizon when it arrives give the same released stream, bit for bit.

An event is **late** when it is older than the horizon on arrival. A request that hung for a minute is, and it is what one wants to see: it
is judged with the time of the horizon, and counted. One that is more than `LATE_LIMIT_NS` behind says nothing about now: it is counted as
`missed` and not judged. One that is more than `LEAP_NS` ahead does not move the watermark until a second one confirms it: a single broken
clock must not make everything else late.

At most `MOST_WAITING` events wait; beyond that the oldest is released early, and the horizon moves with it.

Source: T. Akidau et al., The Dataflow Model, VLDB 2015 (watermarks); the queue is a binary heap (J. Williams, 1964).
"""

from typing import Final

import numpy as np

from sentinel.core.batch import Float64, Int32, Int64
from sentinel.core.flags import Flag
from sentinel.core.jit import leaf

SECOND_NS: Final = 1_000_000_000
LATE_LIMIT_NS: Final = 600 * SECOND_NS
"""Twice the longest plausible latency: a producer reports a request when it ends."""
LEAP_NS: Final = 3_600 * SECOND_NS
MOST_WAITING: Final = 65_536
TOO_OLD: Final = int(Flag.TOO_OLD)
NEVER: Final = -(2**62)

CLOCK = np.dtype(
    [
        ("newest_ns", "i8"),
        ("horizon_ns", "i8"),
        ("ahead_ns", "i8"),
        ("tick_ns", "i8"),
        ("arrivals", "i8"),
        ("late", "i8"),
        ("missed", "i8"),
        ("ticks", "i8"),
        ("walked", "i8"),
        ("hushed", "i8"),
        ("heard_ns", "i8"),
    ]
)
"""Where a partition stands in event time: watermark, horizon, time of an unconfirmed leap, start of the open tick;
counters; how many series
are walked each tick; whether it was told that all of them are silent, and when one of them spoke again."""


@leaf
def _before(time: Int64, arrival: Int64, a: int, b: int) -> bool:
    """Whether the event in slot a goes before the one in slot b."""
    return bool(time[a] < time[b] or (time[a] == time[b] and arrival[a] < arrival[b]))


@leaf
def push(heap: Int32, n: int, slot: int, time: Int64, arrival: Int64) -> None:
    """Add a slot to a heap of n."""
    at = n
    while at > 0:
        above = (at - 1) >> 1
        if not _before(time, arrival, slot, heap[above]):
            break
        heap[at] = heap[above]
        at = above
    heap[at] = slot


@leaf
def pop(heap: Int32, n: int, time: Int64, arrival: Int64) -> int:
    """Take the first slot from a heap of n."""
    first = int(heap[0])
    last = heap[n - 1]
    at = 0
    while True:
        below = 2 * at + 1
        if below >= n - 1:
            break
        if below + 1 < n - 1 and _before(time, arrival, heap[below + 1], heap[below]):
            below += 1
        if not _before(time, arrival, heap[below], last):
            break
        heap[at] = heap[below]
        at = below
    heap[at] = last
    return first


@leaf
def advance(clock: np.void, ts: int, lateness_ns: int) -> int:
    """Move watermark and horizon for an event; returns the time it is judged at, NEVER when it is not judged."""
    if clock["newest_ns"] == NEVER:
        clock["newest_ns"] = ts
        clock["horizon_ns"] = ts - lateness_ns
    horizon: int = clock["horizon_ns"]
    if ts < horizon - LATE_LIMIT_NS:
        clock["missed"] += 1
        return NEVER
    if ts > max(clock["newest_ns"], horizon) + LEAP_NS:
        if clock["ahead_ns"] == NEVER:
            clock["ahead_ns"] = ts
        else:
            clock["newest_ns"] = min(clock["ahead_ns"], ts)
            clock["ahead_ns"] = NEVER
    elif ts > clock["newest_ns"]:
        clock["newest_ns"] = ts
        clock["ahead_ns"] = NEVER
    clock["horizon_ns"] = max(horizon, clock["newest_ns"] - lateness_ns)
    if ts < clock["newest_ns"] - lateness_ns:
        clock["late"] += 1
    return max(ts, int(clock["horizon_ns"]))


@leaf
def arrive(
    ts: Int64,
    rows: Int32,
    flags: Int32,
    learned: Float64,
    clock: np.void,
    lateness_ns: int,
    time: Int64,
    arrival: Int64,
    row: Int32,
    metrics: Float64,
    heap: Int32,
    free: Int32,
    waiting: int,
    held: Int32,
    released: Int32,
) -> tuple[int, int]:
    """Let events in, in arrival order, and take out those the horizon has reached.

    Where:
        ts, rows, flags, learned: the batch: int64[n], int32[n], int32[n], float64[n, len(METRICS)].
        clock: see CLOCK.
        time, arrival, row, metrics: the slots of events that wait, by slot.
        heap: int32, the slots in use, first to go first; `waiting` of them.
        free: int32, the slots not in use, from `waiting` on.
        held: int32[n], gets the slot of each event, -1 for those not judged.
        released: int32[n + waiting], gets the slots released, in order. They stay in use until they are given back.

    Returns:
        How many still wait, and how many were released.
    """
    out = 0
    used = waiting
    for i in range(ts.shape[0]):
        held[i] = -1
        if flags[i] & TOO_OLD:
            clock["missed"] += 1
            continue
        when = advance(clock, ts[i], lateness_ns)
        if when == NEVER:
            continue
        slot = free[used]
        used += 1
        held[i] = slot
        time[slot] = when
        arrival[slot] = clock["arrivals"]
        clock["arrivals"] += 1
        row[slot] = rows[i]
        for m in range(learned.shape[1]):
            metrics[slot, m] = learned[i, m]
        push(heap, waiting, slot, time, arrival)
        waiting += 1
        if waiting > MOST_WAITING:
            first = pop(heap, waiting, time, arrival)
            waiting -= 1
            released[out] = first
            out += 1
            clock["horizon_ns"] = max(int(clock["horizon_ns"]), int(time[first]))
    while waiting > 0 and time[heap[0]] <= clock["horizon_ns"]:
        released[out] = pop(heap, waiting, time, arrival)
        out += 1
        waiting -= 1
    return waiting, out
