"""Regimes: a level that has moved and stays is told once, observed, and then it is what is normal.

When a test of a quantity stands at its edge, its baseline stops learning and **forks**: the shifted level is learned beside the old one.
Then one of three things happens.

- The evidence goes away: the fork is dropped, the old baseline was right all the time.
- The shifted level is that of the regime before (a fault that lasted long has ended, a deploy was rolled back): it is taken back at once,
  and nothing is told.
- The shift has lasted for `accept_minutes`, or people say that it is meant: the fork becomes the baseline. Shape and spread are learned
  anew with the weight of a few events, so bands are wide again. This is told once as `regime_change`, with every quantity that is part of
  it, for the record: whoever had to be told was told when it began.

A shift that is certain but smaller than the least change worth telling is accepted in the same way, without a word. Soon after a marker
(a deploy, a prompt version, a price), only twice the least change is told, and a third of the time is enough to accept.

Source: the fork is a two-hypothesis form of intervention analysis, G. E. P. Box, G. C. Tiao, JASA 70, 1975.
"""

from typing import Final

import numpy as np

from sentinel.core.jit import leaf
from sentinel.detection.tick_baseline import LEAST_EVENTS, LEAST_MEMORY, SCALES, learn_wander
from sentinel.detection.tick_evidence import acquit, doubtful
from sentinel.detection.tick_findings import (
    ORDER,
    REGIME_KIND,
    band,
    describe_level,
    in_unit,
    level_kind,
    new_finding,
    numbers,
    size,
)
from sentinel.detection.tick_incidents import CRITICAL, INFO, WARNING, is_open, opens
from sentinel.detection.tick_scores import spread
from sentinel.detection.tick_state import QUANTITIES, SHAPE, SPEND_QUANTITY, TRAFFIC, Limits, Out, State
from sentinel.detection.tick_tail import RARE, TAIL, TESTS

CALM_NS: Final = 300 * 10**9
"""Without evidence for this long, a shift is over."""
LEAST_FORK: Final = 20.0
"""Events a fork rests on before it can be anything."""
FORMER_NS: Final = 2 * 86_400 * 10**9
"""How long the level of the last regime is remembered: over a weekend."""
LEAST_EXTREMES: Final = 3 * RARE
"""Share of extremes worth telling."""
AFTER_MARKER: Final = 2.0
"""Soon after a marker, changes must be so many times as large to be told."""
SOONER: Final = 3
"""Soon after a marker, a shift is accepted in this part of the time."""


@leaf
def marked(state: State, limits: Limits, row: int, ts: int) -> bool:
    """Whether something was changed on purpose lately."""
    when = state.series[row]["marked_ns"]
    return bool(when > 0 and 0 <= ts - when <= limits.marker_ns)


@leaf
def begin_fork(rec: np.void, at_edge: int, ts: int) -> None:
    """Begin to observe a shift, with what the first test at its edge has seen of it."""
    rec["seen_ns"] = ts
    if rec["fork_ns"] > 0:
        return
    rec["fork_ns"] = ts
    rec["fork"] = 0.0
    rec["fork_n"] = 0.0
    for test in ORDER:
        if at_edge & (1 << test):
            rec["fork"] = rec["total"][test] / rec["count"][test] if test != TAIL else 0.0
            break


@leaf
def learn_fork(rec: np.void, residual: float) -> None:
    """Learn one event at the shifted level."""
    bound = 3.0 * spread(rec)
    rec["fork_n"] += 1.0
    rec["fork"] += min(max(residual - rec["fork"], -bound), bound) / min(rec["fork_n"], LEAST_MEMORY)


@leaf
def worth_telling(rec: np.void, at_edge: int, least: float, falls: bool) -> int:
    """The test that is to be told, -1 for none."""
    for test in ORDER:
        if at_edge & (1 << test) == 0 or (test >= 3 and test != TAIL and not falls):
            continue
        if test == TAIL:
            if rec["extremes"] >= LEAST_EXTREMES * rec["count"][TAIL]:
                return int(test)
        elif size(rec, test) >= least:
            return int(test)
    return -1


@leaf
def shifted(state: State, limits: Limits, out: Out, row: int, quantity: int, at_edge: int, ts: int, tick: int) -> None:
    """Tests of a quantity stand at their edge: observe it, and tell it if that is worth it and new."""
    rec = state.levels[row, quantity]
    begin_fork(rec, at_edge, ts)
    least = limits.least[quantity] * (AFTER_MARKER if marked(state, limits, row, ts) else 1.0)
    test = worth_telling(rec, at_edge, least, limits.falls[quantity] > 0)
    if test < 0:
        return
    incident = state.incidents[row, SHAPE]
    if quantity == SPEND_QUANTITY and is_open(state.incidents[row, TRAFFIC], ts, limits.hold_ns) and incident["open_ns"] == 0:
        return
    if not opens(incident, ts, rec["since"][test], limits.hold_ns, quantity):
        return
    at = new_finding(out, row, level_kind(test, ts - rec["since"][test]), quantity, ts, tick, rec["since"][test])
    describe_level(state, limits, out, at, row, quantity, test, 0)
    incident["told"] = out.findings[at]["severity"]


