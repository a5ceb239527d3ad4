"""Detection by event: how fast the kernel is, and what windows cost in memory.

    python -m bench.kernel [--windows 100000] [--json]

Speed is CPU time of one thread, the best of several rounds, kernel and floor by turns on the same windows. The floor is the same work in
plain C (`kernel_floor.c`), compiled here; without a C compiler that column stays empty. Every case of memory has a process of its own.
"""

import argparse
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.kernel_memory import key
from sentinel.config.schema import Detection
from sentinel.core.batch import Float64, Int32, SeriesKey
from sentinel.core.metrics import METRICS
from sentinel.detection.baselines import Baselines
from sentinel.detection.windows import KEPT, Arrivals, Windows
from sentinel.detection.windows_watch import FIRED, JUDGES, Limits

ROOT: Final = Path(__file__).resolve().parents[1]
SIZES: Final = (100, 1_000, 5_000)
COUNTS: Final = (12, 6_000, 100_000)
BATCH: Final = 5_000
BATCHES: Final = 20
ROUNDS: Final = 12
ROUND_S: Final = 2.5
"""A cell is measured for so long at most, after its first three rounds."""

SPARE: Final = 1.3
"""A cell is left out where the machine has less free memory than so many times what its windows need."""

GOALS: Final = {(1_000, 6_000): 2.0, (1_000, 100_000): 1.0}
"""Millions of samples per second and core."""

CASES: Final = {
    "full": "5,000 full windows of 1,000 samples",
    "idle": "100,000 windows, 3 in a hundred full, the others with 20 samples",
    "silent": "100,000 windows that were all full once, 94 in a hundred idle now",
    "once": "200 full services, then 100,000 hostile names among them, each once",
    "thrice": "the same, each name three times",
}

Floor = Callable[[Float64, Int32, Windows, Limits], None]


def plain_c(directory: str) -> Floor | None:
    """The floor, compiled; None where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    source, library = Path(__file__).with_name("kernel_floor.c"), f"{directory}/floor.so"
    options = ["-O3", "-march=native", "-ffp-contract=off", "-shared", "-fPIC"]
    subprocess.run([compiler, *options, "-o", library, str(source), "-lm"], check=True)  # noqa: S603  our own source
    compiled = ctypes.CDLL(library).watch

    def floor(values: Float64, rows: Int32, windows: Windows, limits: Limits) -> None:
        fired, thresholds = np.zeros(JUDGES, np.int64), np.array(limits[2:], np.float64)
        compiled(
            ctypes.c_void_p(values.ctypes.data),
            ctypes.c_void_p(rows.ctypes.data),
            ctypes.c_long(len(rows)),
            ctypes.c_void_p(windows.address),
            ctypes.c_long(windows.size),
            ctypes.c_void_p(thresholds.ctypes.data),
            ctypes.c_void_p(fired.ctypes.data),
        )

    return floor


def filled(size: int, count: int) -> Windows:
    """Full windows, a few hundred different ones again and again."""
    windows, rng = Windows(size), np.random.default_rng(1)
    for first in range(0, count, 256):
        rows = min(256, count - first)
        samples = rng.lognormal(5, 0.5, (rows, size))
        records = np.zeros(rows, KEPT)
        records["n"], records["head"], records["anchor"] = size, rng.integers(0, size, rows), 150.0
        records["mean"] = samples.mean(axis=1) - 150.0
        records["m2"] = ((samples - samples.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
        windows.load(records, samples.ravel(), first)
    return windows


def cell(size: int, count: int, floor: Floor | None) -> dict[str, Any]:
    """Seconds per sample of the kernel and of the floor, each its best round."""
    windows, rng = filled(size, count), np.random.default_rng(2)
    limits = Limits(size, 10, 1.0, zscore=3.0, iqr=1.5, mad=3.5, cusum=5.0, drift=0.5)
    room, marks = np.empty((JUDGES, BATCH), FIRED), np.zeros(BATCH, np.int8)
    best = {"kernel": np.inf, "floor": np.inf}
    began = time.monotonic()
    for done in range(ROUNDS):
        if done >= 3 and time.monotonic() - began > ROUND_S:
            break
        for name in ("kernel", "floor") if floor else ("kernel",):
            batches = [(rng.lognormal(5, 0.5, (BATCH, 1)), rng.integers(0, count, BATCH).astype(np.int32)) for _ in range(BATCHES)]
            arrivals = [Arrivals.of(values, rows, marks) for values, rows in batches]
            sorted_values = [np.ascontiguousarray(batch.metrics[batch.order, 0]) for batch in arrivals]
            start = time.thread_time()
            for batch, values in zip(arrivals, sorted_values, strict=True):
                if name == "kernel":
                    windows.watch(batch, 0, limits, room)
                elif floor:
                    floor(values, batch.rows, windows, limits)
            best[name] = min(best[name], (time.thread_time() - start) / (BATCH * BATCHES))
    return {"size": size, "count": count, "kernel_us": 1e6 * best["kernel"], "floor_us": 1e6 * best["floor"]}


def speed(most_windows: int) -> Iterator[dict[str, Any]]:
    """All cells; those that do not fit into memory say so."""
    with tempfile.TemporaryDirectory(prefix="sentinel-bench-") as directory:
        floor = plain_c(directory)
        for size in SIZES:
            for count in (count for count in COUNTS if count <= most_windows):
                needed = 16.0 * size * count
                if SPARE * needed > (free := free_bytes()):
                    yield {"size": size, "count": count, "left_out": f"needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"}
                else:
                    yield cell(size, count, floor)


def free_bytes() -> float:
    """Memory that can be had without swapping, infinite where nobody says."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return float("inf")
    return next((int(line.split()[1]) * 1024.0 for line in lines if line.startswith("MemAvailable:")), float("inf"))


