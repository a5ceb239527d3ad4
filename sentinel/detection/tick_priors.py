"""Cold start: what a new series is taken for until it has shown its own habits.

Series of one model have much in common, those of one provider something, all of them a little: how widely latencies and tokens spread, how
far levels wander, how latency grows with length, how often requests fail. Every quarter of an hour each series that is known well adds its
own figures to the priors of its model, its provider and of all; a new series borrows from the nearest of these that rests on anything.
Priors belong to one partition and change only when a tick closes. A level itself is never borrowed: a few events tell it better.

What is borrowed counts for few events (`PRIOR_EVENTS`, `PRIOR_BLOCKS`), and all uncertainty is that of few: bands begin wide, and
`confidence` says so.

Source: empirical Bayes, H. Robbins, 1956, by running means.
"""

from typing import Final

import numpy as np

from sentinel.core.jit import leaf
from sentinel.detection.tick_baseline import PRIOR_WANDER, QUARTER, begin_baseline
from sentinel.detection.tick_failures import PRIOR_SHARE, begin_failures
from sentinel.detection.tick_flow import PRIOR_SWAY, begin_flow
from sentinel.detection.tick_scores import begin_scores, spread
from sentinel.detection.tick_state import BY_LENGTH, QUANTITIES, State

WIDTH: Final = 0.5
"""Spread of a quantity nothing is known of, on log scale: a factor of 1.65."""
WELL_KNOWN: Final = 1_000.0
"""Events from which a quantity adds to the priors."""
MEMORY: Final = 64.0
"""Contributions that a prior averages over: quarters of an hour times series."""
EVERYTHING: Final = 0
"""The prior of all series."""


@leaf
def family(state: State, row: int, level: int) -> int:
    """The prior of a row: of its model (0), its provider (1), of all (2)."""
    return EVERYTHING if level == 2 else int(state.families[row, level])


@leaf
def begin_series(state: State, row: int) -> None:
    """Give a new series what is borrowed for failures and traffic."""
    share, sway = PRIOR_SHARE, PRIOR_SWAY
    for level in range(3):
        prior = state.priors[family(state, row, level)]
        if prior["share_weight"] > 0.0:
            share, sway = prior["share"], prior["sway"]
            break
    begin_failures(state.failures[row], share)
    begin_flow(state.flows[row], sway)


@leaf
def begin_level(state: State, row: int, quantity: int, value: float) -> None:
    """Give a quantity that is seen for the first time its value as level, and what is borrowed around it."""
    width, wander = WIDTH, PRIOR_WANDER
    for level in range(3):
        prior = state.priors[family(state, row, level)]
        if prior["weight"][quantity] > 0.0:
            width, wander = prior["width"][quantity], max(np.sqrt(max(prior["wander"][quantity], 0.0)), 0.5 * PRIOR_WANDER)
            if quantity < BY_LENGTH:
                state.tokens[row, quantity]["by_prompt"] = prior["by_prompt"][quantity]
                state.tokens[row, quantity]["by_completion"] = prior["by_completion"][quantity]
            break
    begin_scores(state.levels[row, quantity], width)
    begin_baseline(state.levels[row, quantity], value, width, wander)


@leaf
def contribute(state: State, row: int) -> None:
    """Add what a series has shown to its priors."""
    for level in range(3):
        prior = state.priors[family(state, row, level)]
        for quantity in range(QUANTITIES):
            rec = state.levels[row, quantity]
            if rec["n"] < WELL_KNOWN:
                continue
            prior["weight"][quantity] = min(prior["weight"][quantity] + 1.0, MEMORY)
            weight = 1.0 / prior["weight"][quantity]
            prior["width"][quantity] += weight * (spread(rec) - prior["width"][quantity])
            prior["wander"][quantity] += weight * (rec["wander"][QUARTER] - prior["wander"][quantity])
            if quantity < BY_LENGTH:
                tokens = state.tokens[row, quantity]
                prior["by_prompt"][quantity] += weight * (tokens["by_prompt"] - prior["by_prompt"][quantity])
                prior["by_completion"][quantity] += weight * (tokens["by_completion"] - prior["by_completion"][quantity])
        if state.series[row]["events"] >= WELL_KNOWN:
            prior["share_weight"] = min(prior["share_weight"] + 1.0, MEMORY)
            weight = 1.0 / prior["share_weight"]
            prior["share"] += weight * (state.failures[row]["share"] - prior["share"])
            prior["sway"] += weight * (state.flows[row]["sway"][0] - prior["sway"])
