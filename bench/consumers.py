"""Those who read a topic to its end, each in a process of its own; the figures are of that process alone, all its threads.

    python -m bench.consumers getmany|orjson|daemon BOOTSTRAP TOPIC EVENTS [--influx URL] [--ages SECONDS]

The daemon is a whole one, API included, with default settings; it stores in SQLite, or with --influx in InfluxDB. Its time ends when all
events are stored and, in SQLite, counted by the rollups. With --ages it also tells how old events were when the store's write returned.
"""

import argparse
import asyncio
import gc
import os
import tempfile
import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import uvloop
from aiokafka import AIOKafkaConsumer

from bench.processes import BenchError, rss_mb, tell
from sentinel.app import memory
from sentinel.app.daemon import Daemon
from sentinel.config.schema import Api, Config, InfluxDB, Ingestion, Kafka, Observability, Storage
from sentinel.core.ports import StoreWrite
from sentinel.observability.logs import configure
from sentinel.storage.embedded import EmbeddedStore

POLL_S: Final = 0.02
LONGEST_S: Final = 100.0
"""Longest that a daemon may take for its events."""


async def consume(bootstrap: str, topic: str, events: int, *, parse: bool) -> dict[str, Any]:
    """Read and count, with every record parsed or not."""
    gc.set_threshold(100_000, 50, 100)
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="earliest", max_partition_fetch_bytes=1_048_576
    )
    await consumer.start()
    done, cpu, began = 0, time.process_time(), time.perf_counter()
    while done < events:
        for records in (await consumer.getmany(timeout_ms=1_000, max_records=5_000)).values():
            done += len(records)
            if parse:
                for record in records:
                    orjson.loads(record.value)  # type: ignore[arg-type]  # the topic holds no tombstones
    figures = {"events": done, "cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - began}
    await consumer.stop()
    return figures


class Ages:
    """How old events are when the store's write returns, and were when they were received."""

    def __init__(self, daemon: Daemon) -> None:
        self._parts: list[tuple[npt.NDArray[np.int64], ...]] = []
        self._write = daemon.store.write
        daemon.store.write = self.write  # type: ignore[method-assign]  # the daemon's store, observed

    async def write(self, items: Sequence[StoreWrite]) -> None:
        """In place of the store's."""
        await self._write(items)
        now_ns = time.time_ns()
        for item in items:
            batch = item.batch
            self._parts.append((batch.ts_ns, now_ns - batch.log_ns, now_ns - batch.ts_ns, batch.received_ns - batch.log_ns))

    def figures(self, without_s: float) -> dict[str, float]:
        """Percentiles in milliseconds, the first seconds left out."""
        ts_ns, since_handed, since_due, underway = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        kept = ts_ns >= ts_ns.min() + int(without_s * 1e9)
        handed_ms, due_ms = since_handed[kept] / 1e6, since_due[kept] / 1e6
        return {
            "measured": int(kept.sum()),
            "p50_ms": float(np.median(handed_ms)),
            "p99_ms": float(np.quantile(handed_ms, 0.99)),
            "max_ms": float(handed_ms.max()),
            "received_p50_ms": float(np.median(underway[kept]) / 1e6),
            "due_p50_ms": float(np.median(due_ms)),
            "due_p99_ms": float(np.quantile(due_ms, 0.99)),
        }


def configuration(state: str, bootstrap: str, topic: str, influx: str | None) -> Config:
    """Defaults, but for where everything is."""
    kafka = Kafka(brokers=[bootstrap], topic=topic, group_id=f"bench-{os.getpid()}", auto_offset_reset="earliest")
    return Config(
        state_dir=state,
        api=Api(bind_addr="127.0.0.1:0"),
        ingestion=Ingestion(kafka=kafka),
        storage=Storage(influxdb=InfluxDB(url=influx) if influx else None),
        observability=Observability(log_level="error"),
    )


async def run_daemon(bootstrap: str, topic: str, events: int, influx: str | None, without_s: float | None) -> dict[str, Any]:
    """A daemon until it has stored all events."""
    configure("error", as_json=True)
    memory.separate_large_blocks()
    with tempfile.TemporaryDirectory(prefix="sentinel-bench-") as state:
        daemon = Daemon(configuration(state, bootstrap, topic, influx))
        ages = Ages(daemon) if without_s is not None else None
        await daemon.start()
        memory.settle()
        print("ready", flush=True)
        serving = asyncio.create_task(daemon.serve())
        figures = await until_stored(daemon, serving, events)
        daemon.stop()
        await serving
        anomalies = (await daemon.store.counts()).anomalies
        await daemon.close()
    if ages is not None and without_s is not None:
        figures |= ages.figures(without_s)
    return figures | {"anomalies": anomalies, "rss_mb": rss_mb()}


async def until_stored(daemon: Daemon, serving: "asyncio.Task[None]", events: int) -> dict[str, Any]:
    """Wait for the last event. Raises BenchError when one is lost or the daemon ends."""
    cpu, began = time.process_time(), time.perf_counter()
    total = daemon.pipeline.ledger.total
    while (stored := total().stored) < events and not serving.done() and time.perf_counter() < began + LONGEST_S:  # noqa: ASYNC110  an observer polls
        await asyncio.sleep(POLL_S)
    if isinstance(daemon.store, EmbeddedStore):
        await daemon.store.fold()  # else the last seconds' rollups would be free
    figures = {"events": stored, "cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - began}
    if stored != events:
        raise BenchError(f"the daemon has stored {stored} of {events} events; {total()}")
    deliveries, middle_ms = observed(daemon, "detection_latency_seconds")
    writes, write_ms = observed(daemon, "storage_write_seconds")
    return figures | {"deliveries": deliveries, "middle_ms": middle_ms, "writes": writes, "write_ms": write_ms}


def observed(daemon: Daemon, histogram: str) -> tuple[int, float]:
    """How often a time was observed, and its mean in milliseconds."""
    samples = {sample.name: sample.value for family in getattr(daemon.metrics, histogram).collect() for sample in family.samples}
    count = int(samples[f"sentinel_{histogram}_count"])
    return count, samples[f"sentinel_{histogram}_sum"] / count * 1e3


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("getmany", "orjson", "daemon"))
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("events", type=int)
    parser.add_argument("--influx", metavar="URL")
    parser.add_argument("--ages", type=float, metavar="SECONDS", help="tell ages, but for the events of the first seconds")
    options = parser.parse_args()
    if options.kind == "daemon":
        work = run_daemon(options.bootstrap, options.topic, options.events, options.influx, options.ages)
    else:
        work = consume(options.bootstrap, options.topic, options.events, parse=options.kind == "orjson")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        tell(runner.run(work))


if __name__ == "__main__":
    main()
