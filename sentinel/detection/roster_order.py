"""The order of series by their last event, as linked lists in records: who is on probation, who is active, who is idle.

Noting an event costs a few reads and writes, whatever the number of series.
"""

from typing import Final

import numpy as np

from sentinel.core.batch import Int8, Int32
from sentinel.core.jit import leaf
from sentinel.detection.windows_learn import FORGET_OLD
from sentinel.detection.windows_pool import Records

PROBATION, ACTIVE, IDLE, APART, UNSEEN = range(5)
"""Where a series stands: too few events to be judged yet; proven; proven and silent for long; the overflow series; nothing noted yet."""

RANKED: Final = 3
"""The first standings are ordered by the last event of their series."""

NOBODY: Final = -1

MEMBER = np.dtype([("older", "i4"), ("newer", "i4"), ("standing", "i4"), ("events", "i4")])
"""A series: its neighbours among those of the same standing, by their last event; that standing; its events until it was proven."""

ENDS = np.dtype([("oldest", "i4"), ("newest", "i4"), ("count", "i8")])
"""The series of one standing."""


@leaf
def leave(members: Records, ends: Records, row: int) -> None:
    """Take a series out of its standing."""
    older, newer = members[row]["older"], members[row]["newer"]
    end = ends[members[row]["standing"]]
    if older == NOBODY:
        end["oldest"] = newer
    else:
        members[older]["newer"] = newer
    if newer == NOBODY:
        end["newest"] = older
    else:
        members[newer]["older"] = older
    end["count"] -= 1


@leaf
def join(members: Records, ends: Records, row: int, standing: int) -> None:
    """Put a series into a standing as the one seen last."""
    member, end = members[row], ends[standing]
    newest = end["newest"]
    member["standing"], member["older"], member["newer"] = standing, newest, NOBODY
    if newest == NOBODY:
        end["oldest"] = row
    else:
        members[newest]["newer"] = row
    end["newest"] = row
    end["count"] += 1


@leaf
def see(
    rows: Int32, start: int, stop: int, members: Records, ends: Records, proven: int, most_active: int, marks: Int8, idle: Int32
) -> int:
    """Note the events of a stretch of the log, one after the other.

    Args:
        rows: int32[n], the row of each event.
        start: the first event of the stretch.
        stop: the first event after it.
        members: all series.
        ends: of the standings.
        proven: events after which a series is no longer on probation.
        most_active: series that may be active.
        marks: int8[n]; set where an idle series comes back.
        idle: int32[at least stop - start], set to who became idle.

    Returns:
        How many became idle; those that have come back since are among them.
    """
    fallen = 0
    for i in range(start, stop):
        row = rows[i]
        member = members[row]
        if member["standing"] == APART:
            continue
        if member["standing"] == IDLE and marks[i] == 0:
            marks[i] = FORGET_OLD
        if member["standing"] != UNSEEN:
            leave(members, ends, row)
        if member["events"] < proven:
            member["events"] += 1
        join(members, ends, row, ACTIVE if member["events"] >= proven else PROBATION)
        if ends[ACTIVE]["count"] > most_active:
            silent = ends[ACTIVE]["oldest"]
            leave(members, ends, silent)
            join(members, ends, silent, IDLE)
            idle[fallen] = silent
            fallen += 1
    return fallen
