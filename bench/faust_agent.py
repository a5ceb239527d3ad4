"""What an event costs a Faust agent, beside aiokafka alone and our own daemon: CPU us per event, the same topic, the same run.

    python -m bench.faust_agent                            within a minute; compare ratios, not times
    python -m bench.faust_agent --events 50000 --rounds 1

    getmany   aiokafka's `getmany` alone: the floor
    bytes     a Faust agent that adds up the lengths of raw values
    records   a Faust agent that reads `TelemetryEvent`, each checked, and adds up the costs
    table     the same with a Faust table of the cost per service
    daemon    the whole of LLM-Sentinel: decoded, sanitized, judged, stored in SQLite, committed

Each is a process of its own. Agents read fewer events, and begin to be measured with their first one; the figure is per event all the same.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import faust

from bench.processes import Child, dot, figures_of, prepare_environment, tell
from bench.traffic import Traffic
from sentinel.integrations.faust import events_topic
from tools.servers.kafka import Broker, kafka

AGENTS: Final = ("bytes", "records", "table")
KINDS: Final = ("getmany", *AGENTS, "daemon")
PARTITIONS: Final = 4
LONGEST_S: Final = 60.0
SLOWER: Final = {"bytes": 5, "records": 5, "table": 20}
"""An agent reads this fraction of the events, so that a run stays short."""


class Meter:
    """CPU from the first event to the last; then it tells the figures and ends the process: how Faust stops is no part of them."""

    def __init__(self, events: int) -> None:
        self._left = self._events = events
        self._cpu = self._began = 0.0
        self.total = 0.0

    def count(self, amount: float) -> None:
        """One event."""
        if self._left == self._events:
            self._cpu, self._began = time.process_time(), time.perf_counter()
        self.total += amount
        self._left -= 1
        if self._left == 0:
            spent_s, took_s = time.process_time() - self._cpu, time.perf_counter() - self._began
            tell({"events": self._events - 1, "cpu_s": spent_s, "wall_s": took_s, "total": self.total})
            os._exit(0)


def application(kind: str, bootstrap: str, topic: str, meter: Meter, directory: str) -> faust.App:
    """A Faust application with one agent of that kind."""
    app = faust.App(
        f"bench-{uuid4().hex}",
        broker=f"kafka://{bootstrap}",
        web_enabled=False,
        topic_partitions=PARTITIONS,
        datadir=directory,
    )
    if kind == "bytes":

        @app.agent(app.topic(topic, value_type=bytes, value_serializer="raw"))
        async def lengths(values: faust.Stream[bytes]) -> None:
            async for value in values:
                meter.count(len(value))

    elif kind == "records":

        @app.agent(events_topic(app, topic))
        async def costs(events: faust.Stream[Any]) -> None:
            async for event in events:
                meter.count(event.cost_usd or 0.0)

    else:
        spent = app.Table("spent", default=float)

        @app.agent(events_topic(app, topic))
        async def by_service(events: faust.Stream[Any]) -> None:
            async for event in events:
                spent[event.service_name] += event.cost_usd or 0.0
                meter.count(event.cost_usd or 0.0)

    return app


def run_agent(kind: str, bootstrap: str, topic: str, directory: str, events: int) -> None:
    """An agent, until it has had so many events."""
    app = application(kind, bootstrap, topic, Meter(events), directory)
    app.finalize()
    with Path(os.devnull).open("w", encoding="ascii") as nowhere:
        faust.Worker(app, loglevel="CRITICAL", quiet=True, redirect_stdouts=False, stdout=nowhere).execute_from_commandline()


def measured(broker: Broker, topic: str, kind: str, events: int) -> float:
    """CPU us per event of one process."""
    if kind in AGENTS:
        with tempfile.TemporaryDirectory(prefix="faust-bench-") as directory:
            where = (broker.bootstrap, topic, directory)
            figures = figures_of("faust_agent", "--agent", kind, *where, "--events", events // SLOWER[kind], within_s=LONGEST_S)
    elif kind == "getmany":
        figures = figures_of("consumers", kind, broker.bootstrap, topic, events)
    else:
        figures = daemon(broker, topic, events)
    dot()
    return float(figures["cpu_s"] / figures["events"] * 1e6)


def daemon(broker: Broker, topic: str, events: int) -> dict[str, Any]:
    """Our own daemon; it says first that it is ready."""
    with Child("consumers", "daemon", broker.bootstrap, topic, events) as child:
        child.wait_line()
        return child.result()


def compare(events: int, rounds: int) -> None:
    """All kinds on one topic, in turns; medians and ratios."""
    prepare_environment()
    traffic = Traffic(events=events, series=500, text_share=0.1, text_length=1_500, partitions=PARTITIONS)
    with kafka(PARTITIONS) as broker:
        topic = "llm.telemetry"
        asyncio.run(broker.create_topic(topic, PARTITIONS))
        size = figures_of("traffic", "fill", broker.bootstrap, topic, traffic)["mean_bytes"]
        found: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(rounds):
            for kind in KINDS:
                found[kind].append(measured(broker, topic, kind, events))
    print(f"\nCPU us per event of {size:.0f} bytes, median of {rounds} rounds of one run", file=sys.stderr)
    medians = {kind: statistics.median(figures) for kind, figures in found.items()}
    for kind, median in medians.items():
        spread = f"{min(found[kind]):.1f} to {max(found[kind]):.1f}"
        print(f"{kind:8} {median:7.1f} ({spread})  {median / medians['getmany']:6.1f} x getmany {median / medians['daemon']:6.2f} x daemon")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="What an event costs a Faust agent, beside aiokafka alone and our daemon.")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--agent", choices=AGENTS, help=argparse.SUPPRESS)
    parser.add_argument("where", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.agent is None:
        compare(options.events, options.rounds)
        return
    run_agent(options.agent, *options.where, options.events)


if __name__ == "__main__":
    main()
