"""Batches for detectors of windows, from a few columns, and streams of healthy traffic."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sentinel.config.sections_ticks import Ticks
from sentinel.config.sections_usage import Watching
from sentinel.core.anomaly import Anomaly
from sentinel.core.batch import CleanBatch, Dimensions, PartitionId, SeriesKey, by_appearance
from sentinel.core.flags import learnable
from sentinel.core.jit import JIT_DISABLED
from sentinel.core.metrics import COMPLETION_TOKENS, COST, ERROR, LATENCY, METRICS, PROMPT_TOKENS, TOTAL_TOKENS
from sentinel.detection.watch import Watch

SOURCE = PartitionId("c", "t", 0)
CHAT = SeriesKey("default", "chat", "m")
NOON = 1_767_225_600
"""2026-01-01T00:00:00Z in seconds: the streams begin on the hour, the day and the month."""
HOUR_S, DAY_S = 3_600, 86_400
CHANGE_S = 27 * HOUR_S
"""When something begins to happen in many streams: after a day, and in the middle of nothing."""


@dataclass
class Traffic:
    """n events as columns that a test may change before it makes batches of them."""

    ts_s: npt.NDArray[np.float64]
    prompt: npt.NDArray[np.float64]
    completion: npt.NDArray[np.float64]
    latency: npt.NDArray[np.float64]
    error: npt.NDArray[np.bool_]
    personal: npt.NDArray[np.bool_]
    user: npt.NDArray[np.int64]
    finish: list[str | None]
    series: npt.NDArray[np.int64]
    names: list[SeriesKey] = field(default_factory=lambda: [CHAT])

    def __len__(self) -> int:
        return len(self.ts_s)

    def take(self, keep: Any) -> "Traffic":
        """Only some events, or all in another order."""
        chosen = np.arange(len(self))[keep]
        columns = {name: getattr(self, name)[chosen] for name in vars(self) if name not in {"finish", "names"}}
        return Traffic(**columns, finish=[self.finish[i] for i in chosen.tolist()], names=self.names)

    def batch(self, first_offset: int = 0) -> CleanBatch:
        """All events as one batch."""
        n = len(self)
        metrics = np.full((n, len(METRICS)), np.nan)
        metrics[:, PROMPT_TOKENS], metrics[:, COMPLETION_TOKENS] = self.prompt, self.completion
        metrics[:, TOTAL_TOKENS], metrics[:, LATENCY] = self.prompt + self.completion, self.latency
        metrics[:, COST], metrics[:, ERROR] = self.prompt * 1e-5 + self.completion * 3e-5, self.error
        reasons = sorted(set(self.finish), key=str)
        sets = tuple(Dimensions(finish_reason=reason) for reason in reasons)
        users, user = np.unique(self.user, return_inverse=True)
        names, series = by_appearance(self.names, self.series.astype(np.int32))
        return replace(
            CleanBatch.empty(SOURCE, 0),
            index=np.arange(n, dtype=np.int32),
            offsets=np.arange(first_offset, first_offset + n),
            subs=np.zeros(n, np.int32),
            ts_ns=np.round(self.ts_s * 1e9).astype(np.int64),
            log_ns=np.round(self.ts_s * 1e9).astype(np.int64),
            names=names,
            series=series,
            metrics=metrics,
            flags=np.zeros(n, np.int32),
            dialects=np.zeros(n, np.int8),
            dimension_sets=sets,
            dimensions=np.array([reasons.index(reason) for reason in self.finish], np.int32),
            users=tuple(None if code < 0 else pseudonym(code) for code in users.tolist()),
            user=user.astype(np.int32),
            personal=self.personal,
            event_ids=[None] * n,
            trace_ids=[None] * n,
            extra=[None] * n,
        )

    def batches(self, cuts: Sequence[int] = ()) -> Iterator[CleanBatch]:
        """The events as batches that begin at these positions."""
        edges = sorted({0, *cuts, len(self)})
        for start, stop in pairwise(edges):
            yield self.take(slice(start, stop)).batch(start)


def pseudonym(code: int) -> str:
    """The pseudonym of a numbered user."""
    digits = "abcdefghijklmnopqrstuvwxyz234567"
    return "p1_" + "".join(digits[code >> shift & 31] for shift in range(125, -5, -5))


def healthy(seed: int, seconds: float, per_s: float, *, users: int = 50, start_s: float = NOON) -> Traffic:
    """Traffic without any fault: lognormal lengths and latency, users of unequal weight, 1% errors, 2% length stops."""
    rng = np.random.default_rng(seed)
    n = rng.poisson(seconds * per_s)
    ts = np.sort(start_s + rng.uniform(0, seconds, n))
    weights = 1.0 / np.arange(1, users + 1)
    prompt, completion = np.round(rng.lognormal(5.5, 1.0, n)), np.maximum(1, np.round(rng.lognormal(4.5, 0.8, n)))
    error = rng.random(n) < 0.01
    return Traffic(
        ts_s=ts,
        prompt=prompt,
        completion=np.where(error, 0, completion),
        latency=(150 + 0.1 * prompt + 20 * completion) * rng.lognormal(0, 0.2, n),
        error=error,
        personal=rng.random(n) < 0.005,
        user=rng.choice(users, n, p=weights / weights.sum()),
        finish=["length" if x < 0.02 else "stop" for x in rng.random(n)],
        series=np.zeros(n, np.int64),
    )


def watch_of(**sections: Any) -> Watch:
    """A watch with these sections of the configuration."""
    return Watch(Watching(**sections), Ticks(), SOURCE)


def run(watch: Watch, traffic: Traffic, cuts: Sequence[int] = (), *, until_s: float | None = None) -> list[Anomaly]:
    """What a watch tells of traffic, and of a time mark at the end."""
    if JIT_DISABLED and len(traffic) > 3_000:
        pytest.skip("long streams are for compiled kernels")
    found = []
    for batch in traffic.batches(cuts):
        found += watch.observe(batch, learnable(batch.metrics, batch.flags))
    return found if until_s is None else found + watch.mark(round(until_s * 1e9), len(traffic))
