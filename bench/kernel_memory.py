"""What windows cost in memory: one case in a process of its own, its figures as JSON.

    python -m bench.kernel_memory full|idle|silent|once|thrice

The windows are those of `Baselines` with the default configuration, fed with deliveries of 5,000 events as the pipeline feeds them.
"""

import argparse
import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from sentinel.config.schema import Detection
from sentinel.core.batch import Float64, SeriesKey
from sentinel.core.metrics import LATENCY, METRICS
from sentinel.detection.baselines import Baselines

DELIVERY: Final = 5_000
WINDOWS: Final = 100_000
NAMES: Final = 100_000
SERVICES: Final = 200
ACTIVE_SERIES: Final = 500

Visit = tuple[list[SeriesKey], int]


def rss_bytes() -> int:
    """Resident memory of this process now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def key(name: str) -> SeriesKey:
    """A series of that name."""
    return SeriesKey("default", name, "model")


def deliveries(visits: Iterator[Visit], values: Float64) -> Iterator[tuple[list[SeriesKey], np.ndarray, Float64]]:
    """Batches of at least 5,000 events: each visit brings so many events of each of its series, in turn."""
    names: list[SeriesKey] = []
    series: list[np.ndarray] = []
    for keys, times in visits:
        series.append(np.tile(np.arange(len(names), len(names) + len(keys), dtype=np.int32), times))
        names += keys
        if (n := sum(map(len, series))) >= DELIVERY:
            yield names, np.concatenate(series), values[:n]
            names, series = [], []
    if names:
        yield names, np.concatenate(series), values[: sum(map(len, series))]


def feed(baselines: Baselines, visits: Iterator[Visit], values: Float64) -> None:
    """Let the baselines see all visits."""
    for delivery in deliveries(visits, values):
        baselines.score_and_update(*delivery)


def visits_of(keys: list[SeriesKey], times: int, at_once: int) -> Iterator[Visit]:
    """So many events of each series, a few series at a time."""
    for first in range(0, len(keys), at_once):
        yield keys[first : first + at_once], times


def full(baselines: Baselines, values: Float64) -> dict[str, Any]:
    """5,000 windows with a thousand samples each."""
    series = [key(f"service-{i}") for i in range(5_000 // len(baselines.windows))]
    feed(baselines, visits_of(series, 1_100, 5), values)
    return {"windows": counted(baselines, 1_000)}


def idle(baselines: Baselines, values: Float64) -> dict[str, Any]:
    """100,000 windows: most have had twenty events, some go on until theirs are full."""
    series = [key(f"service-{i}") for i in range(-(-WINDOWS // len(baselines.windows)))]
    feed(baselines, visits_of(series, 20, 250), values)
    feed(baselines, visits_of(series[:ACTIVE_SERIES], 1_000, 5), values)
    # A series that comes when many are there shows two events before it has windows.
    return {"windows": counted(baselines, 18), "full": counted(baselines, 1_000)}


def silent(baselines: Baselines, values: Float64) -> dict[str, Any]:
    """100,000 windows that were all full once, one service after the other."""
    series = [key(f"service-{i}") for i in range(-(-WINDOWS // len(baselines.windows)))]
    feed(baselines, visits_of(series, 1_000, 5), values)
    return {"windows": counted(baselines, 1), "full": counted(baselines, 998)}


def names(baselines: Baselines, values: Float64, times: int) -> dict[str, Any]:
    """200 services, and 100,000 hostile names among their events, each so many times."""
    real = [key(f"service-{i}") for i in range(SERVICES)]
    hostile = [key(f"{i:032x}") for i in range(NAMES)]

    def mixed() -> Iterator[Visit]:
        for first in range(0, NAMES, 1_000):
            yield hostile[first : first + 1_000], times
            yield real, 1

    # The services come first in a run of their own: what they need is no cost of the attack.
    feed(baselines, visits_of(real, 1_000, 5), values)
    before = rss_bytes()
    feed(baselines, mixed(), values)
    watched = sum(baselines.windows[LATENCY].count(row) == 1_000 for row, name in enumerate(baselines.names) if name in set(real))
    return {"cost_mb": (rss_bytes() - before) / 2**20, "watched": watched, "overflow_events": baselines.roster.overflow_events}


def counted(baselines: Baselines, least: int) -> int:
    """Windows that hold at least so many samples."""
    return sum(windows.count(row) >= least for windows in baselines.windows.values() for row in range(len(baselines.names)))


CASES: Final[dict[str, Callable[[Baselines, Float64], dict[str, Any]]]] = {
    "full": full,
    "idle": idle,
    "silent": silent,
    "once": lambda baselines, values: names(baselines, values, 1),
    "thrice": lambda baselines, values: names(baselines, values, 3),
}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=CASES)
    case = CASES[parser.parse_args().case]
    values = np.random.default_rng(1).lognormal(5, 0.5, (4 * DELIVERY, len(METRICS)))
    Baselines(Detection()).score_and_update([key("warm-up")], np.zeros(DELIVERY, np.int32), values[:DELIVERY])
    baselines, before = Baselines(Detection()), rss_bytes()
    found = case(baselines, values)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({**found, "before_mb": before / 2**20, "rss_mb": rss_bytes() / 2**20, "peak_mb": peak / 2**20}))


if __name__ == "__main__":
    main()
