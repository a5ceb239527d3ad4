"""One replica of the daemon as a process, with what only the harness does to it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from infrastructure import metric
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import Sentinel

PROCESS = Path(__file__).with_name("failing_daemon.py")


class Replica(Sentinel):
    """One `sentinel run`, on a state directory that outlives it, with what only the harness does to it.

    Attributes:
        lives: how often it was started.
    """

    def __init__(self, directory: Path, configuration: dict[str, Any]) -> None:
        self.lives = 0
        super().__init__(directory, configuration)

    @property
    def file(self) -> Path:
        """Its configuration."""
        return self._file

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the process; does not wait."""
        self.lives += 1
        super().start()

    def start_failing(self, *words: str) -> None:
        """Start it by the entry point that fails where it is told to."""
        self.lives += 1
        with self._log.open("ab") as log:
            command = [sys.executable, str(PROCESS), *words, "run", "--config", str(self._file)]
            self._process = subprocess.Popen(command, stderr=log, stdout=log, env=os.environ)

    def freeze(self) -> None:
        """SIGSTOP."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def ended(self, within_s: float = 60.0) -> int:
        """Its exit code, once it has ended by itself."""
        assert self._process is not None
        return self._process.wait(timeout=within_s)

    def terminate(self) -> None:
        """SIGTERM; does not wait."""
        os.kill(self.pid, signal.SIGTERM)

    @property
    def is_ready(self) -> bool:
        """Whether it says so."""
        return self.running and self.status_of("/health/ready") == 200

    def owned(self) -> set[int]:
        """The partitions it reads, with nothing left to be read; none when it does not run."""
        if not self.running:
            return set()
        families = text_string_to_metric_families(self.text("/metrics"))
        samples = [sample for family in families for sample in family.samples if sample.name == "sentinel_kafka_consumer_lag"]
        return {int(sample.labels["partition"]) for sample in samples if not sample.value}

    def rebalances(self) -> float:
        """Partitions it was ever given or lost."""
        return metric(self.text("/metrics"), "sentinel_rebalances_total")
