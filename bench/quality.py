"""How well detection does: faults found, false alerts, delays, beside the goals and beside the textbook detectors.

make quality                                      everything, a quarter of an hour on two cores; the report is build/quality/index.html
make quality OPTIONS='--seeds 3 --only weeks'     a first impression
python bench/quality.py --rate 0.5 --kinds silence,hang --jobs 1

weeks    simulated weeks with known faults; a second maker's weeks too, when it lies beside the repository
fleet    healthy series of many kinds
clean    streams of given distributions that never change
nab      the Numenta Anomaly Benchmark, when its files are in the folder given with --nab
"""

import argparse
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.quality_goals import DENSE_RATE, SPARSE_RATE, table
from bench.quality_index import index_page
from bench.quality_results import Results
from bench.quality_tasks import OTHER, OTHER_STREAMS, OWN, Task
from sentinel.testing.fault_weeks import WeekFault
from sentinel.testing.nab import ORIGIN
from sentinel.testing.quality_streams import CLEAN

PARTS: Final = ("weeks", "fleet", "clean", "nab")
PER_PARTITION: Final = 10
"""Series of the fleet that share a log, and so memory."""
CLEAN_SEEDS: Final = 2
EVENT_S: Final = 4e-5
"""A guess of what an event costs in all, for the progress bar only."""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure detection quality on traffic whose faults are known.")
    parser.add_argument("--seeds", type=positive, default=10, help="weeks of each rate and maker")
    parser.add_argument("--first-seed", type=int, default=1, help="seed of the first week")
    parser.add_argument(
        "--rate", type=float, action="append", help=f"requests a second; may be repeated (default {DENSE_RATE} and {SPARSE_RATE})"
    )
    parser.add_argument("--days", type=positive, default=7, help="length of a week with faults")
    parser.add_argument("--kinds", type=kinds, default=tuple(WeekFault), metavar="KIND,...", help="faults: " + ", ".join(WeekFault))
    parser.add_argument("--announce", action="store_true", help="tell the detectors of each deploy by a marker")
    parser.add_argument("--only", type=parts, default=PARTS, metavar="PART,...", help="some of " + ", ".join(PARTS))
    parser.add_argument("--fleet", type=positive, default=200, help="healthy series")
    parser.add_argument("--fleet-days", type=float, default=7.0, help="their days, the first of which is for learning")
    parser.add_argument("--clean-events", type=positive, default=100_000, help="events of each clean stream and seed")
    parser.add_argument("--nab", type=Path, default=OTHER_STREAMS.parents[1] / "data" / "nab", help="folder with the files of NAB")
    parser.add_argument("--out", type=Path, default=Path("build/quality"), help="folder of the report")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="processes")
    return parser.parse_args()


