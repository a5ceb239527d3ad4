"""What line protocol costs: CPU per event from columns to bytes, beside copying ready lines and beside the client's Point objects.

    python bench/line_protocol.py [rounds]

Batches of 5,000 events of 500 series with 8 metrics, an event id and 47 bytes of other fields; the median over the rounds. The Point
objects are made of the same columns by the client's own fluent interface, and written out by it.
"""

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from influxdb_client_3 import Point

from sentinel.core.batch import CleanBatch, Dimensions, PartitionId, SeriesKey
from sentinel.core.metrics import METRIC_NAMES, METRICS
from sentinel.storage.influx_points import EVENTS, Heads, event_lines, point_times

BATCH = 5_000
SERIES = 500
START_NS = 1_768_473_000_000_000_000
LOG = PartitionId("kafka", "llm.telemetry", 0)
DIMENSIONS = tuple(Dimensions("openai", "chat", env, region, "stop") for env in ("production", "staging") for region in ("eu", "us"))
EXTRA = b'{"user_id":"u_3f9a0c1d2e","prompt_length":412}'


def batch_of(count: int, random: np.random.Generator) -> CleanBatch:
    """A batch as the pipeline hands it over: every metric present, but three in ten without a first token."""
    offsets = np.arange(count, dtype=np.int64)
    metrics = np.empty((count, len(METRICS)))
    metrics[:, 0] = np.round(random.lognormal(6.5, 0.5, count), 3)
    metrics[:, 1] = np.round(metrics[:, 0] * 0.2, 3)
    metrics[:, 2] = np.round(random.gamma(4.0, 5.0, count), 3)
    metrics[:, 3:5] = random.integers(1, 2_000, (count, 2))
    metrics[:, 5] = metrics[:, 3] + metrics[:, 4]
    metrics[:, 6] = metrics[:, 5] * 2e-6
    metrics[:, 7] = random.random(count) < 0.01
    metrics[random.random(count) < 0.3, 1] = np.nan
    zeros = np.zeros(count, dtype=np.int32)
    return CleanBatch(
        source=LOG, received_ns=START_NS, index=zeros, offsets=offsets, subs=zeros, ts_ns=START_NS + offsets * 1_000_000,
        log_ns=START_NS + offsets, names=tuple(SeriesKey("default", f"service-{i // 5}", f"model-{i % 5}") for i in range(SERIES)),
        series=random.integers(0, SERIES, count).astype(np.int32), metrics=metrics, flags=zeros, dialects=zeros.astype(np.int8),
        dimension_sets=DIMENSIONS, dimensions=random.integers(0, len(DIMENSIONS), count).astype(np.int32),
        users=(None,), user=zeros, personal=zeros.astype(np.bool_),
        event_ids=[f"6f1c2b1e-9a7d-4c55-8e1f-{i:012d}" for i in offsets], trace_ids=[None] * count, extra=[EXTRA] * count, findings={},
    )  # fmt: skip


def body(batch: CleanBatch, heads: Heads) -> bytes:
    """What one request would hold."""
    return event_lines(batch, heads).lines.body()


def points(batch: CleanBatch) -> bytes:
    """The same points by the client's own objects."""
    lines = []
    times = point_times(batch.ts_ns, batch.offsets).tolist()
    for row, (series, dimensions, metrics) in enumerate(zip(batch.series, batch.dimensions, batch.metrics.tolist(), strict=True)):
        name, more = batch.names[series], batch.dimension_sets[dimensions]
        point = Point(EVENTS).tag("tenant", name.tenant).tag("service", name.service).tag("model", name.model)
        point.tag("provider", more.provider).tag("operation", more.operation).tag("environment", more.environment)
        point.tag("region", more.region).tag("partition", "kafka/llm.telemetry/0").field("finish_reason", more.finish_reason)
        for metric, value in zip(METRIC_NAMES, metrics, strict=True):
            if value == value:  # noqa: PLR0124  NaN
                point.field(metric, value)
        point.field("dialect", 0).field("flags", 0).field("event_id", batch.event_ids[row]).field("extra", EXTRA.decode())
        point.field("offset", int(batch.offsets[row])).field("ts_ns", int(batch.ts_ns[row])).time(times[row])
        lines.append(point.to_line_protocol())
    return "\n".join(lines).encode()


def cost_us(work: Callable[[], object], rounds: int) -> float:
    """Median CPU microseconds per event."""
    costs = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        costs.append((time.process_time() - started) / BATCH * 1e6)
    return statistics.median(costs)


def main() -> None:
    """Measure and print, one line each."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 41
    batch = batch_of(BATCH, np.random.default_rng(1))
    heads = Heads()
    lines = event_lines(batch, heads).lines
    size = len(lines.body()) / BATCH
    print(f"line protocol, batches of {BATCH:,} events, {SERIES} series, {size:.0f} bytes an event, CPU us/event")
    print(f"  copying ready lines      {cost_us(lines.body, rounds):6.2f}")
    print(f"  columns to bytes (ours)  {cost_us(lambda: body(batch, heads), rounds):6.2f}")
    print(f"  the client's Point       {cost_us(lambda: points(batch), max(3, rounds // 10)):6.2f}")


if __name__ == "__main__":
    main()
