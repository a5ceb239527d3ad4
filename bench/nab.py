"""The gauge on the Numenta Anomaly Benchmark, read from a folder one names.

    python bench/nab.py --data ../shared/data/nab [--files]

Prints its scores at the product's default threshold and at the benchmark's own best one for each of its three profiles, how much the result
depends on which files there are (random halves), and the cost of a value. Every score rests on the values up to its own row only.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sentinel.core.batch import Float64
from sentinel.core.errors import StartupError
from sentinel.detection.gauge import Gauge
from sentinel.testing.nab import Recording, Result, best_threshold, recordings, score_at

DEFAULT_THRESHOLD = 1.0
HALVES = 200
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "nab"


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The gauge on the Numenta Anomaly Benchmark.")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with data/ and labels/ of the benchmark")
    parser.add_argument("--files", action="store_true", help="print every recording")
    options = parser.parse_args(arguments)
    try:
        files = recordings(options.data)
    except StartupError as error:
        print(f"not measured: {error}")
        return 1
    gauge_scores(files[0])  # compiles
    start = time.process_time()
    scores = {file.name: gauge_scores(file) for file in files}
    seconds = time.process_time() - start
    rows = sum(len(file.values) for file in files)
    report(files, scores)
    print(f"{rows:,} values, {seconds / rows * 1e6:.2f} us of CPU each")
    if options.files:
        each_file(files, scores)
    return 0


def gauge_scores(file: Recording) -> Float64:
    """The scores of one recording, as the product gives them."""
    gauge = Gauge()
    gauge.reserve(1)
    return gauge.score(np.zeros(len(file.values), np.int32), file.t_s, file.values).score


def report(files: Sequence[Recording], scores: dict[str, Float64]) -> None:
    """Scores by profile, and by random halves of the files."""
    fixed, best = score_at(files, scores, DEFAULT_THRESHOLD), best_threshold(files, scores)
    print(f"{'profile':<20} {'default':>8} {'best':>8} {'at':>6}")
    for name, earned in fixed.scores.items():
        print(f"{name:<20} {earned:>8.1f} {best[name][0]:>8.1f} {best[name][1]:>6.2f}")
    print(summary(fixed, files))
    rng = np.random.default_rng(1)
    halves = []
    for _ in range(HALVES):
        chosen = rng.permutation(len(files))[: len(files) // 2]
        halves.append(score_at([files[i] for i in chosen], scores, DEFAULT_THRESHOLD).scores["standard"])
    low, middle, high = np.quantile(halves, (0.1, 0.5, 0.9))
    print(f"standard at the default on {HALVES} random halves of the files: {low:.1f} / {middle:.1f} / {high:.1f} (10%, median, 90%)")


def summary(result: Result, files: Sequence[Recording]) -> str:
    """Windows and false alarms in words."""
    days = sum(file.t_s[-1] - file.t_s[0] for file in files) / 86_400
    return (
        f"{result.found} of {result.windows} windows found, {result.false_alarms} false alarms in {len(files)} recordings,"
        f" {result.false_alarms / days:.3f} a day of each"
    )


def each_file(files: Sequence[Recording], scores: dict[str, Float64]) -> None:
    """One line a recording."""
    for file in files:
        result = score_at([file], scores, DEFAULT_THRESHOLD)
        print(f"{file.name:<55} {len(file.values):>6} rows, {result.found} of {result.windows} found, {result.false_alarms} false alarms")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