@leaf
def take_back(rec: np.void) -> None:
    """The level of the regime before is back."""
    rec["centre"] = rec["former"]
    rec["recent"] = 0.0
    rec["former_ns"] = 0
    rec["fork_ns"] = 0
    acquit(rec)


@leaf
def take_over(rec: np.void, ts: int) -> None:
    """The fork becomes the baseline."""
    rec["former"] = rec["centre"]
    rec["former_ns"] = ts
    rec["centre"] += rec["fork"]
    rec["slow"] += rec["fork"]
    rec["recent"] = 0.0
    rec["fork_ns"] = 0
    rec["n"] = min(rec["n"], LEAST_EVENTS)
    acquit(rec)


@leaf
def settle(state: State, limits: Limits, row: int, ts: int) -> int:
    """At the end of a tick, end forks that are over; returns the quantities whose shift has lasted long enough, as a bit mask."""
    ripe = 0
    enough = limits.accept_ns // SOONER if marked(state, limits, row, ts) else limits.accept_ns
    for quantity in range(QUANTITIES):
        rec = state.levels[row, quantity]
        if rec["fork_ns"] == 0:
            continue
        known = rec["former_ns"] > 0 and ts - rec["former_ns"] < FORMER_NS
        if known and rec["fork_n"] >= LEAST_FORK and abs(rec["centre"] + rec["fork"] - rec["former"]) < limits.least[quantity]:
            take_back(rec)
        elif ts - rec["seen_ns"] > CALM_NS and not doubtful(rec):
            for scale in range(SCALES):
                learn_wander(rec, scale, rec["fork"], max(rec["fork_n"], 1.0))
            rec["fork_ns"] = 0
        elif ts - rec["fork_ns"] >= enough and rec["fork_n"] >= LEAST_FORK:
            ripe |= 1 << quantity
    return ripe


@leaf
def accept(state: State, limits: Limits, out: Out, row: int, ts: int, tick: int) -> None:
    """Take every fork of a series over, and tell it once if one of them is worth it."""
    head, most, accepted = -1, 0.0, 0
    for quantity in range(QUANTITIES):
        rec = state.levels[row, quantity]
        if rec["fork_ns"] > 0 and rec["fork_n"] >= LEAST_FORK:
            accepted |= 1 << quantity
            moved = abs(rec["fork"]) / limits.least[quantity]
            if moved > most:
                head, most = quantity, moved
    if most >= 1.0:
        rec = state.levels[row, head]
        level = rec["centre"] + rec["shade"]
        half = band(rec, limits.least[head])
        at = new_finding(out, row, REGIME_KIND, head, ts, tick, rec["fork_ns"])
        found = out.findings[at]
        found["others"] = accepted & ~(1 << head)
        found["deviation"] = in_unit(head, level) * spread(rec)
        low, high = in_unit(head, level - half), in_unit(head, level + half)
        value = in_unit(head, level + rec["fork"])
        numbers(found, value, in_unit(head, level), low, high, abs(rec["fork"]) / half, rec["fork_n"], 0)
        found["severity"] = INFO
    for quantity in range(QUANTITIES):
        if accepted & (1 << quantity):
            take_over(state.levels[row, quantity], ts)


@leaf
def escalate(state: State, limits: Limits, out: Out, row: int, ts: int, tick: int) -> None:
    """Tell again when a trouble of levels that people know of has become critical."""
    incident = state.incidents[row, SHAPE]
    if incident["told"] != WARNING or incident["open_ns"] >= tick or ts - incident["seen_ns"] > limits.tick_ns:
        return
    for quantity in range(QUANTITIES):
        rec = state.levels[row, quantity]
        if incident["quantities"] & (1 << quantity) == 0 or rec["fork_ns"] == 0:
            continue
        at_edge = 0
        for test in range(TESTS):
            if rec["sum"][test] >= rec["edge"][test]:
                at_edge |= 1 << test
        test = worth_telling(rec, at_edge, limits.least[quantity], limits.falls[quantity] > 0)
        if test < 0:
            continue
        at = new_finding(out, row, level_kind(test, ts - rec["since"][test]), quantity, ts, tick, rec["since"][test])
        describe_level(state, limits, out, at, row, quantity, test, ts - incident["open_ns"])
        if out.findings[at]["severity"] == CRITICAL:
            incident["told"] = CRITICAL
            return
        out.used[0] -= 1
