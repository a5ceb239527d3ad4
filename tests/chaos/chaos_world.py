"""One world: replicas of the daemon as processes, on servers they share, under traffic of which everything is known afterwards."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import chaos_traffic
from chaos_oracle import Outcome, Verdict, by_plain_reading, by_the_product, state_in
from chaos_replica import Replica
from chaos_topic import Commits, Log, cluster_of, dead_letters, dump, watched
from fault_alerts import StateRows
from fault_points import FaultyPoints
from fault_queue import Queue
from fault_traffic import until
from fault_watch import look
from infrastructure import ANOMALIES, TELEMETRY, Servers
from simulated_oracle import LEAST, QUIET_NS, WINDOW

from sentinel.config.loader import load
from sentinel.core.batch import PartitionId
from sentinel.core.errors import SnapshotError
from sentinel.storage.checkpoints import DirectoryCheckpoints
from sentinel.testing.profiles import Fleet

PARTITIONS = 12
RATE = float(os.environ.get("CHAOS_RATE", "1000"))
"""Events a second."""
SAVE_EVERY_S = 3.0
DETECTION: dict[str, Any] = {
    "enabled_detectors": ["zscore"],
    "baseline": {
        "window_size": WINDOW,
        "min_samples": LEAST,
        "metrics": ["latency_ms"],
        "update_interval_secs": SAVE_EVERY_S,
        "max_series": 100,
        "active_series": 100,
    },
    "zscore": {"metrics": ["latency_ms"]},
    "ticks": {"enabled": False},
    "drift": {"enabled": False},
    "abuse": {"enabled": False},
    "leaks": {"enabled": False},
}
"""The one detector that the plain reader knows."""


@dataclass
class World:
    """See the module. Coroutines may be awaited while traffic flows.

    Attributes:
        replicas: processes, running or not.
        seed: of traffic and of whatever a scenario does at random.
        direct, database: brokers and state database as the harness reaches them, whatever stands between them and the replicas.
    """

    servers: Servers
    points: FaultyPoints
    queue: Queue
    direct: str
    database: str
    seed: int
    commits: Commits
    settings: dict[str, Any]
    static: bool = True
    replicas: list[Replica] = field(default_factory=list)
    sent: int = 0

    def add(self, count: int, instance: str | None = None) -> None:
        """Make further replicas; none starts yet."""
        for _ in range(count):
            number = len(self.replicas)
            directory = self.servers.directory / f"replica-{number}"
            directory.mkdir()
            settings = dict(self.settings)
            if self.static:
                kafka = settings["ingestion"]["kafka"] | {"group_instance_id": instance or f"replica-{number}"}
                settings |= {"ingestion": {"kafka": kafka}}
            self.replicas.append(Replica(directory, settings))

    async def start(self, *replicas: Replica) -> None:
        """Start replicas, all when none is named, and wait until each is ready."""
        chosen = replicas or self.replicas
        for replica in chosen:
            replica.start()
        await self.ready(*chosen)

    async def ready(self, *replicas: Replica) -> None:
        """Wait until each is ready."""
        for replica in replicas or self.replicas:
            await asyncio.to_thread(replica.wait_ready)

    @asynccontextmanager
    async def traffic(self, fleet: Fleet = chaos_traffic.FLEET, rate: float = RATE) -> AsyncIterator[chaos_traffic.Spoiled]:
        """Events while the block runs."""
        async with chaos_traffic.flowing(self.direct, self.servers.topic, rate=rate, seed=self.seed, fleet=fleet) as spoiled:
            yield spoiled
        self.sent += spoiled.sent

    async def flows(self, records: int = 200) -> None:
        """Wait until so many more records are committed."""
        before = sum(self.commits.latest.values())
        await until(lambda: sum(self.commits.latest.values()) >= before + records, "records are committed")

    def reasons(self, replica: Replica) -> list[str]:
        """Why a replica is not ready."""
        return look(replica).reasons

    async def drained(self, within_s: float = 180.0) -> None:
        """Wait until everything is committed and everybody is told."""
        log = await dump(self.direct, self.servers.topic)
        ends = {partition: messages[-1].offset + 1 for partition, messages in log.items() if messages}
        try:
            await until(lambda: {p: self.commits.latest.get(p) for p in ends} == ends, "everything is committed", within_s)
            await until(lambda: asyncio.to_thread(self._settled, set(ends)), "every partition has its owner", within_s)
            rows = self.rows()
            await until(lambda: asyncio.to_thread(lambda: not rows.waiting()), "everybody is told", within_s)
        except AssertionError as error:
            logs = "\n".join(f"{replica.file.parent.name} (running: {replica.running}):\n{replica.log()}" for replica in self.replicas)
            raise AssertionError(f"{error}: {self.commits.latest} of {ends}\n{logs}") from None

    def _settled(self, partitions: set[int]) -> bool:
        """Whether each partition is read by one replica, and all of them were handed out."""
        owned = [partition for replica in self.replicas for partition in replica.owned()]
        return len(owned) == len(set(owned)) and partitions <= set(owned)

    def rows(self) -> StateRows:
        """The state database, seen from beside."""
        return StateRows(self.database.replace("postgresql://", "postgresql+psycopg://"))

    async def stop(self) -> list[int]:
        """SIGTERM to all that run; their exit codes."""
        running = [replica for replica in self.replicas if replica.running]
        for replica in running:
            replica.terminate()
        return [await asyncio.to_thread(replica.ended) for replica in running]

    def close(self) -> None:
        """End every process, whatever state it is in."""
        for replica in self.replicas:
            if replica.running:
                replica.kill()

    # -------------------------------------------------------------------------------------------------------- examining

    async def verdict(self, before: Log | None = None) -> Verdict:
        """Drain, stop, and hold everything that is anywhere against both oracles.

        Args:
            before: records that are gone from the topic since they were read.
        """
        await self.ready(*(replica for replica in self.replicas if replica.running))
        await self.drained()
        codes = await self.stop()
        assert set(codes) == {0}, codes
        log, cluster, config = await dump(self.direct, self.servers.topic), await cluster_of(self.direct), self._config()
        for partition, messages in (before or {}).items():
            log[partition] = [*messages, *log[partition]]
        plain = await asyncio.to_thread(by_plain_reading, cluster, self.servers.topic, log)
        product = await asyncio.to_thread(by_the_product, cluster, self.servers.topic, log, config)
        wrong = [f"the two oracles disagree: {text}" for text in plain.differences(product)]
        letters = await dead_letters(self.direct, f"{self.servers.topic}.dlq")
        published = await self.queue.message_ids()
        found = await asyncio.to_thread(self._found, cluster, log, config)
        found.letters = {(partition, offset): code for partition, offset, code in letters}
        found.notifications = set(published)
        wrong += product.differences(found)
        wrong += [f"a commit went back: {regression}" for regression in self.commits.regressions]
        records = sum(map(len, log.values()))
        return Verdict(wrong, records, product, letters.total() - len(letters), len(published) - len(set(published)))

    def _config(self) -> Any:
        return load(self.replicas[0].file, {}).config

    def _found(self, cluster: str, log: Log, config: Any) -> Outcome:
        outcome = Outcome()
        sql = 'SELECT "partition", "offset", event_id, service, latency_ms FROM llm_telemetry'
        for row in self.points.ask(TELEMETRY, sql):
            place = int(row["partition"].rpartition("/")[2]), row["offset"]
            assert place not in outcome.rows, f"{place} is stored twice"
            outcome.rows[place] = (row["event_id"], row["service"], row["latency_ms"])
        outcome.anomalies = dict(Counter(row["id"] for row in self.points.ask(ANOMALIES, "SELECT id FROM llm_anomalies")))
        outcome.alerts = {row[0]: (row[1], row[2]) for row in self.rows().ask("SELECT alert_id, count, severity FROM alerts")}
        ends = {partition: messages[-1].offset + 1 if messages else 0 for partition, messages in log.items()}
        outcome.states = self.states(cluster, ends, config)
        return outcome

    def states(self, cluster: str, ends: dict[int, int], config: Any) -> dict[int, dict[str, object]]:
        """From the checkpoints that stand at the end of the log."""
        states: dict[int, dict[str, object]] = {}
        kept = DirectoryCheckpoints(Path(config.detection.baseline.persistence_path))
        for key in kept.list(""):
            partition, offset = int(key.split("/")[-2]), int(key.rpartition("/")[2].partition("-")[0])
            if offset == ends[partition] and (blob := kept.get(key)) is not None:
                source = PartitionId(cluster, self.servers.topic, partition)
                try:
                    states[partition] = state_in(blob, source, config, offset)
                except SnapshotError as error:
                    states[partition] = {"unreadable": str(error)}
        return states

    def positions(self) -> dict[int, int]:
        """By partition, up to where the store has everything."""
        sql = 'SELECT "partition", max(next_offset) AS next_offset FROM sentinel_positions GROUP BY "partition"'
        return {int(row["partition"].rpartition("/")[2]): row["next_offset"] for row in self.points.ask(TELEMETRY, sql)}


def settings_of(servers: Servers, section: Callable[..., dict[str, Any]], **kafka: Any) -> dict[str, Any]:
    """The configuration that all replicas share."""
    made = servers.configuration(
        rabbitmq=section(timeout_secs=5.0, retry_config={"max_attempts": 100, "initial_delay_ms": 100, "max_delay_ms": 1_000}),
        event_anomalies=True,
        costly_event_usd=None,
        deduplication={"window_secs": QUIET_NS / 1e9},
    )
    made["ingestion"]["kafka"] |= {"max_poll_records": 500, **kafka}
    made["ingestion"]["http"] = {"enabled": False}
    saved = {"persistence_path": str(servers.directory / "checkpoints")}
    made["detection"] = DETECTION | {"baseline": DETECTION["baseline"] | saved}
    made["alarms"] = {"enabled": False}  # what the daemon tells of itself is in no log
    return made


def port_of(url: str) -> int:
    """Of an address."""
    port = urlsplit(url if "//" in url else f"//{url}").port
    assert port is not None
    return port


@asynccontextmanager
async def world(
    servers: Servers,
    points: FaultyPoints,
    queue: Queue,
    *,
    seed: int,
    static: bool = True,
    replicas: int = 3,
    direct: str | None = None,
    database: str | None = None,
    section: Callable[..., dict[str, Any]] | None = None,
    **kafka: Any,
) -> AsyncIterator[World]:
    """A world for a block; nothing of it runs afterwards.

    Args:
        servers: as the replicas reach them.
        points: the store, as the harness reaches it.
        queue: gets every alert.
        seed: of everything that is random.
        static: whether replicas are static members of their group.
        replicas: how many there are at first.
        direct: brokers as the harness reaches them, where the replicas reach them in another way.
        database: the state database likewise.
        section: of the configuration, RabbitMQ as the replicas reach it.
        kafka: of the section `ingestion.kafka`.
    """
    await queue.bind()
    bootstrap = direct or servers.brokers
    async with watched(bootstrap, servers.topic) as commits:
        settings = settings_of(servers, section or queue.section, **kafka)
        made = World(servers, points, queue, bootstrap, database or servers.postgres, seed, commits, settings, static)
        made.add(replicas)
        try:
            yield made
        finally:
            made.close()
