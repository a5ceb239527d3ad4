"""What the tests of checkpoints share: replicas with stores of their own that save in one place, and a place that fails when told."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, Self

from sentinel.config.schema import Baseline, Config, Detection, Embedded
from sentinel.core.batch import PartitionId
from sentinel.core.errors import RetryableError
from sentinel.core.ports import CheckpointStore, PartitionOwner
from sentinel.core.query import TelemetryQuery, TimeRange
from sentinel.core.reject import DeadLetter
from sentinel.ingestion.sanitize import Sanitizer
from sentinel.observability.metrics import Metrics
from sentinel.pipeline.process import Rules
from sentinel.pipeline.restore import Checkpoints, Folders
from sentinel.pipeline.run import Pipeline
from sentinel.pipeline.shard import Shard
from sentinel.pipeline.sinks import Sinks
from sentinel.storage.embedded import EmbeddedStore
from sentinel.testing.fakes import START_NS, ListSink, ManualClock, ScriptedSource

LOG = PartitionId("cluster", "llm.telemetry", 3)
EVER = TimeRange(0, START_NS * 2)
SHARED = Folders(shared="group/", local="instance/")


def event(i: int) -> bytes:
    """Event number i, of one of three series."""
    fields = {"event_id": f"e{i}", "service_name": f"chat-{i % 3}", "model_name": "m", "latency_ms": 100 + i * 37 % 101, "prompt_tokens": i}
    return json.dumps(fields).encode()


def deliveries(first: int, end: int, size: int = 50) -> list[Sequence[bytes]]:
    """The events [first, end) as a script."""
    return [[event(i) for i in range(at, min(at + size, end))] for at in range(first, end, size)]


def config(interval_s: float = 60.0, **more: Any) -> Config:
    """Small windows, saved this often."""
    return Config(detection=Detection(baseline=Baseline(window_size=64, update_interval_secs=interval_s)), **more)


class Flaky:
    """A checkpoint store that fails, waits and counts as it is told.

    Attributes:
        failure: raised by everything while it is set; full: by puts.
        unreadable: keys whose blobs cannot be read.
        through: puts wait for it.
    """

    def __init__(self, store: CheckpointStore) -> None:
        self._store = store
        self.failure = self.full = ""
        self.unreadable: set[str] = set()
        self.through = Event()
        self.through.set()
        self.puts = 0
        self.begun = Event()

    def put(self, key: str, blob: bytes) -> None:
        """Wait, fail or put."""
        self.puts += 1
        self.begun.set()
        self.through.wait()
        if self.full:
            raise RetryableError(self.full)
        self._fail()
        self._store.put(key, blob)

    def get(self, key: str) -> bytes | None:
        """Fail or get."""
        self._fail()
        if key in self.unreadable:
            raise RetryableError("cannot read: Input/output error")
        return self._store.get(key)

    def list(self, prefix: str) -> Sequence[str]:
        """Fail or list."""
        self._fail()
        return self._store.list(prefix)

    def delete(self, key: str) -> None:
        """Fail or delete."""
        self._fail()
        self._store.delete(key)

    def _fail(self) -> None:
        if self.failure:
            raise RetryableError(self.failure)


class Committed:
    """A pipeline as its source sees it, in a group that has committed an offset."""

    def __init__(self, owner: PartitionOwner, committed: int | None) -> None:
        self._owner = owner
        self._committed = committed

    async def assigned(self, source: PartitionId, committed: int | None, epoch: int, *, rereadable: bool = True) -> int | None:
        """As the owner says."""
        del committed
        return await self._owner.assigned(source, self._committed, epoch, rereadable=rereadable)

    async def revoked(self, source: PartitionId) -> None:
        """As the owner says."""
        await self._owner.revoked(source)


class Replica:
    """One process with a store of its own."""

    def __init__(self, path: Path, saved: CheckpointStore | None, settings: Config | None = None, folders: Folders = SHARED) -> None:
        settings = settings or config()
        ingestion = settings.ingestion
        self.metrics = Metrics()
        self.clock = ManualClock()
        self.store = EmbeddedStore(Embedded(), path / "sentinel.db")
        letters: ListSink[DeadLetter] = ListSink()
        rules = Rules(
            ingestion.parsing,
            ingestion.validation,
            Sanitizer(ingestion.parsing, ingestion.validation, settings.privacy, ingestion.dead_letters, b"k" * 32),
        )
        keeper = Checkpoints(saved, settings.detection, ingestion.dedupe.window_events, self.metrics, folders)
        self.pipeline = Pipeline(settings, rules, Sinks(self.store, letters), keeper, self.metrics, self.clock, ThreadPoolExecutor(1))

    async def __aenter__(self) -> Self:
        """Open the store."""
        await self.store.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the store."""
        await self.store.close()

    async def source(self, script: list[Any], committed: int | None = None) -> ScriptedSource:
        """A source with the whole log as its script, taken up where the group stands."""
        source = ScriptedSource(script, Committed(self.pipeline, committed), LOG)
        await source.open()
        return source

    async def read(self, script: list[Any], committed: int | None = None) -> ScriptedSource:
        """Walk the log from where the group stands."""
        source = await self.source(script, committed)
        await self.pipeline.run([source])
        return source

    @property
    def shard(self) -> Shard:
        """The state of the log."""
        return self.pipeline.shards[LOG]

    def count(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.metrics.registry.get_sample_value(f"sentinel_{name}", labels) or 0.0

    async def offsets(self) -> list[int]:
        """Of everything stored here, in order."""
        page = await self.store.telemetry(TelemetryQuery(range=EVER, limit=10_000))
        return sorted(row["offset"] for row in page.items)


def state_of(shard: Shard) -> dict[str, object]:
    """What rows bring back as well as the log does, bit for bit."""
    windows = {
        metric: [table.tobytes() for table in kept.export(len(shard.baselines.names))] for metric, kept in shard.baselines.windows.items()
    }
    return {
        "at": shard.next_offset,
        "names": shard.baselines.names,
        "windows": windows,
        "ids": shard.recent.export(),
        "seen": shard.watermark_ns,
    }
