"""What a stream looked like over time: counts, shares and levels of equal stretches, for people to look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from sentinel.core.batch import Float64, Int64
from sentinel.core.metrics import COMPLETION_TOKENS, COST, ERROR, LATENCY, PROMPT_TOKENS, TTFT
from sentinel.testing.fault_weeks import WeekFault
from sentinel.testing.quality_columns import Columns

TRAFFIC, ERRORS, LATENCY_MS, FIRST_TOKEN, PROMPTS, ANSWERS, COSTS, SPEND = (
    "requests per minute",
    "failed requests, %",
    "latency, ms",
    "time to first token, ms",
    "prompt tokens",
    "answer tokens",
    "cost of a request, $",
    "spend, $ per minute",
)
QUANTITIES: Final = (TRAFFIC, ERRORS, LATENCY_MS, FIRST_TOKEN, PROMPTS, ANSWERS, COSTS, SPEND)
BY_REQUEST: Final = {LATENCY_MS: LATENCY, FIRST_TOKEN: TTFT, PROMPTS: PROMPT_TOKENS, ANSWERS: COMPLETION_TOKENS, COSTS: COST}
"""Quantities that every request has, and their columns: they are shown as median and 95th percentile."""

SHOWS: Final[Mapping[WeekFault, str]] = {
    WeekFault.LATENCY_SPIKE: LATENCY_MS,
    WeekFault.HANG: LATENCY_MS,
    WeekFault.LATENCY_DRIFT: LATENCY_MS,
    WeekFault.LATENCY_STEP: LATENCY_MS,
    WeekFault.ERROR_BURST: ERRORS,
    WeekFault.SLOW_BURN: ERRORS,
    WeekFault.TOKEN_RUNAWAY: ANSWERS,
    WeekFault.PROMPT_LOOP: PROMPTS,
    WeekFault.SILENCE: TRAFFIC,
    WeekFault.TRAFFIC_SURGE: TRAFFIC,
    WeekFault.DEPLOY: ANSWERS,
}
"""In which quantity each kind of fault is best seen."""

QUANTITY_OF: Final[Mapping[str, tuple[str, float]]] = {
    "requests_per_minute": (TRAFFIC, 1.0),
    "error_rate": (ERRORS, 100.0),
    "latency_ms": (LATENCY_MS, 1.0),
    "ttft_ms": (FIRST_TOKEN, 1.0),
    "prompt_tokens": (PROMPTS, 1.0),
    "completion_tokens": (ANSWERS, 1.0),
    "cost_usd": (COSTS, 1.0),
    "cost_usd_per_minute": (SPEND, 1.0),
}
"""The quantity in which a metric of time windows is seen, and its factor from the metric's unit."""


@dataclass(frozen=True, slots=True)
class Bins:
    """A stream cut into b equal stretches.

    Attributes:
        at_s: float64[b], their middles in seconds.
        usual: float64[b] of each quantity, the median where every request has its own; NaN where nothing came.
        high: float64[b] of the quantities in `BY_REQUEST`, the 95th percentile.
    """

    at_s: Float64
    usual: Mapping[str, Float64]
    high: Mapping[str, Float64]


def binned(columns: Columns, span_s: tuple[float, float], width_s: float) -> Bins:
    """A part of the stream in stretches of `width_s`. A stretch without requests has traffic and spend 0, and nothing else."""
    start_s = span_s[0] // width_s * width_s
    size = int(np.ceil((span_s[1] - start_s) / width_s))
    seconds = columns.seconds
    first, last = np.searchsorted(seconds, (start_s, start_s + size * width_s)).tolist()
    place = ((seconds[first:last] - start_s) / width_s).astype(np.int64)
    metrics = columns.metrics[first:last]
    count = np.bincount(place, minlength=size)
    per_minute = 60 / width_s
    failed = np.bincount(place, metrics[:, ERROR], size)
    usual = {
        TRAFFIC: count * per_minute,
        ERRORS: np.where(count > 0, 100 * failed / np.maximum(count, 1), np.nan),
        SPEND: np.bincount(place, np.nan_to_num(metrics[:, COST]), size) * per_minute,
    }
    high = {}
    for quantity, column in BY_REQUEST.items():
        usual[quantity], high[quantity] = _quantiles(metrics[:, column], place, size, (0.5, 0.95))
    return Bins(start_s + (np.arange(size) + 0.5) * width_s, usual, high)


def quantity_of(metric: str) -> str:
    """In which quantity an anomaly of this metric is best seen.

    >>> quantity_of("ttft_ms"), quantity_of("total_tokens"), quantity_of("something_else")
    ('time to first token, ms', 'answer tokens', 'requests per minute')
    """
    if metric in QUANTITY_OF:
        return QUANTITY_OF[metric][0]
    words = {"error": ERRORS, "cost": COSTS, "prompt": PROMPTS, "token": ANSWERS, "latency": LATENCY_MS}
    return next((quantity for word, quantity in words.items() if word in metric), TRAFFIC)


def _quantiles(values: Float64, place: Int64, size: int, shares: Sequence[float]) -> list[Float64]:
    """For each share, float64[size]: the order statistic below which that share of a bin's values lies, NaN in an empty bin."""
    there = ~np.isnan(values)
    values, place = values[there], place[there]
    ordered = values[np.lexsort((values, place))]
    count = np.bincount(place, minlength=size)
    first = np.cumsum(count) - count
    full = count > 0
    found = [np.full(size, np.nan) for _ in shares]
    for share, column in zip(shares, found, strict=True):
        column[full] = ordered[(first + (share * (count - 1)).astype(np.int64))[full]]
    return found
