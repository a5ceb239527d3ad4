"""`sentinel run` as its users start it: its memory when idle and under load, and what its API answers meanwhile."""

import json
import os
import statistics
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import yaml

from bench.processes import BenchError, Child, dot, figures_of, left_s, rss_mb
from bench.queries import questions
from bench.traffic import MODELS, Traffic
from tools.servers.process import ServerProcess, free_port

SAMPLE_S: Final = 0.2
IDLE_S: Final = 3.0
SETTLE_S: Final = 2.0
READY_WITHIN_S: Final = 120.0
RESTORED_WITHIN_S: Final = 30.0
QUESTIONS: Final = len(questions(1))
SAMPLES_PER_SERIES: Final = 1_300
"""So many on average that every series gets the thousand that a window holds."""
CHECKPOINT_EVERY_S: Final = 8.0
"""Rather than the default minute, so that saving the state lies within what is measured."""


class Resident:
    """A daemon as a process of its own.

    Args:
        directory: of its state, configuration and log.
        configuration: its sections, but for what this class sets.
        kernels: where compiled kernels are kept; a first start finds none there.
    """

    def __init__(self, directory: Path, configuration: dict[str, Any], kernels: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        own = {"state_dir": str(directory / "state"), "api": {"bind_addr": f"127.0.0.1:{port}"}, "observability": {"log_level": "error"}}
        file = directory / "sentinel.yaml"
        file.write_text(yaml.safe_dump(own | configuration), encoding="utf-8")
        command = [sys.executable, "-m", "sentinel.cli.main", "run", "--config", str(file)]
        log = directory / "sentinel.log"
        self._process = ServerProcess("sentinel run", command, log=log, environment={"NUMBA_CACHE_DIR": kernels})

    def __enter__(self) -> Self:
        self._process.start(self._ready, min(READY_WITHIN_S, max(left_s(), 0.0)))
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop(timeout_s=15)

    @property
    def pid(self) -> int:
        """Of the daemon itself, the child of its guard."""
        guard = self._process.pid
        return int(Path(f"/proc/{guard}/task/{guard}/children").read_text(encoding="ascii").split()[0])

    def status(self) -> dict[str, Any]:
        """`GET /api/v1/status`."""
        with urllib.request.urlopen(f"{self.url}/api/v1/status", timeout=10) as answer:  # noqa: S310  our own address
            found: dict[str, Any] = json.load(answer)
        return found

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health/ready", timeout=2) as answer:  # noqa: S310  our own address
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


class Watched:
    """The memory of a process while the block runs, looked at five times a second."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.samples: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_S):
            self.samples.append(rss_mb(self._pid))

    @property
    def figures(self) -> dict[str, float]:
        """In MiB."""
        return {"median_mb": statistics.median(self.samples), "max_mb": max(self.samples)}


def kafka_section(bootstrap: str, topic: str) -> dict[str, Any]:
    """The daemon's input."""
    return {"kafka": {"brokers": [bootstrap], "topic": topic, "group_id": f"bench-{topic}", "auto_offset_reset": "earliest"}}


def idle(bootstrap: str, topic: str, influx: str | None, *, compiling: bool = False) -> float:
    """Memory of a daemon that is ready and has nothing to do, in MiB: on its first start of all, or once it has its tables and kernels."""
    configuration = {"ingestion": kafka_section(bootstrap, topic), "storage": {"influxdb": {"url": influx}} if influx else {}}
    with tempfile.TemporaryDirectory(prefix="sentinel-bench-") as directory:
        kernels = f"{directory}/kernels" if compiling else os.environ["NUMBA_CACHE_DIR"]
        if not compiling:
            with Resident(Path(directory), configuration, kernels):
                pass
        with Resident(Path(directory), configuration, kernels) as daemon:
            time.sleep(SETTLE_S)
            with Watched(daemon.pid) as memory:
                time.sleep(IDLE_S)
    dot()
    return memory.figures["max_mb"]


@contextmanager
def loaded(bootstrap: str, topic: str, traffic: Traffic) -> Iterator[tuple[Resident, Child, dict[str, Any]]]:
    """A daemon whose windows are all full and that is sent the traffic; the producer, and what is known of the windows."""
    with tempfile.TemporaryDirectory(prefix="sentinel-bench-") as name:
        directory = Path(name)
        past = Traffic(SAMPLES_PER_SERIES * traffic.series, traffic.series, 0.0, 0, traffic.partitions, even=True, keyed=True)
        windows = figures_of("prefill", directory / "state", bootstrap, topic, past)
        dot()
        baseline = {"update_interval_secs": CHECKPOINT_EVERY_S}
        configuration = {"ingestion": kafka_section(bootstrap, topic), "detection": {"baseline": baseline}}
        with (
            Resident(directory, configuration, os.environ["NUMBA_CACHE_DIR"]) as daemon,
            Child("traffic", "paced", bootstrap, topic, traffic) as producer,
        ):
            wait_for_windows(daemon, windows["windows"])
            begins_ns = int(producer.wait_line().removeprefix("begins "))
            time.sleep(max(0.0, begins_ns / 1e9 - time.time()))
            yield daemon, producer, windows


def wait_for_windows(daemon: Resident, wanted: int) -> None:
    """Return when every partition's state is restored. Raises BenchError when it is not what was saved."""
    deadline = time.monotonic() + RESTORED_WITHIN_S
    while (found := daemon.status()["windows"]) < wanted and time.monotonic() < deadline:
        time.sleep(SAMPLE_S)
    if found != wanted:
        raise BenchError(f"the daemon has {found} windows, {wanted} were saved for it")


def under_load(bootstrap: str, topic: str, traffic: Traffic, load_s: float, query_s: float) -> dict[str, Any]:
    """Memory for `load_s` under traffic, then for as long as the API is asked, `query_s` a question; 0 asks nothing."""
    with loaded(bootstrap, topic, traffic) as (daemon, producer, windows):
        before, began = daemon.status()["events_stored"], time.monotonic()
        with Watched(daemon.pid) as memory:
            time.sleep(min(load_s, max(left_s(), 0.0)))
        stored_per_s = (daemon.status()["events_stored"] - before) / (time.monotonic() - began)
        dot()
        found: dict[str, Any] = {"windows": windows["windows"], "stored_per_s": stored_per_s, **memory.figures}
        if query_s:
            found["queries"] = asked(daemon, traffic, query_s)
            dot()
        found["producer"] = producer.result()
    return found


def asked(daemon: Resident, traffic: Traffic, query_s: float) -> dict[str, Any]:
    """What the API answers, and what that does to memory and to the traffic."""
    before, began = daemon.status(), time.monotonic()
    with Watched(daemon.pid) as memory:
        answers = figures_of("queries", daemon.url, "--services", traffic.series // MODELS, "--seconds", query_s)
    after = daemon.status()
    stored_per_s = (after["events_stored"] - before["events_stored"]) / (time.monotonic() - began)
    return {"answers": answers, "stored_per_s": stored_per_s, "events": after["store"]["events"], **memory.figures}
