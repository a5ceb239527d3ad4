"""What an event costs, from Kafka to SQLite, beside two floors measured in the same run.

    make bench            # the default run: 500 series x 6 metrics, 10% of events with 1,500 characters of text
    python bench/pipeline.py --events 200000 --text-share 0 --json

Three consumers read the same topic of a real broker on this machine:

    (a) aiokafka `getmany` alone
    (b) the same and `orjson.loads` of every record
    (c) Sentinel: decode, validate, sanitize, score with four detectors, store in SQLite, commit

CPU time is that of the measuring process alone (all threads, user and system); each consumer runs in a process of its own, in turn,
several rounds, and the median counts. On a shared machine compare the ratios, not the times.
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / ".numba_cache"))
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `sentinel run` does
sys.path.insert(0, str(ROOT))

FLOOR_EVENTS_PER_S = 60_000


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="CPU per event from Kafka to SQLite, beside aiokafka alone and aiokafka + orjson.")
    parser.add_argument("--events", type=int, default=300_000, help="events measured per round")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--series", type=int, default=500)
    parser.add_argument("--text-share", type=float, default=0.1)
    parser.add_argument("--text-length", type=int, default=1_500, help="characters of prompt and response together")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", choices=("getmany", "orjson", "sentinel"), help=argparse.SUPPRESS)
    parser.add_argument("--bootstrap", help=argparse.SUPPRESS)
    return parser.parse_args()


# ------------------------------------------------------------------------------------------------------------- the consumers


async def consume(bootstrap: str, events: int, *, parse: bool) -> dict[str, Any]:
    """Floors (a) and (b): read the topic and count."""
    import gc

    import orjson
    from aiokafka import AIOKafkaConsumer

    gc.set_threshold(100_000, 50, 100)
    consumer = AIOKafkaConsumer(
        "bench", bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="earliest", max_partition_fetch_bytes=1_048_576
    )
    await consumer.start()
    done, cpu, began = 0, time.process_time(), time.perf_counter()
    while done < events:
        for records in (await consumer.getmany(timeout_ms=1_000, max_records=5_000)).values():
            done += len(records)
            if parse:
                for record in records:
                    orjson.loads(record.value)
    result = {"events": done, "cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - began}
    await consumer.stop()
    return result


async def sentinel(bootstrap: str, events: int) -> dict[str, Any]:
    """The product (c): a whole daemon, API included, until every event is stored."""
    from sentinel.app.daemon import Daemon
    from sentinel.app.serve import tune_garbage_collection
    from sentinel.config.schema import Api, Config, Ingestion, Kafka, Observability
    from sentinel.observability.logs import configure

    configure("error", as_json=True)
    with tempfile.TemporaryDirectory() as state:
        config = Config(
            state_dir=state,
            api=Api(bind_addr="127.0.0.1:0"),
            ingestion=Ingestion(
                kafka=Kafka(brokers=[bootstrap], topic="bench", group_id=f"bench-{os.getpid()}", auto_offset_reset="earliest")
            ),
            observability=Observability(log_level="error"),
        )
        daemon = Daemon(config)
        await daemon.start()
        tune_garbage_collection()
        idle_rss = rss_bytes()
        cpu, began = time.process_time(), time.perf_counter()
        serving = asyncio.create_task(daemon.serve())
        total = daemon.pipeline.ledger.total
        while total().stored + total().dead_lettered < events and not serving.done():  # noqa: ASYNC110  polling is what an observer does
            await asyncio.sleep(0.02)
        result = {"events": total().stored, "cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - began}
        stages = {
            sample.labels["stage"]: sample.value
            for family in daemon.metrics.pipeline_stage_seconds.collect()
            for sample in family.samples
            if sample.name.endswith("_sum")
        }
        daemon.stop()
        await serving
        counts = await daemon.store.counts()
        await daemon.close()
    return result | {
        "stages_wall_s": stages,
        "anomalies": counts.anomalies,
        "rss_idle_mb": idle_rss / 2**20,
        "rss_mb": rss_bytes() / 2**20,
        "rss_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def rss_bytes() -> int:
    """Resident memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def child(options: argparse.Namespace) -> None:
    """One consumer in a process of its own; its figures as JSON on standard output."""
    import uvloop

    coroutine = (
        sentinel(options.bootstrap, options.events)
        if options.child == "sentinel"
        else consume(options.bootstrap, options.events, parse=options.child == "orjson")
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(coroutine)))


