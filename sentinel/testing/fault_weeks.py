"""Weeks of simulated traffic with known faults: what detection quality is measured on.

    week = fault_week(seed=7, rate=0.5)
    week.columns, week.faults

The first two days are healthy, to be learned. Then every kind of fault comes twice, in random order, with hours between; on the last day a
deploy changes answers and latency for good. A pure function of its arguments.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from sentinel.core.batch import Bool, Float64, SeriesKey
from sentinel.testing.quality_columns import FAILED, NS, START_NS, Columns
from sentinel.testing.quality_traffic import (
    DAY_S,
    GRID_S,
    MOST_COMPLETION,
    MOST_PROMPT,
    Application,
    Requests,
    arrivals,
    load_of,
    measured,
    requests,
)

SERIES: Final = SeriesKey("default", "assistant", "model-a")


class WeekFault(StrEnum):
    """What goes wrong in a week, and how strongly."""

    LATENCY_SPIKE = "latency_spike"
    """Latency x 4."""
    HANG = "hang"
    """Every fifth request takes a minute."""
    LATENCY_DRIFT = "latency_drift"
    """Latency grows evenly to x 2."""
    LATENCY_STEP = "latency_step"
    """Latency x 1.5."""
    ERROR_BURST = "error_burst"
    """20% of the requests fail."""
    SLOW_BURN = "slow_burn"
    """3% of the requests fail."""
    TOKEN_RUNAWAY = "token_runaway"  # noqa: S105  a kind of fault, not a secret
    """15% of the answers are eight times as long."""
    PROMPT_LOOP = "prompt_loop"
    """10% of the prompts are ten times as long; one user sends them."""
    SILENCE = "silence"
    """Nothing arrives."""
    TRAFFIC_SURGE = "traffic_surge"
    """Four times the requests."""
    DEPLOY = "deploy"
    """Answers x 1.4 and latency x 0.75 for good: new levels rather than a fault."""


LENGTH_S: Final[dict[WeekFault, float]] = {
    WeekFault.LATENCY_SPIKE: 300,
    WeekFault.HANG: 300,
    WeekFault.LATENCY_DRIFT: 7_200,
    WeekFault.LATENCY_STEP: 10_800,
    WeekFault.ERROR_BURST: 300,
    WeekFault.SLOW_BURN: 7_200,
    WeekFault.TOKEN_RUNAWAY: 900,
    WeekFault.PROMPT_LOOP: 1_200,
    WeekFault.SILENCE: 600,
    WeekFault.TRAFFIC_SURGE: 600,
}
"""How long each lasts; a deploy lasts until the end of the week."""

SETTLE_S: Final = 1_800.0
"""After a fault, before anything else may begin."""


class Injected(NamedTuple):
    """One fault and its label: from `start_s` and before `end_s`, in seconds since the week began."""

    kind: WeekFault
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Week:
    """Events of one series, what is wrong with them, and how long the week is, in seconds."""

    columns: Columns
    faults: tuple[Injected, ...]
    total_s: float


def fault_week(
    seed: int,
    *,
    days: int = 7,
    rate: float = 0.5,
    kinds: Sequence[WeekFault] = tuple(WeekFault),
    repeats: int = 2,
    name: SeriesKey = SERIES,
) -> Week:
    """A week with faults; with no kinds, a healthy one.

    Args:
        seed: >= 0. The same arguments give the same week.
        days: its length.
        rate: requests a second, as the mean.
        kinds: of faults.
        repeats: how often each kind comes; a deploy comes once.
        name: of the series.

    Raises:
        ValueError: the faults do not fit into so few days.
    """
    plan_rng, traffic_rng, fault_rng = np.random.default_rng([seed, 0xFA]).spawn(3)
    faults = planned(plan_rng, days, kinds, repeats)
    app = Application(rate=rate)
    load = load_of(app, days)
    seconds = arrivals(traffic_rng, app, load, _traffic_factor(faults, len(load)))
    asked = requests(traffic_rng, app, len(seconds))
    for fault in faults:
        _put(fault, seconds, asked, fault_rng)
    metrics = measured(traffic_rng, app, load, seconds, asked)
    outcome = np.where(asked.failed, FAILED, np.where(asked.truncated, 1, np.where(asked.user % 30 == 0, 2, 0)))
    ts_ns = START_NS + (seconds * NS).astype(np.int64)
    columns = Columns((name,), np.zeros(len(seconds), np.int32), ts_ns, metrics, outcome.astype(np.int8), asked.user)
    return Week(columns, faults, float(days * DAY_S))


def planned(rng: np.random.Generator, days: int, kinds: Sequence[WeekFault], repeats: int) -> tuple[Injected, ...]:
    """When what goes wrong: an equal share of the time after the healthy days for each fault, in random order, then the deploy."""
    passing = [kind for kind in kinds if kind is not WeekFault.DEPLOY] * repeats
    first_s = float((2 if days > 3 else 1) * DAY_S)
    last_s = float(days * DAY_S)
    faults = []
    if WeekFault.DEPLOY in kinds:
        last_s -= DAY_S
        faults = [Injected(WeekFault.DEPLOY, last_s + rng.uniform(7_200, 10_800), last_s + DAY_S)]
    if passing:
        slot_s = (last_s - first_s) / len(passing)
        order = [passing[i] for i in rng.permutation(len(passing))]
        starts = [first_s + slot_s * (i + rng.uniform(0, 0.15)) for i in range(len(order))]
        faults = [Injected(kind, start, start + LENGTH_S[kind]) for kind, start in zip(order, starts, strict=True)] + faults
    if last_s < first_s or any(later.start_s < sooner.end_s + SETTLE_S for sooner, later in pairwise(faults)):
        raise ValueError(f"{len(passing)} faults do not fit into {days} days: give more days, or fewer kinds or repeats")
    return tuple(faults)


def _traffic_factor(faults: Sequence[Injected], steps: int) -> Float64:
    """float64[steps]: what the faults do to the rate of arrivals, on the grid."""
    factor = np.ones(steps)
    at = np.arange(steps) * GRID_S
    for fault in faults:
        during = (at >= fault.start_s) & (at < fault.end_s)
        if fault.kind is WeekFault.SILENCE:
            factor[during] = 0.0
        elif fault.kind is WeekFault.TRAFFIC_SURGE:
            factor[during] = 4.0
    return factor


class _Part(NamedTuple):
    """The requests that a fault meets: views of their columns, each one's draw from 0 to 1, and how far the fault has come, 0 to 1."""

    asked: Requests
    draw: Float64
    progress: Float64


