"""What an event costs from Kafka to a store, how long it takes, how much memory that needs, and what the API answers meanwhile.

    make bench                                   everything, in less than eight minutes
    python bench/pipeline.py --only a,b,c --events 100000 --json

    (a) aiokafka `getmany` alone                    (e) Kafka to the InfluxDB double, which parses and keeps every point
    (b) the same and `orjson.loads` of every record (f) from the producer's hand-over to the store's confirm
    (c) the whole daemon, Kafka to SQLite           (g) memory, idle and under load with full windows
    (d) the whole daemon, Kafka to line protocol    (h) the API under that load
    (s) the steps of (c) and (d), one by one

In (d) the other side of HTTP is a process that reads what is sent and answers 204 at once (`bench/sink.py`), so sending is part of the
cost. Brokers, producers, consumers and servers are processes of their own on one machine. CPU time is that of the consuming process
alone, all its threads, user and system. On a shared machine compare ratios, not times.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.processes import BenchError, Child, dot, figures_of, left_s, prepare_environment, server
from bench.report import text
from bench.resident import QUESTIONS, idle, under_load
from bench.traffic import MODELS, Traffic
from tools.servers.kafka import Broker, kafka
from tools.servers.process import ServerError, free_port

PARTS: Final = "abcdefghs"
SLACK_S: Final = 6.0
"""Load beyond what is measured under it."""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="What Sentinel costs, beside aiokafka alone and aiokafka + orjson.")
    parser.add_argument("--only", type=parts, default=set(PARTS), metavar="a,b,...", help="some of the parts a to h, and s")
    parser.add_argument("--events", type=int, default=300_000, help="events a round of (a) to (d)")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--series", type=int, default=500)
    parser.add_argument("--text-share", type=float, default=0.1, help="events with texts")
    parser.add_argument("--text-length", type=int, default=1_500, help="characters of prompt and response together")
    parser.add_argument("--latency-rate", type=int, default=5_000, help="events a second of (f)")
    parser.add_argument("--load-rate", type=int, default=10_000, help="events a second of (g) and (h)")
    parser.add_argument("--windows", type=int, default=5_000, help="full windows of (g) and (h)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of (f) and (g)")
    parser.add_argument("--query-seconds", type=float, default=4.0, help="of each question of (h)")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def parts(given: str) -> set[str]:
    """The parts that are asked for."""
    found = set(given.split(","))
    if not found <= set(PARTS):
        raise argparse.ArgumentTypeError(f"parts are {', '.join(PARTS)}")
    return found


class Bench:
    """All parts, with the servers they share.

    Args:
        options: of the command line.
        broker: a running one.
        directory: for logs.
        sink: where line protocol goes in (d).
    """

    def __init__(self, options: argparse.Namespace, broker: Broker, directory: Path, sink: str) -> None:
        self.options = options
        self.failed: dict[str, str] = {}
        self._broker = broker
        self._directory = directory
        self._sink = sink
        self._traffic = Traffic(options.events, options.series, options.text_share, options.text_length, options.partitions)

    def run(self) -> dict[str, Any]:
        """Measure what is asked for."""
        only: set[str] = self.options.only
        report: dict[str, Any] = {"setting": self._setting()}
        for name, needs, work in (
            ("throughput", "abcds", self._throughput),
            ("double", "e", self._double),
            ("steps", "s", lambda: self._steps(report["throughput"])),
            ("latency", "f", self._latency),
            ("idle", "g", self._idle),
            ("load", "gh", self._load),
        ):
            if only & set(needs):
                self._attempt(report, name, work)
        return report | {"failed": self.failed}

    def _attempt(self, report: dict[str, Any], name: str, work: Callable[[], dict[str, Any]]) -> None:
        """A part that cannot be measured does not keep the others from it."""
        if left_s() <= 0:
            self.failed[name] = "the time was over"
            return
        try:
            report[name] = work()
        except (BenchError, ServerError, KeyError) as error:
            self.failed[name] = f"{type(error).__name__}: {error}"

    def _setting(self) -> dict[str, Any]:
        return {
            "options": {name: value for name, value in vars(self.options).items() if name != "only"},
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "load_average": os.getloadavg()[0],
            "file_system": file_system(Path(tempfile.gettempdir())),
        }

    # ------------------------------------------------------------------------------------------------------- throughput

    def _topic(self, name: str, traffic: Traffic | None = None) -> dict[str, Any]:
        """Create a topic, and fill it."""
        asyncio.run(self._broker.create_topic(name, self.options.partitions))
        filled = figures_of("traffic", "fill", self._broker.bootstrap, name, traffic) if traffic else {}
        dot()
        return filled

    def _throughput(self) -> dict[str, Any]:
        """Rounds of (a) to (d), in turns; the median of each."""
        filled = self._topic("bench", self._traffic)
        commands = {"a": ("getmany",), "b": ("orjson",), "c": ("daemon",), "d": ("daemon", "--influx", self._sink)}
        wanted = [name for name in commands if name in self.options.only or ("s" in self.options.only and name == "c")]
        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in wanted}
        for _ in range(self.options.rounds):
            for name, results in rounds.items():
                results.append(self._round(commands[name], "bench", self.options.events))
        return {"mean_bytes": filled["mean_bytes"], **{name: medians(results) for name, results in rounds.items()}}

    def _round(self, command: tuple[str, ...], topic: str, events: int) -> dict[str, Any]:
        kind, *more = command
        before = self._sunk() if self._sink in more else 0
        with Child("consumers", kind, self._broker.bootstrap, topic, events, *more) as child:
            if kind == "daemon":
                child.wait_line()
            found = child.result()
        if found["events"] < events:
            raise BenchError(f"{kind} saw {found['events']} of {events} events")
        if self._sink in more and (sunk := self._sunk() - before) < events:
            raise BenchError(f"the other side was sent {sunk} lines for {events} events")
        dot()
        return found

    def _sunk(self) -> int:
        """Lines that were sent to the bucket of events so far."""
        with urllib.request.urlopen(f"{self._sink}/stats", timeout=10) as answer:  # noqa: S310  our own address
            lines: dict[str, int] = json.load(answer)["lines"]
        return sum(count for target, count in lines.items() if "db=telemetry" in target)

    def _double(self) -> dict[str, Any]:
        """One round against the double, with fewer events: it parses every line in Python."""
        traffic = replace(self._traffic, events=self.options.events // 5)
        filled = self._topic("double", traffic)
        port = free_port()
        with server("the InfluxDB double", ["-m", "sentinel.testing.influx_double", "--port", str(port)], port, self._directory):
            found = self._round(("daemon", "--influx", f"http://127.0.0.1:{port}"), "double", traffic.events)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats", timeout=10) as answer:
                kept = json.load(answer)["rows"]["telemetry"]["llm_telemetry"]
        if kept != traffic.events:
            raise BenchError(f"the double holds {kept} points for {traffic.events} events")
        return {"mean_bytes": filled["mean_bytes"], "e": medians([found])}

    def _steps(self, throughput: dict[str, Any]) -> dict[str, Any]:
        """The steps, in deliveries and writes as large as those of (c)."""
        c = throughput["c"]
        sizes = ("--delivery", round(c["per_delivery"]), "--write", round(c["per_write"]), "--fold", round(2 * c["per_wall_s"]))
        found = figures_of("stages", self._traffic, "--rounds", self.options.rounds, *sizes, "--influx", self._sink, within_s=180)
        dot()
        return found

    # ---------------------------------------------------------------------------------------------------------- latency

    def _latency(self) -> dict[str, Any]:
        """Paced events into each store."""
        return {"sqlite": self._aged("sqlite"), "line": self._aged("line", "--influx", self._sink)}

    def _aged(self, name: str, *more: str) -> dict[str, Any]:
        options, warm_s = self.options, 2.0
        self._topic(f"latency-{name}")
        events = int(options.latency_rate * (options.seconds + warm_s))
        traffic = replace(self._traffic, events=events, rate=options.latency_rate, keyed=True)
        place = (self._broker.bootstrap, f"latency-{name}")
        with Child("consumers", "daemon", *place, events, "--ages", warm_s, *more) as daemon:
            daemon.wait_line()
            with Child("traffic", "paced", *place, traffic) as producer:
                producer.wait_line()
                found = daemon.result() | {"producer": producer.result()}
        dot()
        sizes = {"per_delivery": found["events"] / found["deliveries"], "per_write": found["events"] / found["writes"]}
        return found | sizes | {"cores": found["cpu_s"] / found["wall_s"]}

    # ----------------------------------------------------------------------------------------------------- memory and API

    def _idle(self) -> dict[str, Any]:
        """Daemons with nothing to do."""
        self._topic("idle")
        bootstrap = self._broker.bootstrap
        return {
            "sqlite": idle(bootstrap, "idle", None),
            "influxdb": idle(bootstrap, "idle", self._sink),
            "first_start": idle(bootstrap, "idle", None, compiling=True),
        }

    def _load(self) -> dict[str, Any]:
        """A daemon with full windows under load, and its API."""
        options = self.options
        self._topic("load")
        query_s = options.query_seconds if "h" in options.only else 0.0
        series = -(-options.windows // (6 * MODELS)) * MODELS
        events = int(options.load_rate * (options.seconds + QUESTIONS * query_s + SLACK_S))
        traffic = replace(self._traffic, events=events, series=series, rate=options.load_rate, even=True, keyed=True, seed=2)
        return under_load(self._broker.bootstrap, "load", traffic, options.seconds, query_s)


def medians(rounds: list[dict[str, Any]]) -> dict[str, float]:
    """Cost and speed, the medians of some rounds; sizes and memory of the last."""
    last = rounds[-1]
    found = {
        "us": statistics.median(one["cpu_s"] / one["events"] * 1e6 for one in rounds),
        "per_wall_s": statistics.median(one["events"] / one["wall_s"] for one in rounds),
    }
    if "deliveries" in last:
        found |= {"per_delivery": last["events"] / last["deliveries"], "per_write": last["events"] / last["writes"]}
        found |= {"rss_mb": last["rss_mb"], "anomalies_per_event": last["anomalies"] / last["events"]}
    return found


def file_system(path: Path) -> str:
    """The kind of file system a directory is on: syncing costs nothing on some."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    return max((where, kind) for where, kind in mounts if path.is_relative_to(where))[1]


def main() -> int:
    """Measure and print; 1 when something could not be measured. A floor that is missed is told, and no failure."""
    options = arguments()
    prepare_environment()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="sentinel-bench-") as name, kafka() as broker:
        directory = Path(name)
        with server("the sink", ["-m", "bench.sink", "--port", str(port)], port, directory):
            bench = Bench(options, broker, directory, f"http://127.0.0.1:{port}")
            report = bench.run()
    print(file=sys.stderr)
    print(json.dumps(report, indent=2) if options.json else text(report))
    return int(bool(report["failed"]))


if __name__ == "__main__":
    sys.exit(main())
