"""A restart with many series: how long until ready, how large a saved state is, and how long its copy keeps the worker.

    python -m bench.restart [--series 100000] [--logs 5] [--events 20]

`sentinel run` reads generated files to their end, as many logs as partitions are asked for, and saves their states as it stops. Then it is
started again on the same state directory, as a user would, and the states are loaded and copied here, one log after the other.
"""

import argparse
import http.client
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from bench.processes import ROOT, prepare_environment
from sentinel.config.schema import Detection
from sentinel.core.batch import LOCAL_CLUSTER, PartitionId
from sentinel.pipeline.shard import Shard
from sentinel.storage.checkpoints import DirectoryCheckpoints
from tools.servers.process import ServerProcess, free_port

READY_S: Final = 5.0
COPY_MS: Final = 10.0
LIMIT_S: Final = 600.0
REPEATS: Final = 5
DEDUPE: Final = 100_000


def main() -> int:
    """Measure and print; 1 when a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("series", 100_000), ("logs", 5), ("events", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    prepare_environment()
    with tempfile.TemporaryDirectory(prefix="sentinel-restart-") as directory:
        reached = measure(Path(directory), options.series, options.logs, options.events)
    return 0 if reached else 1


def measure(directory: Path, series: int, logs: int, events: int) -> bool:
    """Everything, printed; whether all goals were reached."""
    files = [traffic(directory / f"log-{log}.jsonl", series // logs, events, log) for log in range(logs)]
    filled_s, _ = run(directory, files, to_the_end=True)
    began, cpu = run(directory, files, to_the_end=False)
    print(f"{series:,} series in {logs} logs, {events} events each; filled in {filled_s:.1f} s")
    print(f"time to ready: {began:.2f} s, CPU {cpu:.2f} s; aim {READY_S:g} s: {verdict(began <= READY_S)}")
    copies = [figures(directory, str(file)) for file in files]
    for name, unit in (("blob", "MB"), ("load", "ms"), ("load CPU", "ms"), ("copy", "ms"), ("copy CPU", "ms"), ("write", "ms")):
        values = [copy[name] for copy in copies]
        print(f"{name} of one log: median {statistics.median(values):.1f} {unit}, largest {max(values):.1f} {unit}")
    copy_ms = max(copy["copy"] for copy in copies)
    print(f"copy on the worker: {copy_ms:.1f} ms a log; aim {COPY_MS:g} ms: {verdict(copy_ms <= COPY_MS)}")
    return began <= READY_S and copy_ms <= COPY_MS


def verdict(reached: bool) -> str:
    """In a word."""
    return "reached" if reached else "MISSED"


def traffic(file: Path, series: int, events: int, seed: int) -> Path:
    """Events of every series, in turn."""
    chance, now_s = random.Random(seed), time.time()  # noqa: S311  traffic, not a secret
    with file.open("w", encoding="utf-8") as out:
        for turn in range(events):
            for number in range(series):
                at = now_s - 60 + 60 * turn / events
                record = {
                    "event_id": f"{seed}-{turn}-{number}",
                    "timestamp": at,
                    "service_name": f"service-{seed}-{number}",
                    "model_name": "gpt-4o",
                    "latency_ms": round(chance.lognormvariate(6, 0.4), 2),
                    "ttft_ms": round(chance.lognormvariate(4, 0.4), 2),
                    "prompt_tokens": chance.randrange(50, 2_000),
                    "completion_tokens": chance.randrange(10, 800),
                    "cost_usd": round(chance.lognormvariate(-5, 0.3), 6),
                }
                out.write(json.dumps(record) + "\n")
    return file


def run(directory: Path, files: Sequence[Path], *, to_the_end: bool) -> tuple[float, float]:
    """Run the daemon until it has read everything, or until it is ready; seconds of wall clock, and of CPU until ready."""
    port = free_port()
    sections = {
        "state_dir": str(directory / "state"),
        "api": {"bind_addr": f"127.0.0.1:{port}"},
        "ingestion": {"files": {"paths": list(map(str, files)), "exit_at_end": to_the_end}, "dedupe": {"window_events": DEDUPE}},
        "pipeline": {"drain_timeout_secs": 120.0},
        "observability": {"log_level": "warning"},
    }
    file = directory / "sentinel.yaml"
    file.write_text(yaml.safe_dump(sections), encoding="utf-8")
    command = [sys.executable, "-m", "sentinel.cli.main", "run", "--config", str(file)]
    process = ServerProcess("sentinel run", command, log=directory / "sentinel.log", environment={"PYTHONPATH": str(ROOT)})
    began = time.monotonic()
    try:
        process.start(lambda: is_ready(port) or (to_the_end and not process.running), LIMIT_S)
        took_s, cpu_s = time.monotonic() - began, cpu_of(process.pid) if process.running else 0.0
        while to_the_end and process.running and time.monotonic() - began < LIMIT_S:
            time.sleep(0.2)
        return (time.monotonic() - began if to_the_end else took_s), cpu_s
    finally:
        process.stop(timeout_s=60)


def is_ready(port: int) -> bool:
    """Whether the daemon says so."""
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=2)) as connection:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False


def cpu_of(group: int) -> float:
    """CPU seconds of a process group so far."""
    ticks = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(") ")[2].split()
        except OSError:
            continue  # it has just ended
        if int(fields[2]) == group:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def figures(directory: Path, log: str) -> dict[str, float]:
    """Size, load, copy and write of the newest state of one log."""
    saved = DirectoryCheckpoints(directory / "state" / "checkpoints")
    key = [key for key in saved.list("") if log in key][-1]
    topic = key.removeprefix(f"{LOCAL_CLUSTER}/").rpartition("/")[0].rpartition("/")[0]
    blob = saved.get(key) or b""
    shard = Shard(PartitionId(LOCAL_CLUSTER, topic, 0), 0, Detection(), DEDUPE)
    found: dict[str, Any] = {"blob": len(blob) / 1e6}
    with timed(found, "load"):
        shard.load(blob, DEDUPE, 2**62)
    copies: list[dict[str, float]] = []
    for _ in range(REPEATS):
        one: dict[str, float] = {}
        with timed(one, "copy"):
            shard.copied()
        copies.append(one)
    found |= {name: statistics.median(copy[name] for copy in copies) for name in copies[0]}
    with timed(found, "write"):
        DirectoryCheckpoints(directory / "again").put(key, blob)
    return found


@contextmanager
def timed(found: dict[str, float], name: str) -> Iterator[None]:
    """Note milliseconds of wall clock and CPU."""
    began, cpu = time.perf_counter(), time.thread_time()
    yield
    found[name] = 1e3 * (time.perf_counter() - began)
    found[f"{name} CPU"] = 1e3 * (time.thread_time() - cpu)


if __name__ == "__main__":
    sys.exit(main())
