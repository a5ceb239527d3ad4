"""Where the daemon's time goes: CPU us per event of each step, called one after the other on one thread.

    python -m bench.stages TRAFFIC --rounds 3 --delivery 4000 --write 8000 --influx URL

The events are those of the consumers, in deliveries and writes as large as theirs were on average, from four partitions with a state of
their own. Each round begins anew; the median of the rounds counts. Each step's time is that of the thread, in user mode and in the kernel.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from bench.processes import tell
from bench.traffic import Traffic
from sentinel.app import memory
from sentinel.config.schema import DeadLetters, Dedupe, Detection, InfluxDB, Parsing, Privacy, Validation
from sentinel.core.batch import CleanBatch, PartitionId
from sentinel.core.delivery import Delivery, weight_bytes
from sentinel.core.flags import learnable
from sentinel.core.ports import StoreWrite
from sentinel.detection.judge import judge
from sentinel.ingestion.decode import decode
from sentinel.ingestion.plain import plain_events
from sentinel.ingestion.sanitize import Sanitizer
from sentinel.ingestion.validate import validate
from sentinel.pipeline.shard import Shard
from sentinel.pipeline.warm import compile_kernels
from sentinel.storage.influx_client import InfluxClient
from sentinel.storage.influx_points import Heads
from sentinel.storage.influx_requests import requests_of
from sentinel.storage.writer import Writer

MIDDLE: Final = ("scan, columns", "decode others", "validate", "sanitize", "merge", "dedupe", "score", "over time", "judge")
SQLITE: Final = ("write rows", "rollups")
LINES: Final = ("encode lines", "send")
PASSES: Final = 20
"""Times the events are scored again, to fill the windows."""


class Spent:
    """CPU seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._mark = time.thread_time()

    def begin(self) -> None:
        """What was done until now belongs to no step."""
        self._mark = time.thread_time()

    def end(self, step: str) -> None:
        """What was done since the last mark belongs to a step."""
        now = time.thread_time()
        self.seconds[step] += now - self._mark
        self._mark = now


class Middle:
    """The steps of `pipeline/process.py`, with a look at the clock between them."""

    def __init__(self, partitions: int, spent: Spent) -> None:
        self._spent = spent
        self._rules = Detection()
        self._sanitizer = Sanitizer(Parsing(), Validation(), Privacy(), DeadLetters(), b"k" * 32)
        self.shards = [Shard(_log(partition), 1, self._rules, Dedupe().window_events) for partition in range(partitions)]

    def process(self, delivery: Delivery) -> StoreWrite:
        """As the function of that name does."""
        spent, shard = self._spent, self.shards[delivery.source.partition]
        spent.begin()
        plain, others = plain_events(delivery, Parsing())
        spent.end("scan, columns")
        decoded = decode(delivery, Parsing(), others)
        spent.end("decode others")
        batches = [batch for batch in (plain, decoded.batch) if batch is not None]
        valid = [batch for batch, _ in (validate(batch, Validation()) for batch in batches) if batch is not None]
        spent.end("validate")
        parts = [self._sanitizer.batch(batch) for batch in valid]
        spent.end("sanitize")
        batch = CleanBatch.merged(parts)
        spent.end("merge")
        fresh = shard.recent.unseen(batch.event_ids)
        assert fresh.all() and len(batch) == len(delivery.records)  # noqa: PT018  the traffic holds no repeats and nothing unusable
        spent.end("dedupe")
        learned = learnable(batch.metrics, batch.flags)
        fired = shard.baselines.score_and_update(batch.names, batch.series, learned)
        spent.end("score")
        told = shard.over_time.observe(batch, learned)
        spent.end("over time")
        anomalies = judge(fired, batch, Validation(), self._rules.baseline.window_size)
        spent.end("judge")
        return StoreWrite(batch, anomalies, delivery.source, delivery.next_offset, tick_anomalies=told)


