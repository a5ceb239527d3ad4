"""A copy of a partition's state: it becomes a blob on another thread, while the state goes on."""

import time

import numpy as np

from sentinel.config.schema import Config, Detection
from sentinel.core.batch import PartitionId
from sentinel.core.delivery import Delivery, weight_bytes
from sentinel.detection.over_time import OverTime
from sentinel.ingestion.sanitize import Sanitizer
from sentinel.pipeline.process import Rules, process
from sentinel.pipeline.shard import Shard
from sentinel.testing.simulator import Simulator

LOG = PartitionId("test", "copy", 0)
EVENTS = 8_000
DETECTION = Detection.model_validate({"budgets": [{"name": "all", "limit_usd": 10.0}], "gauges": {"enabled": True}})


def deliveries() -> list[Delivery]:
    """Three hours of traffic with users and several services."""
    now_ns = time.time_ns()
    step_ns = 3 * 3_600 * 10**9 // EVENTS
    found, first = [], 0
    for records in Simulator(5).events(EVENTS, now_ns - EVENTS * step_ns, step_ns):
        offsets = np.arange(first, first + len(records), dtype=np.int64)
        found.append(Delivery(LOG, records, offsets, np.full(len(records), now_ns), now_ns, 1, weight_bytes(records)))
        first += len(records)
    return found


def test_a_copy_is_the_state_at_its_offset() -> None:
    """Whatever is learned and told after it: nothing of it is shared with the state."""
    config = Config(detection=DETECTION)
    ingestion = config.ingestion
    sanitizer = Sanitizer(ingestion.parsing, ingestion.validation, config.privacy, ingestion.dead_letters, b"k" * 32)
    rules, shard = Rules(ingestion.parsing, ingestion.validation, sanitizer), Shard(LOG, 1, config.detection, 1_000)
    before, after = np.array_split(np.arange(len(work := deliveries())), 2)
    for i in before:
        process(work[i], shard, rules)
    copied, blob = shard.copied(), shard.copied().blob()
    for i in after:
        process(work[i], shard, rules)
    shard.over_time.mark(time.time_ns() + 10**12, shard.next_offset)
    assert copied.blob() == blob
    assert shard.copied().blob() != blob
    assert set(copied.tables) >= {name for name in OverTime(config.detection, LOG).tables() if name != "ticks/walked"}
