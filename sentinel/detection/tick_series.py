"""One series: what happens with each of its events, and at the end of each tick."""

from typing import Final

import numpy as np

from sentinel.core.batch import Float64
from sentinel.core.jit import inlined, leaf
from sentinel.core.metrics import COMPLETION_TOKENS, COST, ERROR, PROMPT_TOKENS
from sentinel.detection.tick_baseline import (
    DAY_S,
    LEAST_EVENTS,
    LEAST_MEMORY,
    MEMORY_S,
    MINUTE,
    QUARTER,
    allow,
    close_block,
    close_tick,
    gather,
)
from sentinel.detection.tick_evidence import boundary, doubtful
from sentinel.detection.tick_failures import arm_failures, close_failures, judge_failures
from sentinel.detection.tick_flow import WARM_UP_TICKS, wake
from sentinel.detection.tick_incidents import WARNING, is_open
from sentinel.detection.tick_level import judge_level, level_edges
from sentinel.detection.tick_priors import begin_level, begin_series
from sentinel.detection.tick_rates import close_flow, tell_failures
from sentinel.detection.tick_regimes import accept, escalate, learn_fork, settle, shifted
from sentinel.detection.tick_scores import SETTLED, TOP, learn_score, spread
from sentinel.detection.tick_state import (
    BY_LENGTH,
    COLUMNS,
    FAILING,
    FLOORS,
    NOTE_EXTREME,
    NOTE_FAILED,
    NOTE_SAMPLE,
    NOTE_USUAL,
    QUANTITIES,
    SHAPE,
    SPEND_QUANTITY,
    Limits,
    Out,
    State,
)
from sentinel.detection.tick_tail import TAIL, TESTS, judge_tail, tail_edge
from sentinel.detection.tick_tokens import at_usual_length, learn_length, solve_length

EXTREME: Final = 1 << TESTS
LEAST_SEEN: Final = 20.0
"""Requests before a series gets levels of its own: names that come once cost next to nothing."""
SAMPLED: Final = 16
SAMPLE_NS: Final = 30 * 10**9
"""Of a busy tick, one event in so many is remembered as a sample; of others one in half a minute."""
USUAL_NS: Final = 300 * 10**9
"""How often an event is remembered as a sample of what is usual."""
PATIENCE: Final = 24
"""Failures are accepted as normal only after so many times the period of other shifts: a day by default."""
SPEND_MINUTES: Final = 5.0
"""What was spent is judged over so many minutes: single ones follow each other too closely to be evidence of their own."""
SPENDS_A_DAY: Final = 1_440.0 / SPEND_MINUTES


@leaf
def judge_value(rec: np.void, residual: float, plain: float, ts: int, warm: bool, calm: bool, memory: float) -> int:
    """Judge one value against its baseline just before it, then learn it.

    Where:
        rec: the quantity.
        residual: logarithm of the value over what is expected of it; `plain` whatever its length.
        ts: its time.
        warm: whether the series is known for long enough.
        calm: whether nothing seems wrong.
        memory: events that shapes are remembered for.

    Returns:
        The tests at their edge as a bit mask, with the bit EXTREME for a value beyond the highest quantile.
    """
    seen = 0
    if warm and rec["n"] >= LEAST_EVENTS:
        seen = judge_level(rec, residual, ts)
        if judge_tail(rec, residual, plain, ts):
            seen |= 1 << TAIL
        if residual > rec["grid"][TOP]:
            seen |= EXTREME
    if rec["fork_ns"] > 0:
        learn_fork(rec, residual)
    if calm:
        learn_score(rec, residual, memory)
    gather(rec, residual, calm, memory)
    return seen


@inlined
def judge_values(state: State, limits: Limits, out: Out, row: int, metrics: Float64, ts: int, tick: int) -> float:
    """All quantities of one event; returns how extreme the most extreme is, in spreads beyond the highest quantile, 0 for none."""
    flow = state.flows[row]
    memory = max(flow["rate"] * DAY_S, SETTLED)
    warm = flow["ticks"] >= WARM_UP_TICKS
    prompt = np.log1p(metrics[PROMPT_TOKENS])
    completion = np.log1p(metrics[COMPLETION_TOKENS])
    known = np.isfinite(prompt + completion)
    most = 0.0
    for quantity in range(COLUMNS.shape[0]):
        given = metrics[COLUMNS[quantity]]
        if not (given >= 0.0 and np.isfinite(given)):
            continue
        plain = np.log(given + FLOORS[quantity])
        rec = state.levels[row, quantity]
        if rec["n"] == 0.0:
            begin_level(state, row, quantity, plain)
        calm = not doubtful(rec)
        value = plain
        if quantity < BY_LENGTH and known:
            tokens = state.tokens[row, quantity]
            value = at_usual_length(tokens, plain, prompt, completion)
            if calm:
                learn_length(tokens, plain, prompt, completion, spread(rec), memory)
        level = rec["centre"] + rec["shade"]
        seen = judge_value(rec, value - level, plain - level, ts, warm, calm, memory)
        if seen:
            if seen & EXTREME:
                most = max(most, (value - level - rec["grid"][TOP]) / spread(rec))
            if seen & ~EXTREME:
                shifted(state, limits, out, row, quantity, seen & ~EXTREME, ts, tick)
    return most


