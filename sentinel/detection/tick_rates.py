"""Rates that are told: failures by the event, traffic by the tick."""

import numpy as np

from sentinel.core.jit import leaf
from sentinel.detection.tick_baseline import DAY_S
from sentinel.detection.tick_evidence import acquit, boundary, edge
from sentinel.detection.tick_findings import DROP_KIND, FAILURES_KIND, SURGE_KIND, new_finding, numbers
from sentinel.detection.tick_flow import DROP, MINUTE, START, SURGE, WARM_UP_TICKS, judge_flow, learn_flow, remember_former
from sentinel.detection.tick_incidents import CRITICAL, WARNING, opens
from sentinel.detection.tick_silence import unheard
from sentinel.detection.tick_state import FAILING, TRAFFIC, Limits, Out, State


@leaf
def tell_failures(state: State, limits: Limits, out: Out, row: int, test: int, ts: int, tick: int) -> None:
    """A test of failures stands at its edge: tell it if that is worth it, and new or critical by now."""
    rec = state.failures[row]
    incident = state.incidents[row, FAILING]
    share = rec["total"][test] / rec["count"][test]
    if share - rec["share"] < limits.error_share:
        return
    fresh = opens(incident, ts, rec["since"][test], limits.hold_ns, -1)
    if not fresh and (incident["told"] != WARNING or incident["open_ns"] >= tick):
        return
    at = new_finding(out, row, FAILURES_KIND, -1, ts, tick, rec["since"][test])
    found = out.findings[at]
    limit = rec["sought"][test]
    numbers(found, share, rec["share"], 0.0, limit, share / limit, rec["n"], ts - incident["open_ns"])
    found["deviation"] = np.sqrt(rec["share"] * (1.0 - rec["share"]))
    if fresh or found["severity"] == CRITICAL:
        incident["told"] = found["severity"]
    else:
        out.used[0] -= 1


@leaf
def tell_flow(state: State, limits: Limits, out: Out, row: int, side: int, end: int, tick: int) -> None:
    """Traffic is odd beyond doubt: tell it if it is new, or critical by now."""
    rec = state.flows[row]
    incident = state.incidents[row, TRAFFIC]
    fresh = opens(incident, end, rec["since"][side], limits.hold_ns, -1)
    if not fresh and (incident["told"] != WARNING or incident["open_ns"] >= tick):
        return
    if fresh:
        remember_former(rec, side, end, limits.tick_s)
    at = new_finding(out, row, SURGE_KIND if side == SURGE else DROP_KIND, -1, end, tick, rec["since"][side])
    found = out.findings[at]
    per_minute = 60.0 / limits.tick_s * rec["usual"][side]
    ratio = rec["count"][side] / rec["total"][side]
    factor = limits.traffic_factor
    score = abs(np.log(max(ratio, 1e-9))) / np.log(factor)
    numbers(found, ratio * per_minute, per_minute, per_minute / factor, per_minute * factor, score, rec["ticks"], end - incident["open_ns"])
    found["deviation"] = per_minute * np.sqrt(rec["sway"][MINUTE])
    if fresh or found["severity"] == CRITICAL:
        incident["told"] = found["severity"]
    else:
        out.used[0] -= 1


@leaf
def close_flow(state: State, limits: Limits, out: Out, row: int, end: int) -> None:
    """Judge and learn the traffic of a tick. Silence is neither: that is told where it is known whether we are behind."""
    series = state.series[row]
    rec = state.flows[row]
    profile = state.profiles[row]
    tick = end - limits.tick_ns
    n = series["tick_n"]
    per_day = min(max(rec["rate"] * DAY_S, 100.0), DAY_S / limits.tick_s)
    at = edge(boundary(per_day, limits.false_days), START, limits.strictness)
    if n == 0.0 and unheard(rec, series["last_ns"], end, at):
        acquit(rec)
        return
    if rec["awake"] >= WARM_UP_TICKS:
        found = judge_flow(rec, profile, n, tick, limits.tick_s, limits.traffic_factor, at)
        if found & (1 << SURGE):
            tell_flow(state, limits, out, row, SURGE, end, tick)
        elif found & (1 << DROP) and rec["count"][DROP] > 0.0:
            tell_flow(state, limits, out, row, DROP, end, tick)
    learn_flow(rec, profile, n, end, limits.tick_s)


@leaf
def accept_rates(state: State, row: int) -> None:
    """What a series does now is normal: its share of failures since they rose, its traffic of the last minutes."""
    failures, flow = state.failures[row], state.flows[row]
    for test in range(failures["sum"].shape[0]):
        if failures["sum"][test] >= failures["edge"][test]:
            failures["share"] = max(failures["share"], failures["total"][test] / max(failures["count"][test], 1.0))
    acquit(failures)
    acquit(flow)
    flow["rate"] = flow["brisk"]
    flow["former_ns"] = 0
    state.incidents[row, FAILING]["open_ns"] = 0
    state.incidents[row, TRAFFIC]["open_ns"] = 0
