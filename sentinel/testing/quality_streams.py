"""Streams in which nothing is wrong: given distributions, and a fleet of healthy applications. Whatever is raised in them is false."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from sentinel.core.batch import Float64, SeriesKey
from sentinel.testing.quality_columns import FAILED, NS, START_NS, Columns, columns_of, merged
from sentinel.testing.quality_traffic import Application, arrivals, load_of, measured, requests

Draw = Callable[[np.random.Generator, int], Float64]

LEVELS: Final = {"latency_ms": 200.0, "ttft_ms": 50.0, "prompt_tokens": 80.0, "completion_tokens": 40.0, "cost_usd": 0.001}
"""Metrics that get a clean stream's distribution, each with its own draws, and what these are multiplied with: extremes stay plausible."""


def _lognormal(sigma: float) -> Draw:
    return lambda rng, n: np.exp(sigma * rng.standard_normal(n))


def _gamma(shape: float) -> Draw:
    return lambda rng, n: rng.gamma(shape, 1 / shape, n)


def _zero_inflated(zeros: float) -> Draw:
    return lambda rng, n: np.where(rng.random(n) < zeros, 0.0, np.exp(0.75 * rng.standard_normal(n)))


def _failing(share: float) -> Draw:
    return lambda rng, n: (rng.random(n) < share).astype(np.float64)


POSITIVE: Final[Mapping[str, Draw]] = MappingProxyType(
    {f"lognormal {sigma}": _lognormal(sigma) for sigma in (0.25, 0.5, 1.0, 1.5)}
    | {f"gamma {shape}": _gamma(shape) for shape in (0.5, 1.0, 2.0, 5.0)}
    | {f"zero-inflated {zeros:.0%}": _zero_inflated(zeros) for zeros in (0.1, 0.5, 0.95)}
    | {"constant": lambda _, n: np.ones(n)}
)
"""Distributions of metrics that are not negative, by name; centre about 1."""

FAILING: Final[Mapping[str, Draw]] = MappingProxyType({f"errors {share}": _failing(share) for share in (0.001, 0.01, 0.05, 0.2)})
"""Distributions of the error metric, by name."""

CLEAN: Final = (*POSITIVE, *FAILING)
"""The names of all clean streams."""


def clean_stream(kind: str, seed: int, n: int, rate: float = 1.0) -> Columns:
    """Independent events of one series at random times, with one distribution that never changes.

    Args:
        kind: one of `CLEAN`. A positive distribution is that of every metric in `LEVELS`; one of errors leaves these constant.
        seed: >= 0. The same arguments give the same stream.
        n: events.
        rate: events a second, as the mean; times are a Poisson process.
    """
    rng = np.random.default_rng([seed, CLEAN.index(kind)])
    seconds = np.cumsum(rng.exponential(1 / rate, n))
    draw = POSITIVE.get(kind, POSITIVE["constant"])
    # No request takes no time, and no producer may say so.
    values = {name: np.maximum(level * draw(rng, n), 0.1 if name == "latency_ms" else 0.0) for name, level in LEVELS.items()}
    for name in ("prompt_tokens", "completion_tokens"):
        values[name] = np.rint(values[name])
    values["total_tokens"] = values["prompt_tokens"] + values["completion_tokens"]
    values["error"] = FAILING[kind](rng, n) if kind in FAILING else np.zeros(n)
    columns = columns_of(SeriesKey("default", f"clean {kind}", "model-a"), seconds, **values)
    columns.outcome[values["error"] == 1] = FAILED
    return columns


def healthy_fleet(seed: int, series: int, days: float, *, slowest: float = 0.05, fastest: float = 0.5, first: int = 0) -> Columns:
    """Healthy series of many kinds as one log: rates, cycles, lengths and speeds differ.

    Args:
        seed: >= 0. A series depends on the seed and its number alone.
        series: how many.
        days: how long.
        slowest: requests a second of the slowest series.
        fastest: of the fastest; rates lie evenly between on log scale.
        first: number of the first series.
    """
    return merged([_healthy(seed, number, days, slowest, fastest) for number in range(first, first + series)])


def _healthy(seed: int, number: int, days: float, slowest: float, fastest: float) -> Columns:
    rng = np.random.default_rng([seed, 0xF1, number])
    app = Application(
        rate=float(np.exp(rng.uniform(np.log(slowest), np.log(fastest)))),
        swing=rng.uniform(0.2, 1.2),
        busiest_h=rng.uniform(0, 24),
        weekend=rng.uniform(0.3, 1.0),
        length=float(np.exp(rng.uniform(-1, 1))),
        pace=float(np.exp(rng.uniform(-1, 1))),
        failing=float(np.exp(rng.uniform(np.log(0.001), np.log(0.05)))),
    )
    load = load_of(app, days)
    seconds = arrivals(rng, app, load)
    asked = requests(rng, app, len(seconds))
    metrics = measured(rng, app, load, seconds, asked)
    outcome = np.where(asked.failed, FAILED, asked.truncated).astype(np.int8)
    name = SeriesKey("default", f"service-{number:03d}", f"model-{number % 5}")
    return Columns((name,), np.zeros(len(seconds), np.int32), START_NS + (seconds * NS).astype(np.int64), metrics, outcome, asked.user)
