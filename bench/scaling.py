"""What an event costs when several replicas of one group share the work: 1, 2 and 3 of them on this machine, on a full topic.

    make bench-scaling
    python bench/scaling.py --events 60000 --rounds 1 --json

Each replica is a whole daemon in a process of its own: Kafka to its own SQLite file, with the state database in one PostgreSQL that all of
them share. (The double of InfluxDB parses every line in Python and would be what is measured.) CPU time is that of the replicas, all their
threads, user and system; the broker's and PostgreSQL's are not in it. Where there are more replicas than cores, time by the clock says
nothing, and events per CPU second still do: the floor is that they do not fall by more than a tenth.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.processes import BenchError, Child, dot, figures_of, prepare_environment
from bench.traffic import Traffic
from tools.servers.kafka import Broker, kafka
from tools.servers.postgres import PostgreSQL, postgres
from tools.servers.process import ServerError

REPLICAS: Final = (1, 2, 3)
PARTITIONS: Final = 6
"""Each number of replicas divides it."""
FLOOR: Final = 0.9
"""Of the events per CPU second of one replica."""
TOPIC: Final = "scaling"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Events per CPU second with 1, 2 and 3 replicas.")
    parser.add_argument("--events", type=int, default=60_000, help="in each of the six partitions")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--series", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def one_round(
    replicas: int, number: int, options: argparse.Namespace, broker: Broker, state: PostgreSQL, directory: Path
) -> dict[str, Any]:
    """So many replicas read the whole topic once."""
    sign = directory / f"begin-{replicas}-{number}"
    url = state.create_database()
    place = (broker.bootstrap, TOPIC, f"scaling-{replicas}-{number}", options.events, PARTITIONS // replicas, url, sign)
    try:
        with ExitStack() as running:
            children = [running.enter_context(Child("replica", *place)) for _ in range(replicas)]
            for child in children:
                child.wait_line()
            sign.touch()
            found = [child.result() for child in children]
    finally:
        state.drop_database(url)
    dot()
    events, cpu_s = sum(one["events"] for one in found), sum(one["cpu_s"] for one in found)
    if events != options.events * PARTITIONS:
        raise BenchError(f"{replicas} replicas stored {events} of {options.events * PARTITIONS} events")
    wall_s = max(one["wall_s"] for one in found)
    return {"events": events, "cpu_s": cpu_s, "per_cpu_s": events / cpu_s, "wall_s": wall_s, "rss_mb": max(one["rss_mb"] for one in found)}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All rounds, the numbers of replicas in turns; the median of each."""
    traffic = Traffic(options.events * PARTITIONS, options.series, 0.1, 1_500, PARTITIONS)
    with tempfile.TemporaryDirectory(prefix="sentinel-bench-") as directory, kafka() as broker, postgres() as state:
        asyncio.run(broker.create_topic(TOPIC, PARTITIONS))
        filled = figures_of("traffic", "fill", broker.bootstrap, TOPIC, traffic)
        dot()
        rounds: dict[int, list[dict[str, Any]]] = {replicas: [] for replicas in REPLICAS}
        for number in range(options.rounds):
            for replicas, results in rounds.items():
                results.append(one_round(replicas, number, options, broker, state, Path(directory)))
    medians = {
        replicas: {name: statistics.median(one[name] for one in results) for name in results[0]} for replicas, results in rounds.items()
    }
    ratios = {replicas: found["per_cpu_s"] / medians[1]["per_cpu_s"] for replicas, found in medians.items()}
    return {"cores": os.cpu_count(), "mean_bytes": filled["mean_bytes"], "replicas": medians, "ratios": ratios, "floor": FLOOR}


def text(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = [
        f"{report['cores']} cores, events of {report['mean_bytes']:.0f} bytes, {PARTITIONS} partitions, to SQLite; PostgreSQL shared",
        f"{'replicas':>8} {'events per CPU s':>17} {'of one':>7} {'us per event':>13} {'by the clock/s':>15} {'RSS MiB':>8}",
    ]
    for replicas, found in report["replicas"].items():
        ratio, cost_us, wall = report["ratios"][replicas], 1e6 / found["per_cpu_s"], found["events"] / found["wall_s"]
        lines.append(f"{replicas:>8} {found['per_cpu_s']:>17,.0f} {ratio:>7.2f} {cost_us:>13.1f} {wall:>15,.0f} {found['rss_mb']:>8.0f}")
    least = min(report["ratios"].values())
    verdict = "reached" if least >= FLOOR else "MISSED"
    return "\n".join([*lines, f"floor: events per CPU second stay at {FLOOR:.0%} of one replica's or more: {least:.0%}, {verdict}"])


def main() -> int:
    """Measure and tell; 1 when the floor is missed or nothing could be measured."""
    options = arguments()
    prepare_environment()
    try:
        report = measure(options)
    except (BenchError, ServerError) as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    print(file=sys.stderr)
    print(json.dumps(report) if options.json else text(report))
    return 0 if min(report["ratios"].values()) >= FLOOR else 1


if __name__ == "__main__":
    sys.exit(main())
