"""The walk: released events one after the other, ticks closed in between, silence looked for at time marks.

A tick closes when the horizon has passed its end, before any event behind it is taken. Series without an event for IDLE_NS are no longer
walked: an empty tick of theirs teaches nothing more. So a gap of days costs IDLE_NS worth of ticks, and none at all when nothing is walked.

A walk stops as soon as there is a finding, so that whoever asked can see who contributed at that very moment, and is then resumed.
"""

from typing import Final

import numpy as np

from sentinel.core.batch import Float64, Int32, Int64
from sentinel.core.jit import leaf
from sentinel.detection.tick_baseline import DAY_S
from sentinel.detection.tick_evidence import boundary, edge
from sentinel.detection.tick_findings import ALL_SILENT_KIND, SILENCE_KIND, new_finding, numbers
from sentinel.detection.tick_flow import MINUTE
from sentinel.detection.tick_incidents import opens
from sentinel.detection.tick_order import SECOND_NS
from sentinel.detection.tick_priors import contribute
from sentinel.detection.tick_series import close_series, take_event
from sentinel.detection.tick_silence import URGENT, judged, missing
from sentinel.detection.tick_state import SILENT, Limits, Out, State

IDLE_NS: Final = 7_200 * SECOND_NS
"""Four memories of a rate: what is left of it then is under two per cent."""

ALONE, WITH_ALL = 1, 2
"""Why a series is known to be quiet: told for itself, or with all others; then it has the time of its own silence again once one speaks."""


@leaf
def close_next(state: State, limits: Limits, out: Out) -> None:
    """Close the open tick of every series that is walked."""
    clock = state.clock[0]
    end = clock["tick_ns"] + limits.tick_ns
    number = end // limits.tick_ns
    minute, quarter = number % limits.minute == 0, number % limits.quarter == 0
    kept = 0
    for i in range(clock["walked"]):
        row = state.walked[i]
        series = state.series[row]
        close_series(state, limits, out, row, end, minute, quarter)
        if quarter:
            contribute(state, row)
        if end - series["last_ns"] > IDLE_NS:
            series["active"] = 0
        else:
            state.walked[kept] = row
            kept += 1
    clock["walked"] = kept
    clock["tick_ns"] = end
    clock["ticks"] += 1


@leaf
def close_until(state: State, limits: Limits, out: Out, ts: int) -> None:
    """Close all ticks that end at or before a time, until something is found."""
    clock = state.clock[0]
    while clock["tick_ns"] + limits.tick_ns <= ts and out.used[0] == 0:
        if clock["walked"] == 0:
            clock["tick_ns"] = ts // limits.tick_ns * limits.tick_ns
        else:
            close_next(state, limits, out)


@leaf
def tell_silence(state: State, limits: Limits, out: Out, row: int, kind: int, count: int, since: int, now: int, score: float) -> None:
    """Tell that a series, or all of them, are silent, if that is new."""
    flow = state.flows[row]
    incident = state.incidents[row, SILENT]
    if not opens(incident, now, since, limits.hold_ns, -1):
        return
    at = new_finding(out, row, kind, -1, now, now // limits.tick_ns * limits.tick_ns, since)
    found = out.findings[at]
    per_minute = 60.0 * flow["pace"]
    numbers(found, 0.0, per_minute, per_minute / limits.traffic_factor, per_minute * limits.traffic_factor, score, flow["ticks"], 0)
    found["series_count"] = count
    found["deviation"] = per_minute * np.sqrt(flow["sway"][MINUTE])
    incident["told"] = found["severity"]


@leaf
def hear(state: State, limits: Limits, out: Out, now: int) -> None:
    """At a time mark: has everything stopped, or else a series?"""
    clock = state.clock[0]
    newest, total, busiest, known = 0, 0.0, -1, 0
    for i in range(clock["walked"]):
        row = state.walked[i]
        newest = max(newest, state.series[row]["last_ns"])
        if state.series[row]["quiet"] != ALONE and judged(state.flows[row], state.series[row]["events"]):
            known += 1
            total += state.flows[row]["pace"]
            if busiest < 0 or state.flows[row]["pace"] > state.flows[busiest]["pace"]:
                busiest = row
    if known == 0 or clock["hushed"]:
        return
    at = edge(boundary(total * DAY_S, limits.false_days), URGENT, limits.strictness)
    if known > 1 and missing(state.flows[busiest], total, newest, now) >= at:
        clock["hushed"] = 1
        evidence = missing(state.flows[busiest], total, newest, now)
        tell_silence(state, limits, out, busiest, ALL_SILENT_KIND, known, newest, now, evidence / at)
        for i in range(clock["walked"]):
            state.series[state.walked[i]]["quiet"] = WITH_ALL
        return
    for i in range(clock["walked"]):
        row = state.walked[i]
        series, flow = state.series[row], state.flows[row]
        if series["quiet"] == ALONE or not judged(flow, series["events"]):
            continue
        own = edge(boundary(flow["pace"] * DAY_S, limits.false_days), URGENT, limits.strictness)
        since = max(series["last_ns"], clock["heard_ns"] if series["quiet"] == WITH_ALL else 0)
        evidence = missing(flow, flow["pace"], since, now)
        if evidence >= own:
            series["quiet"] = ALONE
            tell_silence(state, limits, out, row, SILENCE_KIND, known - 1, series["last_ns"], now, evidence / own)


@leaf
def walk(
    state: State,
    limits: Limits,
    out: Out,
    released: Int32,
    start: int,
    time: Int64,
    rows: Int32,
    metrics: Float64,
    mark_ns: int,
) -> tuple[int, bool]:
    """Take released events from `start` on, close what ticks can be closed, and listen at a time mark (0 for none).

    Where:
        state, limits, out: see `tick_state`.
        released: int32[n], slots in order.
        start: where to begin, and resume.
        time, rows, metrics: the slots.
        mark_ns: the time of the mark.

    Returns:
        Where to resume, and whether all is done; it is not when something was found.
    """
    clock = state.clock[0]
    for i in range(start, released.shape[0]):
        slot = released[i]
        if clock["tick_ns"] < 0:
            clock["tick_ns"] = time[slot] // limits.tick_ns * limits.tick_ns
        close_until(state, limits, out, time[slot])
        if out.used[0] > 0:
            return i, False
        take_event(state, limits, out, i, rows[slot], metrics[slot], time[slot], clock["tick_ns"])
        if out.used[0] > 0:
            return i + 1, False
    if clock["tick_ns"] >= 0:
        close_until(state, limits, out, clock["horizon_ns"])
        if out.used[0] > 0:
            return released.shape[0], False
        if mark_ns > 0:
            hear(state, limits, out, mark_ns)
    return released.shape[0], True
