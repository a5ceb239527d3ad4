"""Healthy traffic of one application as columns: when requests come, how long they are, what they take and cost.

All of it is made up, with the difficulties of real traffic: a daily and a weekly cycle, bursts of minutes, token counts of several kinds of
requests, a latency that grows with length and load and wanders slowly, one slow request in a hundred, one failure in two hundred.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from sentinel.core.batch import Bool, Float64, Int32
from sentinel.core.metrics import COMPLETION_TOKENS, COST, ERROR, LATENCY, METRICS, PROMPT_TOKENS, TOTAL_TOKENS, TTFT
from sentinel.testing.quality_columns import USERS

DAY_S: Final = 86_400
GRID_S: Final = 10
"""Seconds for which the rate of arrivals is constant."""

WEEKEND: Final = (0.0, 2.0, 118.0, 122.0, 166.0, 168.0), (0.5, 0.0, 0.0, 1.0, 1.0, 0.5)
"""Hours of the week, from Monday on, and how far it is weekend then: people begin it and end it within four hours."""

SHARES: Final = np.array([0.45, 0.40, 0.15])
"""Short questions, questions about a document, and long conversations."""
PROMPT_TOKENS_OF: Final = np.log([320.0, 1_100.0, 3_600.0]), np.array([0.65, 0.30, 0.25])
COMPLETION_TOKENS_OF: Final = np.log([95.0, 360.0, 120.0]), np.array([0.55, 0.30, 0.70])
"""Median and deviation of the logarithm of each kind's token counts."""
MOST_PROMPT, MOST_COMPLETION = 120_000.0, 4_096.0

MOST_LATENCY_MS: Final = 300_000.0
"""Then clients give up."""

PROMPT_USD, COMPLETION_USD = 1e-5, 3e-5
BASE_MS, PROMPT_TOKEN_MS, COMPLETION_TOKEN_MS = 150.0, 0.12, 20.0


@dataclass(frozen=True, slots=True)
class Application:
    """What kind of traffic a series has.

    Attributes:
        rate: requests a second, the mean over the whole time; > 0.
        swing: amplitude of the logarithm of the rate over a day.
        busiest_h: hour of the day with the most requests.
        weekend: factor on the rate on Saturdays and Sundays.
        length: factor on token counts; pace: factor on latency.
        failing: share of the requests that fail.
    """

    rate: float = 0.5
    swing: float = 0.9
    busiest_h: float = 14.0
    weekend: float = 0.6
    length: float = 1.0
    pace: float = 1.0
    failing: float = 0.005


@dataclass(frozen=True, slots=True)
class Requests:
    """n requests before they are measured; faults change them in place.

    Attributes:
        prompt, completion: float64[n], tokens.
        slowness: float64[n], factor on latency; hung: bool[n], whether it never answers in time.
        failed: bool[n]; truncated: bool[n], whether the answer ended at its limit.
        user: int32[n], index into `USERS`.
    """

    prompt: Float64
    completion: Float64
    slowness: Float64
    hung: Bool
    failed: Bool
    truncated: Bool
    user: Int32


def wandering(rng: np.random.Generator, n: int, deviation: float, memory: float) -> Float64:
    """float64[n]: a smooth random walk around 0 that keeps its deviation and forgets within `memory` steps (a first-order process)."""
    taps = int(5 * memory)
    weights = np.exp(-np.arange(taps) / memory)
    weights *= deviation / float(np.sqrt(np.sum(weights**2)))
    walk: Float64 = np.convolve(rng.standard_normal(n + taps - 1), weights, "valid")
    return walk


def load_of(app: Application, days: float) -> Float64:
    """float64[g]: the daily and weekly cycle on the grid, with mean 1; day 0 is a Monday."""
    at = np.arange(0, days * DAY_S, GRID_S)
    load: Float64 = np.exp(app.swing * np.cos(2 * np.pi * (at / 3_600 - app.busiest_h) / 24))
    load *= app.weekend ** np.interp(at / 3_600 % 168, *WEEKEND)
    load /= load.mean()
    return load