def positive(given: str) -> int:
    """A number from 1 on."""
    value = int(given)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def kinds(given: str) -> tuple[WeekFault, ...]:
    """The kinds of faults that are asked for."""
    try:
        return tuple(map(WeekFault, given.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; kinds are {', '.join(WeekFault)}") from error


def parts(given: str) -> tuple[str, ...]:
    """The parts that are asked for."""
    found = tuple(given.split(","))
    if not set(found) <= set(PARTS):
        raise argparse.ArgumentTypeError(f"parts are {', '.join(PARTS)}")
    return found


def tasks(options: argparse.Namespace) -> Iterator[Task]:
    """What is to be done, the longest first."""
    if "fleet" in options.only:
        yield from fleets(options)
    if "nab" in options.only and options.nab.is_dir():
        yield Task("NAB", 5.0, "nab", {"folder": options.nab})
    if "weeks" in options.only:
        yield from weeks(options)
    if "clean" in options.only:
        for kind, seed in product(CLEAN, range(options.first_seed, options.first_seed + CLEAN_SEEDS)):
            asked = {"kind": kind, "seed": seed, "events": options.clean_events}
            yield Task("clean streams", options.clean_events * EVENT_S, "clean", asked)


def fleets(options: argparse.Namespace) -> Iterator[Task]:
    """The fleet, some series at a time."""
    for first in range(0, options.fleet, PER_PARTITION):
        series = min(PER_PARTITION, options.fleet - first)
        asked = {"seed": options.first_seed, "series": series, "first": first, "days": options.fleet_days}
        yield Task("healthy fleet", series * options.fleet_days * 17_000 * EVENT_S, "fleet", asked)


def weeks(options: argparse.Namespace) -> Iterator[Task]:
    """Every seed of every maker at every rate; the second maker knows only all kinds of faults at once."""
    makers = (OWN, OTHER) if OTHER_STREAMS.exists() and set(options.kinds) == set(WeekFault) else (OWN,)
    same = {name: getattr(options, name) for name in ("days", "kinds", "out", "announce")}
    for rate in sorted(options.rate or [DENSE_RATE, SPARSE_RATE], reverse=True):
        for source, seed in product(makers, range(options.first_seed, options.first_seed + options.seeds)):
            cost = options.days * (86_400 * rate + 10_000) * EVENT_S
            yield Task(f"weeks at {rate:g}/s", cost, "week", {"source": source, "seed": seed, "rate": rate, **same})


def main() -> None:
    """Measure, print, write the report."""
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    results = Results(notes=list(notes(options)))
    run(list(tasks(options)), options.jobs, results)
    results.notes.append(
        f"{len(results.weeks)} weeks, {sum(fleet.series for fleet in results.fleets)} healthy series, {len(results.clean)} clean streams "
        f"in {time.monotonic() - started:.0f} s with {options.jobs} processes; Python {platform.python_version()}."
    )
    (options.out / "index.html").write_text(index_page(results), encoding="utf-8")
    (options.out / "results.json").write_text(json.dumps(results.as_json(), indent=1), encoding="utf-8")
    print("\n".join(table(results.figures())))
    print(*results.notes, f"Report: {options.out / 'index.html'}", sep="\n")


def notes(options: argparse.Namespace) -> Iterator[str]:
    """What is not measured, and why."""
    if "weeks" in options.only and not OTHER_STREAMS.exists():
        yield f"Not measured: weeks of a second maker, for {OTHER_STREAMS} is not there."
    if "nab" in options.only and not options.nab.is_dir():
        yield f"Not measured: the Numenta Anomaly Benchmark, for {options.nab} is not there. {ORIGIN}"


def run(work: Sequence[Task], jobs: int, results: Results) -> None:
    """All tasks, side by side."""
    bar = Progress(sum(task.cost for task in work))
    # A fresh interpreter for each process: numba's threads and a copy of this one's memory do not mix.
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        pending = {pool.submit(task.run): task for task in work}
        try:
            for done in as_completed(pending):
                results.add(done.result())
                bar.add(pending[done])
        finally:
            # After a failure or Ctrl-C, what has not begun never will.
            pool.shutdown(cancel_futures=True)
    bar.close()


class Progress:
    """A bar on a terminal's standard error; elsewhere nothing.

    Args:
        total: the cost of everything.
    """

    def __init__(self, total: float) -> None:
        self._total = total
        self._done = 0.0
        self._started = time.monotonic()
        self._shown = sys.stderr.isatty()

    def add(self, task: Task) -> None:
        """A task is done."""
        self._done += task.cost
        share = self._done / self._total
        passed_s = time.monotonic() - self._started
        left_s = passed_s / share - passed_s
        self._write(f"[{'#' * round(30 * share):30}] {share:4.0%}  {left_s:3.0f} s left  {task.name:20}")

    def close(self) -> None:
        """Everything is done."""
        self._write(" " * 78 + "\r")

    def _write(self, text: str) -> None:
        if self._shown:
            sys.stderr.write(f"\r{text}")
            sys.stderr.flush()


if __name__ == "__main__":
    main()
