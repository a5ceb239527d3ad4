"""Compiling the kernels before the first event needs them.

    python -m sentinel.pipeline.warm

compiles them into NUMBA_CACHE_DIR and ends: what the compiler takes, some 90 MB, goes with the process.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np

from sentinel.config.schema import Baseline, DeadLetters, Detection, Parsing, Privacy, Validation
from sentinel.core import jit
from sentinel.core.batch import PartitionId
from sentinel.core.delivery import Delivery
from sentinel.ingestion.sanitize import Sanitizer
from sentinel.pipeline.process import Rules, process
from sentinel.pipeline.shard import Shard
from sentinel.storage.influx_points import Heads, event_lines

_RECORD = (
    b'{"service_name":"warm-up","model_name":"warm-up","timestamp":"2026-01-15T10:30:00Z","latency_ms":%d.5,"user_id":"u-%d",'
    b'"session_id":"s","status":"ok","prompt_text":"text"}'
)
_TIME_NS = 1_768_473_000_000_000_000


COMPILE_WITHIN_S = 600.0


def load_kernels() -> None:
    """Have all kernels ready, a fraction of a second from the cache. On a machine's first start another process fills it first."""
    if jit.CACHE is not None and not _marker(jit.CACHE).exists():
        command = [sys.executable, "-m", "sentinel.pipeline.warm"]
        # Should it fail, what it has not made is compiled here, and a defect shows here.
        subprocess.run(command, check=False, timeout=COMPILE_WITHIN_S, stdin=subprocess.DEVNULL)  # noqa: S603  our own module
    compile_kernels()


def _marker(cache: Path) -> Path:
    """A file that says that nothing is missing."""
    return cache / "complete"


def compile_kernels() -> None:
    """Take a few records all the way, to lines too: where nothing becomes lines, these kernels cost their loading."""
    n = 8
    source = PartitionId("warm-up", "warm-up", 0)
    records = [_RECORD % (i + 1, i) for i in range(n)]
    delivery = Delivery(source, records, np.arange(n, dtype=np.int64), np.full(n, _TIME_NS), _TIME_NS, 0, 1)
    sanitizer = Sanitizer(Parsing(), Validation(), Privacy(), DeadLetters(), b"no key: nothing of this is kept")
    rules = Detection(baseline=Baseline(window_size=4, min_samples=2))
    shard = Shard(source, 0, rules, 0)
    processed = process(delivery, shard, Rules(Parsing(), Validation(), sanitizer))
    event_lines(processed.batch, Heads())
    shard.over_time.mark(_TIME_NS + 3_600_000_000_000, n)
    Shard(source, 0, rules, 0).load(shard.copied().blob(), 0, n)
    if jit.CACHE is not None:
        jit.CACHE.mkdir(parents=True, exist_ok=True)
        _marker(jit.CACHE).touch()


if __name__ == "__main__":
    compile_kernels()