@inlined
def take_event(state: State, limits: Limits, out: Out, at: int, row: int, metrics: Float64, ts: int, tick: int) -> None:
    """One event of a series; `at` is its place among the released ones."""
    series = state.series[row]
    clock = state.clock[0]
    if series["born"] == 0:
        series["born"] = 1
        begin_series(state, row)
        arm(state, limits, row)
    if series["active"] == 0:
        series["active"] = 1
        state.walked[clock["walked"]] = row
        clock["walked"] += 1
        wake(state.flows[row])
    if clock["hushed"]:
        clock["hushed"] = 0
        clock["heard_ns"] = ts
    series["quiet"] = 0
    note = 0
    if series["tick_n"] % SAMPLED == SAMPLED - 1 or ts - series["sampled_ns"] >= SAMPLE_NS:
        series["sampled_ns"] = ts
        note |= NOTE_SAMPLE
    if ts - series["usual_ns"] >= USUAL_NS:
        series["usual_ns"] = ts
        note |= NOTE_USUAL
    series["events"] += 1.0
    series["tick_n"] += 1.0
    series["last_ns"] = ts
    if metrics[COST] > 0.0 and np.isfinite(metrics[COST]):
        series["spent"] += metrics[COST]
        series["payers"] += 1.0
    failed = metrics[ERROR] > 0.5
    test = judge_failures(state.failures[row], failed, ts)
    if test >= 0 and state.flows[row]["ticks"] >= WARM_UP_TICKS:
        tell_failures(state, limits, out, row, test, ts, tick)
    weight = 0.0
    if failed:
        note |= NOTE_FAILED
    elif series["events"] >= LEAST_SEEN:
        weight = judge_values(state, limits, out, row, metrics, ts, tick)
        if weight > 0.0:
            note |= NOTE_EXTREME
    out.noted[at] = note
    out.weight[at] = weight


@leaf
def arm(state: State, limits: Limits, row: int) -> None:
    """Renew the edges of a series from how busy it is."""
    rate = state.flows[row]["rate"]
    base = boundary(rate * DAY_S, limits.false_days)
    state.series[row]["base"] = base
    arm_failures(state.failures[row], base, limits.strictness)
    for quantity in range(QUANTITIES):
        rec = state.levels[row, quantity]
        if rec["n"] > 0.0:
            own = boundary(SPENDS_A_DAY, limits.false_days) if quantity == SPEND_QUANTITY else base
            level_edges(rec, own, limits.strictness)
            tail_edge(rec, own, limits.strictness)


@leaf
def close_spend(state: State, limits: Limits, out: Out, row: int, end: int) -> None:
    """Judge what the last minutes have cost."""
    series = state.series[row]
    if series["spent"] > 0.0 and series["payers"] >= LEAST_SEEN:
        value = np.log(series["spent"] / SPEND_MINUTES + FLOORS[SPEND_QUANTITY])
        if state.levels[row, SPEND_QUANTITY]["n"] == 0.0:
            begin_level(state, row, SPEND_QUANTITY, value)
        rec = state.levels[row, SPEND_QUANTITY]
        residual = value - rec["centre"] - rec["shade"]
        warm = state.flows[row]["ticks"] >= WARM_UP_TICKS
        seen = judge_value(rec, residual, residual, end, warm, not doubtful(rec), SPENDS_A_DAY) & ~EXTREME
        if seen:
            shifted(state, limits, out, row, SPEND_QUANTITY, seen, end, end - limits.tick_ns)
    series["spent"] = 0.0
    series["payers"] = 0.0


@inlined
def close_series(state: State, limits: Limits, out: Out, row: int, end: int, minute: bool, quarter: bool) -> None:
    """The end of a tick for one series."""
    series = state.series[row]
    failing = state.incidents[row, FAILING]
    patient = not is_open(failing, end, limits.hold_ns) or end - failing["open_ns"] < PATIENCE * limits.accept_ns
    close_failures(state.failures[row], state.flows[row]["ticks"] >= WARM_UP_TICKS, patient)
    close_flow(state, limits, out, row, end)
    if minute and end // limits.tick_ns % (int(SPEND_MINUTES) * limits.minute) == 0:
        close_spend(state, limits, out, row, end)
    series["tick_n"] = 0.0
    rate = state.flows[row]["rate"]
    forks = 0
    for quantity in range(QUANTITIES):
        rec = state.levels[row, quantity]
        if rec["n"] == 0.0:
            continue
        spend = quantity == SPEND_QUANTITY
        memory = MEMORY_S / (60.0 * SPEND_MINUTES) if spend else max(rate * MEMORY_S, LEAST_MEMORY)
        day = SPENDS_A_DAY if spend else max(rate * DAY_S, LEAST_MEMORY)
        forked = rec["fork_ns"] > 0
        forks += 1 if forked else 0
        close_tick(rec, end, memory, day, forked)
        if minute:
            close_block(rec, MINUTE, forked)
            if quarter:
                close_block(rec, QUARTER, forked)
            allow(rec, end, memory)
            if quantity < BY_LENGTH:
                solve_length(state.tokens[row, quantity])
    if minute:
        arm(state, limits, row)
    if forks == 0:
        return
    if settle(state, limits, row, end) and state.incidents[row, SHAPE]["open_ns"] < end - limits.tick_ns:
        accept(state, limits, out, row, end, end - limits.tick_ns)
    elif state.incidents[row, SHAPE]["told"] == WARNING:
        escalate(state, limits, out, row, end, end - limits.tick_ns)
