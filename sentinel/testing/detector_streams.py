"""Streams of events as detectors get them, for the checks of `sentinel.testing.detector_suite`. The same at every call."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sentinel.core.batch import Dimensions, Float64, Int32, SeriesKey
from sentinel.core.detector import DetectorBatch
from sentinel.core.metrics import (
    COMPLETION_TOKENS,
    COST,
    ERROR,
    LATENCY,
    METRIC_NAMES,
    PROMPT_TOKENS,
    TIME_PER_OUTPUT_TOKEN,
    TOTAL_TOKENS,
    TTFT,
)

SECOND_NS: Final = 1_000_000_000
START_NS: Final = 1_768_473_000 * SECOND_NS
REFUSED: Final = Dimensions(provider="p", operation="chat", finish_reason="content_filter", prompt_version="v1")
STOPPED: Final = REFUSED._replace(finish_reason="stop")
OF_DOLLARS: Final = 1e-5
"""What a token costs in these streams."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Events of one partition, and time marks between them.

    Attributes:
        batch: all the events at once.
        marks: (how many events come before it, its time) of each time mark, in order.
    """

    batch: DetectorBatch
    marks: tuple[tuple[int, int], ...] = ()

    def __len__(self) -> int:
        return len(self.batch)

    def cut(self, start: int, stop: int) -> DetectorBatch:
        """The events from `start` up to `stop` as a batch of its own: read-only, and with only the series seen so far."""
        whole = self.batch
        known = int(whole.series[:stop].max(initial=-1)) + 1

        def column(name: str) -> Any:  # noqa: ANN401  columns are of several types
            view = getattr(whole, name)[start:stop].view()
            view.flags.writeable = False
            return view

        return replace(
            whole,
            names=whole.names[:known],
            series=column("series"),
            ts_ns=column("ts_ns"),
            watermark_ns=column("watermark_ns"),
            metrics=column("metrics"),
            dimensions=column("dimensions"),
            user=column("user"),
            personal=column("personal"),
        )


def stream(
    series: Int32,
    ts_ns: Sequence[int] | npt.NDArray[np.int64],
    metrics: Float64,
    *,
    refused: npt.NDArray[np.bool_] | None = None,
    user: Sequence[str] | None = None,
    versions: Sequence[str] | None = None,
    mark_every: int = 0,
) -> Stream:
    """A stream of columns.

    Args:
        series: int32[n], any numbers; they are numbered anew in order of first appearance.
        ts_ns: event times in log order.
        metrics: float64[n, len(METRICS)].
        refused: bool[n], whether the finish reason is `content_filter` instead of `stop`.
        user: pseudonym of each event; some twenty when absent.
        versions: prompt version of each event, all with another set of dimensions; `v1` when absent.
        mark_every: events between time marks; 0 for none.
    """
    n = len(series)
    used, first, codes = np.unique(series, return_index=True, return_inverse=True)
    number = np.argsort(np.argsort(first)).astype(np.int32)
    times = np.asarray(ts_ns, np.int64)
    watermark_ns = np.maximum.accumulate(times)
    marks = tuple((at, int(watermark_ns[at - 1])) for at in range(mark_every, n + 1, mark_every)) if mark_every else ()
    refusals = np.zeros(n, np.bool_) if refused is None else refused
    sets: tuple[Dimensions, ...] = (STOPPED, REFUSED)
    dimensions = refusals.astype(np.int32)
    if versions is not None:
        sets, dimensions = tuple(STOPPED._replace(prompt_version=version) for version in versions), np.arange(n, dtype=np.int32)
    names: tuple[str | None, ...] = tuple(user) if user is not None else tuple(f"user-{i}" for i in range(20))
    batch = DetectorBatch(
        names=tuple(SeriesKey("default", f"service-{i}", "model") for i in range(len(used))),
        series=number[codes],
        ts_ns=times,
        watermark_ns=watermark_ns,
        metrics=metrics,
        dimension_sets=sets,
        dimensions=dimensions,
        users=names,
        user=np.arange(n, dtype=np.int32) % len(names),
        personal=np.zeros(n, np.bool_),
    )
    return Stream(batch, marks)


# ----------------------------------------------------------------------------------------------------------------- traffic


def healthy(n: int, series: int, seed: int, gap_s: float = 5.0) -> tuple[dict[str, Any], np.random.Generator]:
    """Traffic without any fault: skewed metrics, rare errors and refusals, each series in its own way.

    Args:
        n: events of all series.
        series: how many.
        seed: of everything in it.
        gap_s: mean time between two events of a series, in seconds.

    Returns:
        The arguments of `stream`, to be changed, and the generator they came from.
    """
    rng = np.random.default_rng(seed)
    of = rng.integers(0, series, n).astype(np.int32)
    ts_ns = START_NS + np.cumsum(rng.exponential(gap_s / series, n) * SECOND_NS).astype(np.int64)
    kind = of % 4
    metrics = np.full((n, len(METRIC_NAMES)), np.nan)
    sigma = np.array([0.25, 0.5, 1.0, 1.5])[kind]
    metrics[:, LATENCY] = np.clip(rng.lognormal(6.0, sigma), 0.1, 300_000)
    metrics[:, TTFT] = metrics[:, LATENCY] * 0.2
    metrics[:, TIME_PER_OUTPUT_TOKEN] = rng.gamma(20.0, 1.0, n)
    metrics[:, PROMPT_TOKENS] = np.ceil(rng.gamma(np.array([0.5, 1.0, 2.0, 5.0])[kind], 200.0))
    metrics[:, COMPLETION_TOKENS] = np.ceil(rng.gamma(2.0, 100.0, n))
    metrics[:, TOTAL_TOKENS] = metrics[:, PROMPT_TOKENS] + metrics[:, COMPLETION_TOKENS]
    metrics[:, COST] = np.where(kind == 3, 0.0, metrics[:, TOTAL_TOKENS] * OF_DOLLARS)
    rate = np.array([0.001, 0.01, 0.05, 0.2])[kind]
    metrics[:, ERROR] = rng.random(n) < rate
    return {"series": of, "ts_ns": ts_ns, "metrics": metrics, "refused": rng.random(n) < rate}, rng


def clean() -> Stream:
    """Eight hours of eight healthy series: 46,000 events and a time mark now and then."""
    columns, _ = healthy(46_000, 8, seed=1)
    return stream(**columns, mark_every=997)


def faults(events: int = 9_000, gap_s: float = 5.0) -> Stream:
    """Six series. In the second half three of them are slow, failing, refused, dear, long, flooded and silent in turn.

    Args:
        events: of all series; with the default and `gap_s` they take two hours.
        gap_s: mean time between two events of a series, in seconds.
    """
    columns, rng = healthy(events, 6, seed=2, gap_s=gap_s)
    of, metrics, n = columns["series"], columns["metrics"], events
    faulty, place = of < 3, np.arange(n) / n

    def during(begin: float, end: float) -> npt.NDArray[np.bool_]:
        chosen: npt.NDArray[np.bool_] = faulty & (begin <= place) & (place < end)
        return chosen

    metrics[during(0.5, 0.55), LATENCY] *= 12.0
    metrics[during(0.58, 0.63), ERROR] = 1.0
    columns["refused"] |= during(0.66, 0.71)
    metrics[during(0.74, 0.79), COST] = 0.5
    metrics[during(0.8, 0.85), COMPLETION_TOKENS] *= 30.0
    metrics[during(0.8, 0.85), TOTAL_TOKENS] *= 20.0
    flooded = during(0.86, 0.9)
    of[~faulty & (place >= 0.86) & (place < 0.9) & (rng.random(n) < 0.9)] = 0
    metrics[flooded, PROMPT_TOKENS] += 5_000.0
    of[during(0.92, 1.0)] = 3
    return stream(**columns, mark_every=409)


def disordered() -> Stream:
    """The faults with times that jump back by up to ten seconds, several events at the same time, and a jump of a day."""
    whole = faults()
    rng = np.random.default_rng(3)
    late = whole.batch.ts_ns - rng.integers(0, 10 * SECOND_NS, len(whole)) * (rng.random(len(whole)) < 0.2)
    late[len(whole) * 3 // 4 :] += 86_400 * SECOND_NS
    ts_ns = late // SECOND_NS * SECOND_NS
    batch = replace(whole.batch, ts_ns=ts_ns, watermark_ns=np.maximum.accumulate(ts_ns))
    return Stream(batch, tuple((at, int(batch.watermark_ns[at - 1])) for at, _ in whole.marks))


def gaps() -> Stream:
    """Metrics that are mostly absent, whole events without any, and numbers at both ends of what is possible."""
    columns, rng = healthy(4_000, 5, seed=4)
    metrics = columns["metrics"]
    metrics[rng.random(metrics.shape) < 0.6] = np.nan
    metrics[rng.random(len(metrics)) < 0.2] = np.nan
    metrics[::101] = 0.0
    metrics[50::307] = 1e15
    metrics[51::307] = 1e-12
    return stream(**columns)


def constant() -> Stream:
    """Series in which nothing ever changes, with a rounding error here and there."""
    n, series = 6_000, 4
    metrics = np.tile(np.array([250.0, 50.0, 12.0, 100.0, 40.0, 140.0, 0.0014, 0.0]), (n, 1))
    metrics[::7, LATENCY] *= 1.0 + 1e-15
    ts_ns = START_NS + np.arange(n, dtype=np.int64) * SECOND_NS
    return stream((np.arange(n) % series).astype(np.int32), ts_ns, metrics, mark_every=500)


def many(series: int, each: int, first: int) -> Stream:
    """Events of many series, each by another user and with another prompt version: names without end.

    Args:
        series: how many.
        each: events of a series.
        first: number of the first event, for names and times.
    """
    n = series * each
    columns, _ = healthy(n, series, seed=5)
    columns["series"] = (np.arange(n) % series).astype(np.int32)
    columns["ts_ns"] = columns["ts_ns"] + first * SECOND_NS
    del columns["refused"]
    numbers = range(first, first + n)
    return stream(**columns, user=[f"user-{i}" for i in numbers], versions=[f"version-{i}" for i in numbers])


STREAMS: Final[dict[str, Callable[[], Stream]]] = {"faults": faults, "disordered": disordered, "gaps": gaps, "clean": clean}
"""What findings are looked at on."""