# ------------------------------------------------------------------------------------------------------- stages of the middle


def stage_costs(options: argparse.Namespace) -> dict[str, float]:
    """CPU us per event of each pure stage, in batches of 5,000, windows full."""
    import numpy as np

    from sentinel.app.serve import tune_garbage_collection
    from sentinel.config.schema import DeadLetters, Detection, Parsing, Privacy, Validation
    from sentinel.core.batch import Delivery, PartitionId, learnable
    from sentinel.detection.baselines import Baselines
    from sentinel.detection.judge import judge
    from sentinel.ingestion.decode import decode
    from sentinel.ingestion.sanitize import Sanitizer
    from sentinel.ingestion.validate import validate
    from sentinel.pipeline.shard import RecentIds

    tune_garbage_collection()
    records = [record for block in traffic(options, 100_000) for record in block]
    sanitizer = Sanitizer(Parsing(), Validation(), Privacy(), DeadLetters(), b"k" * 32)
    baselines, recent = Baselines(Detection()), RecentIds(50_000)
    spent: dict[str, float] = dict.fromkeys(("decode", "validate", "sanitize", "dedupe", "score", "judge"), 0.0)
    counted = 0
    now = time.time_ns()
    for start in range(0, len(records), 5_000):
        part = records[start : start + 5_000]
        n = len(part)
        offsets = np.arange(start, start + n, dtype=np.int64)
        delivery = Delivery(PartitionId("c", "t", 0), part, offsets, np.full(n, now), now, 0, 1)
        marks = [time.process_time()]
        batch = decode(delivery, Parsing()).batch
        assert batch is not None
        marks.append(time.process_time())
        valid, _ = validate(batch, Validation())
        assert valid is not None
        marks.append(time.process_time())
        clean = sanitizer.batch(valid)
        marks.append(time.process_time())
        recent.unseen(clean.event_ids)
        marks.append(time.process_time())
        fired = baselines.score_and_update(clean.names, clean.series, learnable(clean.metrics, clean.flags))
        marks.append(time.process_time())
        judge(fired, clean, Validation(), 1_000)
        marks.append(time.process_time())
        if start >= len(records) // 2:
            counted += n
            for stage, begin, end in zip(spent, marks, marks[1:], strict=False):
                spent[stage] += end - begin
    return {stage: seconds / counted * 1e6 for stage, seconds in spent.items()}


# ------------------------------------------------------------------------------------------------------------------ the run