class Stores:
    """Both stores, on this thread."""

    def __init__(self, directory: Path, influx: str, spent: Spent) -> None:
        self._spent = spent
        self._writer = Writer(directory / "bench.db", "full")
        self._writer.open()
        self._section = InfluxDB(url=influx)
        self._client = InfluxClient(self._section)
        self._heads = Heads()

    def write(self, items: Sequence[StoreWrite]) -> None:
        """One write to each."""
        spent = self._spent
        spent.begin()
        self._writer.write(items)
        spent.end("write rows")
        made = requests_of(items, self._section, self._heads)
        assert not made.refusals
        assert not made.unfit
        spent.end("encode lines")
        for request in made.requests:
            self._client.write(request.bucket, request.lines.body())
        spent.end("send")

    def fold(self) -> None:
        """Put what waits into the rollups, as the store does every two seconds."""
        self._spent.begin()
        self._writer.fold()
        self._spent.end("rollups")

    def close(self) -> None:
        """Close both."""
        self._writer.close()
        self._client.close()


def _log(partition: int) -> PartitionId:
    return PartitionId("bench", "bench", partition)


def deliveries(records: Sequence[bytes], partitions: int, size: int) -> Iterator[Delivery]:
    """The records as the partitions hand them over, in turns."""
    for start in range(0, len(records), size * partitions):
        for partition in range(partitions):
            part = records[start + partition : start + size * partitions : partitions]
            if part:
                first, now_ns = start // partitions, time.time_ns()
                offsets = np.arange(first, first + len(part), dtype=np.int64)
                log_ns = np.full(len(part), now_ns)
                yield Delivery(_log(partition), part, offsets, log_ns, now_ns, 1, weight_bytes(part))


def measured_round(
    records: Sequence[bytes], traffic: Traffic, options: argparse.Namespace
) -> tuple[dict[str, float], Middle, Sequence[StoreWrite]]:
    """CPU seconds by step for all records; the state after them, and what they became."""
    spent = Spent()
    middle = Middle(traffic.partitions, spent)
    done: list[StoreWrite] = []
    waiting: list[StoreWrite] = []
    rows = folded = 0
    with tempfile.TemporaryDirectory(prefix="sentinel-bench-") as directory:
        stores = Stores(Path(directory), options.influx, spent)
        for delivery in deliveries(records, traffic.partitions, options.delivery):
            waiting.append(middle.process(delivery))
            rows += len(delivery.records)
            if sum(len(item.batch) for item in waiting) >= options.write:
                stores.write(waiting)
                done += waiting
                waiting = []
            if rows - folded >= options.fold:
                stores.fold()
                folded = rows
        stores.write(waiting)
        stores.fold()
        stores.close()
    return spent.seconds, middle, done + waiting


def full_score_us(middle: Middle, done: Sequence[StoreWrite]) -> float | None:
    """The cost of scoring one event when nine of ten windows are full: the same events again and again. None when they are too few."""

    def score_all() -> float:
        began = time.thread_time()
        for item in done:
            batch = item.batch
            middle.shards[item.source.partition].baselines.score_and_update(
                batch.names, batch.series, learnable(batch.metrics, batch.flags)
            )
        return (time.thread_time() - began) / sum(len(item.batch) for item in done) * 1e6

    for _ in range(PASSES):
        if full_share(middle) > 0.9:
            return score_all()
        score_all()
    return None


def full_share(middle: Middle) -> float:
    """The share of windows that are full."""
    counts = [
        windows.count(row) >= windows.size
        for shard in middle.shards
        for windows in shard.baselines.windows.values()
        for row in range(len(shard.baselines.names))
    ]
    return sum(counts) / len(counts)


def main() -> None:
    """Measure the rounds; CPU us per event, the median of the rounds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("traffic", type=json.loads)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--delivery", type=int, required=True, help="events of a delivery")
    parser.add_argument("--write", type=int, required=True, help="events of a write")
    parser.add_argument("--fold", type=int, default=120_000, help="events between two rollups")
    parser.add_argument("--influx", required=True, metavar="URL")
    options = parser.parse_args()
    traffic = Traffic(**options.traffic)
    records = [record for block in traffic.past() for record in block.records]
    compile_kernels()
    memory.settle()
    rounds, full = [], None
    for left in reversed(range(options.rounds)):
        seconds, middle, done = measured_round(records, traffic, options)
        rounds.append(seconds)
        full = None if left else full_score_us(middle, done)
        del middle, done
    steps = {step: statistics.median(seconds[step] for seconds in rounds) / len(records) * 1e6 for step in (*MIDDLE, *SQLITE, *LINES)}
    tell({"steps": steps, "full_score_us": full})


if __name__ == "__main__":
    main()
