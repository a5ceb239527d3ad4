"""What the embedded store costs: CPU per row of the writer, and the latency of reads on a filled store.

    python bench/store.py [rows]

CPU is that of the whole process (writer thread and event loop), batches already built; 10% of the rows are anomalies.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
from msgspec import structs

from sentinel.config.schema import Embedded
from sentinel.core.anomaly import AnomalyBatch
from sentinel.core.batch import CleanBatch, Dimensions, PartitionId, SeriesKey
from sentinel.core.metrics import METRICS
from sentinel.core.ports import StoreWrite
from sentinel.core.query import AnomalyQuery, SeriesFilter, SeriesQuery, TelemetryQuery, TimeRange
from sentinel.core.timestamp import rfc3339
from sentinel.storage.embedded import EmbeddedStore
from sentinel.testing.store_events import tick_anomaly

SERIES = 500
EVENTS_PER_SECOND = 1_000
TICK_ANOMALIES = 5_000
START_NS = 1_768_473_000_000_000_000
LOG = PartitionId("kafka", "llm.telemetry", 0)
DIMENSIONS = (Dimensions(environment="production", region="eu-west-1", finish_reason="stop"),)
EXTRA = b'{"user_id":"u_3f9a0c1d2e","prompt_length":412}'


def write_of(first: int, count: int, random: np.random.Generator) -> StoreWrite:
    """A batch as the pipeline hands it over."""
    offsets = np.arange(first, first + count)
    metrics = np.empty((count, len(METRICS)))
    metrics[:, 0] = random.lognormal(6.5, 0.5, count)
    metrics[:, 1] = metrics[:, 0] * 0.2
    metrics[:, 2] = random.gamma(4.0, 5.0, count)
    metrics[:, 3:5] = random.integers(1, 2_000, (count, 2))
    metrics[:, 5] = metrics[:, 3] + metrics[:, 4]
    metrics[:, 6] = metrics[:, 5] * 2e-6
    metrics[:, 7] = random.random(count) < 0.01
    metrics[random.random(count) < 0.3, 1] = np.nan
    names = tuple(SeriesKey("default", f"service-{i // 5}", f"model-{i % 5}") for i in range(SERIES))
    batch = CleanBatch(
        source=LOG, received_ns=START_NS, index=np.arange(count, dtype=np.int32), offsets=offsets, subs=np.zeros(count, dtype=np.int32),
        ts_ns=START_NS + offsets * (1_000_000_000 // EVENTS_PER_SECOND), log_ns=START_NS + offsets, names=names,
        series=random.integers(0, SERIES, count).astype(np.int32), metrics=metrics, flags=np.zeros(count, dtype=np.int32),
        dialects=np.zeros(count, dtype=np.int8), dimension_sets=DIMENSIONS,
        dimensions=np.zeros(count, dtype=np.int32), users=(None,), user=np.zeros(count, np.int32),
        personal=np.zeros(count, np.bool_), event_ids=[f"6f1c2b1e-9a7d-4c55-8e1f-{i:012d}" for i in offsets],
        trace_ids=[None] * count, extra=[EXTRA] * count, findings={},
    )  # fmt: skip
    event = np.arange(0, count, 10, dtype=np.int32)
    value = metrics[event, 0]
    found = AnomalyBatch(
        ids=[f"{i * 0x9E3779B97F4A7C15 % 2**128:032x}"[:26] for i in offsets[event].tolist()],
        event=event, metric=np.zeros(len(event), np.int8), detector=np.zeros(len(event), np.int8), severity=np.ones(len(event), np.int8),
        value=value, score=value, expected=value, lower=value, upper=value, mean=value, sd=value,
        samples=np.full(len(event), 1_000, np.int32), window=1_000,
    )  # fmt: skip
    return StoreWrite(batch=batch, anomalies=found, source=LOG, next_offset=first + count)


async def cost_of_writing(batch_rows: int, rows: int) -> None:
    """CPU and wall-clock time of writing, rollups included."""
    random = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as directory:
        store = EmbeddedStore(Embedded(), Path(directory) / "sentinel.db")
        await store.open()
        cpu = wall = 0.0
        for first in range(0, rows, batch_rows):
            write = write_of(first, batch_rows, random)
            cpu_before, wall_before = time.process_time(), time.perf_counter()
            await store.write([write])
            cpu += time.process_time() - cpu_before
            wall += time.perf_counter() - wall_before
        cpu_before, wall_before = time.process_time(), time.perf_counter()
        await store.fold()
        cpu += time.process_time() - cpu_before
        wall += time.perf_counter() - wall_before
        size = (await store.counts()).database_bytes
        await store.close()
    cost = f"{cpu / rows * 1e6:5.2f} us CPU a row, {rows / wall:>9,.0f} rows/s, {size / rows:.0f} bytes a row"
    print(f"write, batches of {batch_rows:>5}: {cost}")


async def timed(name: str, ask: Callable[[], Awaitable[object]]) -> None:
    """Median and worst of twenty."""
    taken = []
    for _ in range(20):
        before = time.perf_counter()
        await ask()
        taken.append(1_000 * (time.perf_counter() - before))
    print(f"read, {name:<42} median {statistics.median(taken):7.2f} ms, worst {max(taken):7.2f} ms")


async def cost_of_tick_anomalies(store: EmbeddedStore, span: TimeRange, rows: int) -> None:
    """CPU of time marks with anomalies, and the latency of lists that hold both kinds."""
    empty = write_of(0, 0, np.random.default_rng(3))
    made = [
        structs.replace(tick_anomaly(), id=f"tick-{i}", timestamp=rfc3339(START_NS + i * (span.end_ns - START_NS) // TICK_ANOMALIES))
        for i in range(TICK_ANOMALIES)
    ]
    before = time.process_time()
    for first in range(0, TICK_ANOMALIES, 10):
        await store.write([StoreWrite(empty.batch, empty.anomalies, LOG, rows, made[first : first + 10])])
    cost = (time.process_time() - before) / TICK_ANOMALIES * 1e6
    print(f"write, time marks with 10 anomalies: {cost:5.1f} us CPU an anomaly")
    await timed("anomalies of both kinds, newest 100", lambda: store.anomalies(AnomalyQuery(range=span)))
    await timed("anomalies of time windows, newest 100", lambda: store.anomalies(AnomalyQuery(range=span, kind="window")))
    await timed("one anomaly of a time window", lambda: store.anomaly("tick-7"))


async def cost_of_reading(rows: int) -> None:
    """Latency of each question on a store of `rows` events, and of deleting a tenth."""
    random = np.random.default_rng(2)
    with tempfile.TemporaryDirectory() as directory:
        store = EmbeddedStore(Embedded(), Path(directory) / "sentinel.db")
        await store.open()
        for first in range(0, rows, 5_000):
            await store.write([write_of(first, 5_000, random)])
        await store.fold()
        end_ns = START_NS + rows * (1_000_000_000 // EVENTS_PER_SECOND)
        span, one = TimeRange(START_NS, end_ns), SeriesFilter(service="service-3", model="model-2")
        page = await store.telemetry(TelemetryQuery(range=span, limit=1_000))
        newest = (await store.anomalies(AnomalyQuery(range=span, limit=1)))[0].id
        print(f"store of {rows:,} events, {SERIES} series, {(end_ns - START_NS) / 60e9:.0f} minutes")
        await timed("telemetry, newest 100", lambda: store.telemetry(TelemetryQuery(range=span)))
        await timed("telemetry, 100 of one series", lambda: store.telemetry(TelemetryQuery(range=span, series=one)))
        await timed("telemetry, 100 after a cursor", lambda: store.telemetry(TelemetryQuery(range=span, cursor=page.next_cursor)))
        await timed("anomalies, newest 100", lambda: store.anomalies(AnomalyQuery(range=span)))
        await timed("anomalies, severity nobody has", lambda: store.anomalies(AnomalyQuery(range=span, severity="info")))
        await timed("anomalies, a type nobody has", lambda: store.anomalies(AnomalyQuery(range=span, type="silence")))
        await timed("one anomaly", lambda: store.anomaly(newest))
        await cost_of_tick_anomalies(store, span, rows)
        await timed("traffic, all together, by minute", lambda: store.timeseries(SeriesQuery(range=span)))
        await timed(
            "traffic, one model, by minute", lambda: store.timeseries(SeriesQuery(range=span, series=SeriesFilter(model="model-1")))
        )
        await timed("traffic, one series, by minute", lambda: store.timeseries(SeriesQuery(range=span, series=one)))
        await timed("traffic, busiest 50, by minute", lambda: store.timeseries(SeriesQuery(range=span, by_series=True)))
        await timed("counts", store.counts)
        before, cpu_before = time.perf_counter(), time.process_time()
        deleted = await store.prune(START_NS + 168 * 3_600 * 10**9 + (end_ns - START_NS) // 10)
        wall, cpu = time.perf_counter() - before, time.process_time() - cpu_before
        print(f"prune: {deleted:,} rows, {cpu / deleted * 1e6:.2f} us CPU a row, {wall:.2f} s")
        await store.close()


async def main() -> None:
    """Print all figures."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 500_000
    for batch_rows in (500, 5_000):
        await cost_of_writing(batch_rows, rows)
    await cost_of_reading(rows)


asyncio.run(main())