def deliveries(series: int, events: int, count: int, seed: int) -> list[tuple[list[SeriesKey], Int32, Float64]]:
    """Batches as the pipeline has them: only the names that occur."""
    rng, names = np.random.default_rng(seed), [key(f"service-{i}") for i in range(series)]
    found = []
    for _ in range(count):
        used, codes = np.unique(rng.integers(0, series, events), return_inverse=True)
        found.append(([names[i] for i in used], codes.astype(np.int32), rng.lognormal(5, 0.5, (events, len(METRICS)))))
    return found


def pipeline(series: int) -> dict[str, Any]:
    """Seconds per call of `Baselines.score_and_update` with full windows, by events of a delivery."""
    baselines = Baselines(Detection())
    for delivery in deliveries(series, 20_000, series * 1_200 // 20_000, 3):
        baselines.score_and_update(*delivery)
    found: dict[int, float] = {}
    for events in (1, 30, 150, BATCH):
        batches, best = deliveries(series, events, 30, events), np.inf
        for _ in range(ROUNDS):
            start = time.thread_time()
            for delivery in batches:
                baselines.score_and_update(*delivery)
            best = min(best, (time.thread_time() - start) / len(batches))
        found[events] = best
    return {"series": series, "metrics": len(baselines.windows), "call_s": found}


def memory(case: str) -> dict[str, Any]:
    """One case, in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "bench.kernel_memory", case], cwd=ROOT, check=True, stdout=subprocess.PIPE)  # noqa: S603  our own file
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def cell_text(found: dict[str, Any]) -> str:
    """A line of the kernel table."""
    size, count = found["size"], found["count"]
    if "left_out" in found:
        return f"{size:>8,}{count:>10,}   left out: {found['left_out']}"
    rate, goal = 1 / found["kernel_us"], GOALS.get((size, count))
    line = f"{size:>8,}{count:>10,}{found['kernel_us']:>10.3f}{rate:>12.2f}"
    if np.isfinite(found["floor_us"]):
        line += f"{found['floor_us']:>10.3f}{found['floor_us'] / found['kernel_us']:>9.2f}x"
    return line + (f"   goal {goal:.1f}: {'reached' if rate >= goal else 'MISSED'}" if goal else "")


def memory_text(case: str, found: dict[str, Any]) -> str:
    """A line of the memory table."""
    grown = found["rss_mb"] - found["before_mb"]
    line = f"{CASES[case]:<70}{found['rss_mb']:>8.0f}{grown:>8.0f}"
    if case == "full":
        each = grown * 2**20 / found["windows"]
        return f"{line}   {each:,.0f} bytes a window: {'reached' if each <= 16.5 * 1024 else 'MISSED'} (16,064 of them its own)"
    if case in {"idle", "silent"}:
        return f"{line}   {found['windows']:,} windows, {found['full']:,} of them full; goal 400: {verdict(found['rss_mb'], 400)}"
    return (
        f"{line}   {found['cost_mb']:.0f} MB by the names, goal 64: {verdict(found['cost_mb'], 64)}; {found['watched']} services with "
        f"full windows, {found['overflow_events']:,} events in __other__"
    )


def verdict(value: float, goal: float) -> str:
    """Whether it is not more than it may be."""
    return "reached" if value <= goal else "MISSED"


def main() -> None:
    """The command line."""
    os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / ".numba_cache"))
    parser = argparse.ArgumentParser()
    parser.add_argument("--windows", type=int, default=max(COUNTS), help="leave out what has more windows")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    report: dict[str, Any] = {"kernel": [], "pipeline": [], "memory": {}}
    tell: Callable[[str], None] = (lambda _line: None) if options.json else (lambda line: print(line, flush=True))
    tell(f"{BATCH:,} samples a batch of random windows, all full, float64, four detectors with their verdicts; CPU us of one thread")
    tell(f"{'samples':>8}{'windows':>10}{'us/sample':>10}{'M/s/core':>12}{'plain C':>10}{'ratio':>10}")
    for found in speed(options.windows):
        report["kernel"].append(found)
        tell(cell_text(found))
    tell("\nBaselines.score_and_update with full windows of 1,000: CPU us of a call, by events of a delivery")
    for series in (500, 1_000):
        found = pipeline(series)
        report["pipeline"].append(found)
        calls = ", ".join(f"{events:,} events {1e6 * s:,.0f}" for events, s in found["call_s"].items())
        rate = BATCH * found["metrics"] / found["call_s"][BATCH] / 1e6
        tell(f"{series:>8,} series x {found['metrics']} metrics: {calls} ({rate:.2f} M samples/s/core)")
    tell(f"\n{'Resident memory, MiB':<70}{'process':>8}{'growth':>8}")
    for case in CASES:
        report["memory"][case] = memory(case)
        tell(memory_text(case, report["memory"][case]))
    if options.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