def traffic(options: argparse.Namespace, events: int) -> Iterator[list[bytes]]:
    """Simulated events: `series` series, all six metrics in each, texts as asked for."""
    from sentinel.testing.profiles import make_fleet, model_profiles, service_profiles
    from sentinel.testing.simulator import Simulator

    services = service_profiles([f"service-{i}" for i in range(max(1, options.series // 10))])
    models = model_profiles([f"model-{i}" for i in range(min(10, options.series))])
    fleet = make_fleet([replace(service, streaming=True) for service in services], models)
    simulator = Simulator(1, fleet=fleet, text_share=options.text_share, text_length=options.text_length // 2)
    return simulator.events(events, time.time_ns() - events * 1_000_000, 1_000_000)


async def produce(bootstrap: str, options: argparse.Namespace) -> float:
    """Fill the topic; returns the mean record size in bytes."""
    from aiokafka import AIOKafkaProducer

    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=20, max_batch_size=262_144)
    await producer.start()
    size = count = 0
    for block in traffic(options, options.events):
        for record in block:
            await producer.send("bench", record, partition=count % options.partitions)
            size += len(record)
            count += 1
    await producer.stop()
    return size / count


def measured(kind: str, bootstrap: str, options: argparse.Namespace) -> dict[str, Any]:
    """One round of one consumer."""
    command = [sys.executable, __file__, "--child", kind, "--bootstrap", bootstrap, "--events", str(options.events)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603  our own file
    found: dict[str, Any] = json.loads(answer.stdout)
    assert found["events"] >= options.events, f"{kind} saw {found['events']} of {options.events} events"
    return found


def main() -> None:
    """Produce, measure in turns, print."""
    options = arguments()
    if options.child:
        child(options)
        return
    from tools.servers.kafka import kafka

    rounds: dict[str, list[dict[str, Any]]] = {"getmany": [], "orjson": [], "sentinel": []}
    with kafka() as broker:
        asyncio.run(broker.create_topic("bench", options.partitions))
        mean_bytes = asyncio.run(produce(broker.bootstrap, options))
        for _ in range(options.rounds):
            for kind, results in rounds.items():
                results.append(measured(kind, broker.bootstrap, options))
                print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    report = summary(rounds, mean_bytes, options)
    print(json.dumps(report, indent=2) if options.json else text(report))


def summary(rounds: dict[str, list[dict[str, Any]]], mean_bytes: float, options: argparse.Namespace) -> dict[str, Any]:
    """Medians and ratios."""
    us = {kind: statistics.median(r["cpu_s"] / r["events"] * 1e6 for r in results) for kind, results in rounds.items()}
    wall = {kind: statistics.median(r["events"] / r["wall_s"] for r in results) for kind, results in rounds.items()}
    last = rounds["sentinel"][-1]
    return {
        "events": options.events,
        "mean_record_bytes": round(mean_bytes),
        "series": options.series,
        "text_share": options.text_share,
        "cpu_us_per_event": us,
        "events_per_cpu_s": {kind: 1e6 / cost for kind, cost in us.items()},
        "events_per_wall_s": wall,
        "ratio_to_orjson": us["sentinel"] / us["orjson"],
        "stages_cpu_us_per_event": stage_costs(options),
        "anomalies_per_event": last["anomalies"] / last["events"],
        "rss_idle_mb": last["rss_idle_mb"],
        "rss_mb": last["rss_mb"],
        "rss_peak_mb": last["rss_peak_mb"],
    }


def text(report: dict[str, Any]) -> str:
    """The report for people."""
    us, rate, wall = report["cpu_us_per_event"], report["events_per_cpu_s"], report["events_per_wall_s"]
    names = {"getmany": "(a) aiokafka getmany", "orjson": "(b) (a) + orjson.loads", "sentinel": "(c) Sentinel, Kafka to SQLite"}
    load = f"{report['events']:,} events of {report['mean_record_bytes']} bytes, {report['series']} series"
    lines = [
        f"{load}, {report['text_share']:.0%} with text; medians; CPU of the consuming process",
        "",
        f"{'':32}{'CPU us/event':>14}{'events/CPU-s':>14}{'events/s wall':>15}",
    ]
    lines += [f"{name:32}{us[kind]:14.2f}{rate[kind]:14,.0f}{wall[kind]:15,.0f}" for kind, name in names.items()]
    stages = report["stages_cpu_us_per_event"]
    rest = us["sentinel"] - us["getmany"] - sum(stages.values())
    lines += ["", f"(c) costs {report['ratio_to_orjson']:.2f} times (b). Where it goes, CPU us/event:", ""]
    shares = {"read from Kafka (a)": us["getmany"], **stages, "store, loop and the rest": rest}
    lines += [f"  {stage:28}{cost:8.2f}{cost / us['sentinel']:8.0%}" for stage, cost in shares.items()]
    rss = f"RSS idle {report['rss_idle_mb']:.0f} MB, after the run {report['rss_mb']:.0f} MB, peak {report['rss_peak_mb']:.0f} MB"
    lines += [
        "",
        f"anomalies per event {report['anomalies_per_event']:.3f}; {rss}",
        f"floor: {FLOOR_EVENTS_PER_S:,} events/s/core: {'reached' if rate['sentinel'] >= FLOOR_EVENTS_PER_S else 'MISSED'}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
