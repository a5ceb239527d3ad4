"""A state directory whose windows are all full, as if its daemon had seen a thousand events of every series and then stopped.

    python -m bench.prefill STATE BOOTSTRAP TOPIC TRAFFIC

Simulated events go through the pure middle (`pipeline/process.py`), the partitions' states are saved as checkpoints by the pipeline's own
code, and an empty SQLite store says that it stands at offset 0 of every partition, so that the daemon takes the checkpoints over.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.processes import BenchError, tell
from bench.traffic import Traffic
from sentinel.app.state import places, prepare
from sentinel.config.schema import Config, Kafka
from sentinel.core.batch import CleanBatch, PartitionId
from sentinel.core.delivery import Delivery, weight_bytes
from sentinel.core.ports import StoreWrite
from sentinel.detection.judge import judge
from sentinel.ingestion.kafka_client import survey
from sentinel.ingestion.sanitize import Sanitizer
from sentinel.observability.metrics import Metrics
from sentinel.pipeline.process import Rules, process
from sentinel.pipeline.restore import Checkpoints
from sentinel.pipeline.shard import Shard
from sentinel.storage.checkpoints import DirectoryCheckpoints
from sentinel.storage.embedded import EmbeddedStore


def filled(config: Config, sources: list[PartitionId], traffic: Traffic) -> list[Shard]:
    """The states of the partitions after the traffic."""
    ingestion = config.ingestion
    sanitizer = Sanitizer(ingestion.parsing, ingestion.validation, config.privacy, ingestion.dead_letters, b"k" * 32)
    rules = Rules(ingestion.parsing, ingestion.validation, sanitizer)
    shards = [Shard(source, 0, config.detection, ingestion.dedupe.window_events) for source in sources]
    for block in traffic.past():
        partition = np.array(traffic.places(block, 0))
        for shard in shards:
            records = [block.records[i] for i in np.flatnonzero(partition == shard.source.partition)]
            n, now_ns = len(records), time.time_ns()
            offsets = shard.next_offset + np.arange(n, dtype=np.int64)
            process(Delivery(shard.source, records, offsets, np.full(n, now_ns), now_ns, 0, weight_bytes(records)), shard, rules)
    return shards


def count_full(shards: list[Shard]) -> int:
    """The number of full windows. Raises BenchError when there are others."""
    counts = [
        windows.count(row) == windows.size
        for shard in shards
        for windows in shard.baselines.windows.values()
        for row in range(len(shard.baselines.names))
    ]
    if not all(counts):
        raise BenchError(f"{counts.count(False)} of {len(counts)} windows are not full; the series need more events each")
    return len(counts)


async def prefill(state: Path, bootstrap: str, topic: str, traffic: Traffic) -> dict[str, Any]:
    """Fill and save."""
    config = Config(state_dir=str(state))
    where = places(config)
    prepare(where)
    cluster = (await survey(Kafka(brokers=[bootstrap], topic=topic))).cluster
    sources = [PartitionId(cluster, topic, partition) for partition in range(traffic.partitions)]
    shards = filled(config, sources, traffic)
    windows = count_full(shards)
    checkpoints = Checkpoints(DirectoryCheckpoints(where.checkpoints), config.detection, config.ingestion.dedupe.window_events, Metrics())
    store = EmbeddedStore(config.storage.embedded, where.database)
    await store.open()
    for shard in shards:
        shard.next_offset = 0
        checkpoints.save(shard.source, 0, shard.copied())
        nothing = CleanBatch.empty(shard.source, 0)
        none = judge([], nothing, config.ingestion.validation, config.detection.baseline.window_size)
        await store.write([StoreWrite(nothing, none, shard.source, 0)])
    await store.close()
    return {"windows": windows, "series": sum(len(shard.baselines.names) for shard in shards)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("state", type=Path)
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("traffic", type=json.loads)
    options = parser.parse_args()
    tell(asyncio.run(prefill(options.state, options.bootstrap, options.topic, Traffic(**options.traffic))))


if __name__ == "__main__":
    main()
