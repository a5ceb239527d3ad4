"""Compiling the kernels before the first event needs them."""

import numpy as np

from sentinel.config.schema import Baseline, DeadLetters, Detection, Parsing, Privacy, Validation
from sentinel.core.batch import Delivery, PartitionId
from sentinel.ingestion.sanitize import Sanitizer
from sentinel.pipeline.process import Rules, process
from sentinel.pipeline.shard import Shard

_RECORD = (
    b'{"service_name":"warm-up","model_name":"warm-up","timestamp":"2026-01-15T10:30:00Z","latency_ms":%d.5,"user_id":"u-%d",'
    b'"session_id":"s","status":"ok","prompt_text":"text"}'
)
_TIME_NS = 1_768_473_000_000_000_000


def compile_kernels() -> None:
    """Take a few records all the way: seconds on a machine's first start, a fraction of one from the cache afterwards."""
    n = 8
    source = PartitionId("warm-up", "warm-up", 0)
    records = [_RECORD % (i + 1, i) for i in range(n)]
    delivery = Delivery(source, records, np.arange(n, dtype=np.int64), np.full(n, _TIME_NS), _TIME_NS, 0, 1)
    sanitizer = Sanitizer(Parsing(), Validation(), Privacy(), DeadLetters(), b"no key: nothing of this is kept")
    rules = Detection(baseline=Baseline(window_size=4, min_samples=2))
    process(delivery, Shard(source, 0, rules, 0), Rules(Parsing(), Validation(), sanitizer))
