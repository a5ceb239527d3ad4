"""What a daemon takes of its machine over time, and what can be said of that at the end."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from chaos_replica import Replica
from fault_alerts import StateRows
from prometheus_client.parser import text_string_to_metric_families

STALLS = "sentinel_event_loop_stall_seconds_bucket"


@dataclass(frozen=True, slots=True)
class Sample:
    """One look.

    Attributes:
        at_s: seconds since the first look.
        rss_mb: resident memory, in MiB.
        fds, tasks: open files, tasks of the event loop.
        loop_lag_s: how late the loop ran a timer at worst in the second before.
        lag: records of the topic that wait to be read.
        waiting: messages in the outbox.
        silence_s: longest time since a canary came back.
        stalls: by upper bound, looks at the loop so far that found it no later than this.
    """

    at_s: float
    rss_mb: float
    fds: int
    tasks: int
    loop_lag_s: float
    lag: int
    waiting: int
    silence_s: float
    stalls: dict[float, float]


class Slope(NamedTuple):
    """A straight line through samples: growth an hour, and the standard error of that."""

    per_h: float
    error: float


def look(replica: Replica, at_s: float) -> Sample:
    """One look at a daemon that runs. Blocks: from an event loop use `asyncio.to_thread`."""
    found = metrics_of(replica)
    pages = int(Path(f"/proc/{replica.pid}/statm").read_text().split()[1])
    return Sample(
        at_s=at_s,
        rss_mb=pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        fds=len(os.listdir(f"/proc/{replica.pid}/fd")),  # noqa: PTH208  the names alone
        tasks=int(found["sentinel_event_loop_tasks"][""]),
        loop_lag_s=found["sentinel_event_loop_lag_seconds"][""],
        lag=int(sum(found.get("sentinel_kafka_consumer_lag", {}).values())),
        waiting=StateRows.beside(replica).waiting(),
        silence_s=found["sentinel_canary_silence_seconds"][""],
        stalls={float(le): value for le, value in found[STALLS].items()},
    )


def metrics_of(replica: Replica) -> dict[str, dict[str, float]]:
    """By name the samples of every metric, each by the value of its label; an empty one where there is none."""
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(replica.text("/metrics")):
        for sample in family.samples:
            found.setdefault(sample.name, {})[",".join(sample.labels.values())] = sample.value
    return found


def slope(at_s: Sequence[float], values: Sequence[float]) -> Slope:
    """Least squares; samples that follow each other closely make the error look smaller than it is."""
    x, y = np.asarray(at_s) / 3_600, np.asarray(values)
    if len(x) < 3:
        return Slope(float("nan"), float("nan"))
    spread = float(((x - x.mean()) ** 2).sum())
    rise = float(((x - x.mean()) * (y - y.mean())).sum()) / spread
    rest = y - y.mean() - rise * (x - x.mean())
    return Slope(rise, float(np.sqrt((rest**2).sum() / (len(x) - 2) / spread)))


def growth(values: Sequence[int]) -> float:
    """By how much the middle value of the last quarter lies above that of the first."""
    quarter = max(1, len(values) // 4)
    return float(np.median(values[-quarter:]) - np.median(values[:quarter]))


def stall_s(first: Sample, last: Sample, share: float) -> float:
    """No more than this share of the looks at the loop between two samples found it later: the upper bound of a bucket, in seconds."""
    counts = {le: last.stalls[le] - first.stalls[le] for le in sorted(last.stalls)}
    needed = share * counts[float("inf")]
    return next(le for le, count in counts.items() if count >= needed)