def arrivals(rng: np.random.Generator, app: Application, load: Float64, factor: Float64 | float = 1.0) -> Float64:
    """float64[n]: when requests come, in rising seconds: a Poisson process with bursts of about two minutes.

    Args:
        rng: source of chance.
        app: whose rate.
        load: the cycle, see `load_of`.
        factor: float64[g] or one number, what a fault does to the rate.
    """
    bursts = np.exp(wandering(rng, len(load), 0.23, 120 / GRID_S))
    counts = rng.poisson(app.rate * GRID_S * load * bursts / bursts.mean() * factor)
    seconds = np.repeat(np.arange(len(load)) * float(GRID_S), counts)
    seconds += rng.random(len(seconds)) * GRID_S
    seconds.sort()
    return seconds


def requests(rng: np.random.Generator, app: Application, n: int) -> Requests:
    """What n healthy requests ask for."""
    kind = np.searchsorted(np.cumsum(SHARES)[:-1], rng.random(n), side="right")
    prompt, completion = (
        app.length * np.exp(medians[kind] + deviations[kind] * rng.standard_normal(n))
        for medians, deviations in (PROMPT_TOKENS_OF, COMPLETION_TOKENS_OF)
    )
    return Requests(
        prompt=prompt,
        completion=completion,
        slowness=np.ones(n),
        hung=np.zeros(n, np.bool_),
        failed=rng.random(n) < app.failing,
        truncated=rng.random(n) < 0.05,
        user=(rng.random(n) ** 2 * len(USERS)).astype(np.int32),  # squared: a few users do most
    )


def measured(rng: np.random.Generator, app: Application, load: Float64, seconds: Float64, asked: Requests) -> Float64:
    """float64[n, len(METRICS)]: what the requests took and cost.

    Latency is time to first token plus time per token, both with log-normal noise and slower under load; one request in a hundred
    takes longer by a heavy tail, and everything wanders by two per cent within hours.

    Args:
        rng: source of chance.
        app: whose pace.
        load: the cycle, see `load_of`.
        seconds: float64[n], when each came.
        asked: what they asked for.
    """
    n = len(seconds)
    busy = load[(seconds / GRID_S).astype(np.int64)] - 1
    prompt = np.clip(np.rint(asked.prompt), 1, MOST_PROMPT)
    completion = np.where(asked.failed, 0.0, np.clip(np.rint(asked.completion), 1, MOST_COMPLETION))
    wander = wandering(rng, len(load) // 60 + 2, 0.02, 12)
    pace = app.pace * asked.slowness * np.exp(np.interp(seconds, np.arange(len(wander)) * 600.0, wander))
    slow = np.flatnonzero(rng.random(n) < 0.01)
    pace[slow] *= np.exp(np.abs(rng.standard_normal(len(slow))))

    first_ms = (BASE_MS + PROMPT_TOKEN_MS * prompt) * np.exp(0.25 * rng.standard_normal(n)) * (1 + 0.12 * busy) * pace
    token_ms = COMPLETION_TOKEN_MS * np.exp(0.15 * rng.standard_normal(n)) * (1 + 0.10 * busy) * pace
    latency_ms = first_ms + token_ms * np.clip(asked.completion, 1, MOST_COMPLETION)
    latency_ms[asked.hung] = first_ms[asked.hung] = 60_000.0
    failed = np.flatnonzero(asked.failed)
    latency_ms[failed] *= rng.uniform(0.05, 1, len(failed))

    metrics = np.full((n, len(METRICS)), np.nan)
    metrics[:, LATENCY] = np.minimum(latency_ms, MOST_LATENCY_MS)
    metrics[:, TTFT] = np.where(asked.failed, np.nan, first_ms)
    metrics[:, PROMPT_TOKENS] = prompt
    metrics[:, COMPLETION_TOKENS] = completion
    metrics[:, TOTAL_TOKENS] = prompt + completion
    metrics[:, COST] = prompt * PROMPT_USD + completion * COMPLETION_USD
    metrics[:, ERROR] = asked.failed
    return metrics
