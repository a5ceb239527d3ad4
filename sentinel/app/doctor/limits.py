"""What the machine allows: open files, and memory against the series that may be kept."""

import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sentinel.app.doctor.check import Check, Finding, failed, in_thread, ok, warning
from sentinel.config.schema import Config, Detection

LEAST_FILES: Final = 256
"""Below this a few dozen connections to the API use up what the store and Kafka need."""
ENOUGH_FILES: Final = 1_024
BASE_BYTES: Final = 240 * 2**20
"""The interpreter, its libraries and the compiler."""
SAMPLE_BYTES: Final = 16
"""A sample lies in a window twice: as it came, and sorted."""
IDLE_SAMPLES: Final = 64
"""What a window keeps of a series that is not among the active ones."""

_CGROUP_LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_MEMINFO: Final = Path("/proc/meminfo")


async def _run(config: Config) -> Sequence[Finding]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return [open_files(soft), await in_thread(lambda: memory(config, memory_bytes()))]


def open_files(soft: int) -> Finding:
    """Whether so many open files are enough."""
    what = f"{soft} open files allowed" if soft != resource.RLIM_INFINITY else "any number of open files allowed"
    cure = "Raise it: `ulimit -n 65536`, or LimitNOFILE= in the unit."
    if soft == resource.RLIM_INFINITY or soft >= ENOUGH_FILES:
        return ok("file limit", what)
    return failed("file limit", what, cure) if soft < LEAST_FILES else warning("file limit", what, cure)


def memory(config: Config, available: int | None) -> Finding:
    """Whether one partition with as many series as may be would fit."""
    baseline = config.detection.baseline
    windows = len(watched_metrics(config.detection))
    active = min(baseline.active_series, baseline.max_series)
    samples = active * baseline.window_size + (baseline.max_series - active) * IDLE_SAMPLES
    full = windows * samples * SAMPLE_BYTES
    queues = config.pipeline.queue_max_bytes + config.ingestion.http.queue_max_bytes
    needed = BASE_BYTES + queues + full
    what = (
        f"up to {_gib(needed)} for one partition with {baseline.max_series} series of {windows} windows, {active} of them full "
        "(detection.baseline.max_series, active_series), and as much for each further partition"
    )
    if available is None:
        return ok("memory", what)
    what = f"{what}; {_gib(available)} there"
    cure = "Lower detection.baseline.max_series or window_size if names may grow that far, or give the process more memory."
    if BASE_BYTES + queues > available:
        return failed("memory", what, "Give the process more memory, or lower pipeline.queue_max_bytes.")
    return warning("memory", what, cure) if needed > available else ok("memory", what)


def watched_metrics(rules: Detection) -> set[str]:
    """The metrics that have windows: those with a baseline, and those an enabled detector names."""
    lists = {"zscore": rules.zscore.metrics, "iqr": rules.iqr.metrics, "mad": rules.mad.metrics, "cusum": rules.cusum.metrics}
    return set(rules.baseline.metrics).union(*(lists[detector] for detector in rules.enabled_detectors))


def memory_bytes() -> int | None:
    """What this process may use: the smaller of the machine's memory and its control group's limit; None when nobody says."""
    known = [limit for limit in (*map(_cgroup_limit, _CGROUP_LIMITS), _machine_bytes()) if limit is not None]
    return min(known, default=None)


def _cgroup_limit(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _machine_bytes() -> int | None:
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:")), None)


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


LIMITS: Final = Check("limits", _run)