def _put(fault: Injected, seconds: Float64, asked: Requests, rng: np.random.Generator) -> None:
    """What the fault does to the requests, in place."""
    first, last = np.searchsorted(seconds, (fault.start_s, fault.end_s)).tolist()
    part = slice(first, last)
    views = Requests(**{field: getattr(asked, field)[part] for field in Requests.__dataclass_fields__})
    progress = (seconds[part] - fault.start_s) / (fault.end_s - fault.start_s)
    if fault.kind in EFFECTS:
        EFFECTS[fault.kind](_Part(views, rng.random(last - first), progress))


def _slower(part: _Part, factor: Float64 | float) -> None:
    part.asked.slowness[:] *= factor


def _hang(part: _Part) -> None:
    part.asked.hung[:] |= part.draw < 0.2


def _fail(part: _Part, share: float) -> None:
    part.asked.failed[:] |= part.draw < share


def _run_away(part: _Part) -> None:
    hit: Bool = part.draw < 0.15
    part.asked.completion[hit] = np.minimum(part.asked.completion[hit] * 8 + 1_000, MOST_COMPLETION)
    part.asked.truncated[hit] = True


def _loop(part: _Part) -> None:
    hit: Bool = part.draw < 0.10
    part.asked.prompt[hit] = np.minimum(part.asked.prompt[hit] * 10, MOST_PROMPT)
    part.asked.user[hit] = 7


def _deploy(part: _Part) -> None:
    part.asked.completion[:] *= 1.4
    _slower(part, 0.75)


EFFECTS: Final[dict[WeekFault, Callable[[_Part], None]]] = {
    WeekFault.LATENCY_SPIKE: lambda part: _slower(part, 4.0),
    WeekFault.HANG: _hang,
    WeekFault.LATENCY_DRIFT: lambda part: _slower(part, 1 + part.progress),
    WeekFault.LATENCY_STEP: lambda part: _slower(part, 1.5),
    WeekFault.ERROR_BURST: lambda part: _fail(part, 0.2),
    WeekFault.SLOW_BURN: lambda part: _fail(part, 0.03),
    WeekFault.TOKEN_RUNAWAY: _run_away,
    WeekFault.PROMPT_LOOP: _loop,
    WeekFault.DEPLOY: _deploy,
}
"""What each does to requests; silence and surge act on arrivals instead."""
