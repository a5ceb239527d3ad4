"""The daemon: every part wired in one place, started in order, stopped in reverse."""

import asyncio
import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from sentinel.api.context import Context, Ingest
from sentinel.api.server import Server
from sentinel.app import state
from sentinel.app.alarms import SelfWatch, instance_of
from sentinel.app.alerts import Alerts, wanted
from sentinel.app.canary import Canaries, Perch
from sentinel.app.checkpoints import checkpoints_of, folders_of
from sentinel.app.clock import SystemClock
from sentinel.app.housekeeping import Housekeeping
from sentinel.app.perches import QueuePerch, TopicPerch
from sentinel.app.replicas import Group, shares
from sentinel.app.startup import Restores, Startup, Tell
from sentinel.app.stores import stores_of
from sentinel.config.schema import Config
from sentinel.core.batch import CleanBatch, PartitionId
from sentinel.core.canary import canary_key
from sentinel.core.delivery import Delivery
from sentinel.core.ports import Sink, Source
from sentinel.core.reject import DeadLetter
from sentinel.ingestion.dead_letter import FileDeadLetters, KafkaDeadLetters
from sentinel.ingestion.files import FileSource
from sentinel.ingestion.kafka import KafkaSource
from sentinel.ingestion.queue import HTTP_LOG, QueueSource
from sentinel.ingestion.relay import KafkaRelay
from sentinel.ingestion.sanitize import Sanitizer
from sentinel.observability.logs import get
from sentinel.observability.metrics import Metrics
from sentinel.pipeline.process import Rules, clean
from sentinel.pipeline.restore import Checkpoints
from sentinel.pipeline.run import Pipeline
from sentinel.pipeline.sinks import Sinks
from sentinel.pipeline.warm import load_kernels
from sentinel.state.alerts import Alerts as AlertRecords
from sentinel.state.database import StateDatabase
from sentinel.state.feedback import Feedback
from sentinel.state.key_cache import KeyCache
from sentinel.state.markers import Markers

log = get(__name__)


class Daemon:
    """One running Sentinel. The constructor wires and starts nothing; `start`, `serve`, `stop` follow in this order.

    Args:
        config: checked by the caller.
        wait_s: how long `start` waits for dependencies that are not there yet, in seconds.
        tell: told each step of the start.

    Raises StartupError from the constructor or `start` when something is missing, with place and cure.
    """

    def __init__(self, config: Config, wait_s: float = 0.0, tell: Tell = lambda _step: None) -> None:
        self.config = config
        self.metrics = Metrics()
        self.clock = SystemClock()
        self._startup = Startup(self.clock, wait_s, tell)
        where = state.places(config)
        state.prepare(where)
        ingestion, kafka = config.ingestion, config.ingestion.kafka
        self._key = state.pseudonym_key(config, where)
        self._cluster = state.local_cluster(config, where)
        self._rules = self._rules_of(config)
        self._worker = ThreadPoolExecutor(1, "sentinel-worker")
        self._stores = stores_of(config, where.database, self._worker, self._key, self.clock, self.metrics)
        self.store = self._stores.store
        self._dead_letters: Sink[DeadLetter] = (
            KafkaDeadLetters(kafka) if kafka else FileDeadLetters(where.dead_letters, ingestion.dead_letters.max_bytes)
        )
        self._state = StateDatabase(config.state, where.state / "state.db")
        self._keys = KeyCache(self._state, self.clock, self.metrics)
        self.alerts = Alerts(config, self._state, self.clock, self.metrics) if wanted(config.alerting) else None
        self._saved = checkpoints_of(config, where)
        self._folders = folders_of(config, where)
        checkpoints = self._checkpoints_of(config)
        self._canaries = self._canaries_of(config)
        sinks = Sinks(self.store, self._dead_letters, self.alerts, self._stores.shared_ids, self._canaries)
        self.pipeline = Pipeline(config, self._rules, sinks, checkpoints, self.metrics, self.clock, self._worker)
        self._restores = Restores(self.pipeline)
        self._kafka = KafkaSource(kafka, self._restores, self.clock, self.metrics) if kafka else None
        self._queue = self._queue_source()
        self._relay = self._kafka_relay()
        self.sources = self._all_sources()
        self._housekeeping = Housekeeping()
        self._told_to_stop = asyncio.Event()
        self._closed = False
        self.context = self._context()
        self._watch = self._self_watch() if config.alarms.enabled else None
        self.server = Server(self.context)
        self._group = Group(config, where, self._state, self.clock, self._doing) if shares(config) else None
        self.context.peers = self._group.peers if self._group is not None else None

    # ---------------------------------------------------------------------------------------------------------- wiring

    def _rules_of(self, config: Config) -> Rules:
        ingestion = config.ingestion
        sanitizer = Sanitizer(ingestion.parsing, ingestion.validation, config.privacy, ingestion.dead_letters, self._key)
        return Rules(ingestion.parsing, ingestion.validation, sanitizer, canary_key(self._key))

    def _checkpoints_of(self, config: Config) -> Checkpoints:
        return Checkpoints(self._saved, config.detection, config.ingestion.dedupe.window_events, self.metrics, self._folders)

    def _queue_source(self) -> QueueSource | None:
        ingestion = self.config.ingestion
        if self._kafka or not ingestion.http.enabled or ingestion.files.exit_at_end:
            return None
        return QueueSource(self.pipeline, self.clock, ingestion.http.queue_max_bytes, self._cluster)

    def _kafka_relay(self) -> KafkaRelay | None:
        ingestion = self.config.ingestion
        if ingestion.kafka is None or not ingestion.http.enabled:
            return None
        return KafkaRelay(ingestion.kafka, self._clean, self._dead_letters, self.clock, ingestion.http.queue_max_bytes)

    def _clean(self, delivery: Delivery) -> tuple[CleanBatch, list[DeadLetter], int]:
        """For the relay: what it dead-letters and finds is counted here, because the topic holds only what is clean."""
        cleaned = clean(delivery, self._rules)
        self.metrics.events_filtered.inc(cleaned.filtered)
        for letter in cleaned.dead_letters:
            self.metrics.dead_letters.labels(letter.code.value).inc()
            self.metrics.validation_failures.labels(letter.code.value).inc()
        for kind, count in cleaned.batch.findings.items():
            self.metrics.pii_redactions.labels(kind).inc(count)
        return cleaned.batch, cleaned.dead_letters, cleaned.filtered

    def _all_sources(self) -> Sequence[Source]:
        limit = self.config.ingestion.parsing.max_record_bytes
        files = [FileSource(path, self.pipeline, self.clock, limit, self._cluster) for path in self.config.ingestion.files.paths]
        return [source for source in (self._kafka, self._queue, *files) if source is not None]

    def _context(self) -> Context:
        ingest: Ingest | None = self._queue or self._relay
        return Context(
            config=self.config,
            mode="kafka" if self._kafka else "embedded",
            query=self._stores.query,
            counts=self.store.counts,
            pipeline=self.pipeline,
            metrics=self.metrics,
            clock=self.clock,
            ingest=ingest,
            faults=self._faults,
            events_per_s=self._housekeeping.events_per_s,
            started_ns=self.clock.now_ns(),
            alerts=AlertRecords(self._state),
            receivers=self.alerts.status if self.alerts is not None else list,
            keys=self._keys,
            commands=self.pipeline,
            feedback=Feedback(self._state),
            markers=Markers(self._state),
        )

    def _canaries_of(self, config: Config) -> Canaries | None:
        if not config.canary.enabled:
            return None
        limits = config.ingestion.validation
        latency_ms = min(max(1.0, limits.min_latency_ms), limits.max_latency_ms)
        outbox = self.alerts.canary_outbox() if self.alerts is not None else None
        return Canaries(config.canary, latency_ms, canary_key(self._key), outbox, instance_of(config), self.metrics, self.clock)

    def _perch(self) -> Perch | None:
        """Where canaries are let go; None where everything is read from files."""
        if self.config.ingestion.kafka is not None:
            return TopicPerch(self.config.ingestion.kafka)
        return QueuePerch(self._queue) if self._queue is not None else None

    def _canary_logs(self) -> list[PartitionId]:
        """The logs canaries are sent to: those of Kafka that are ours, or the queue."""
        kafka = self.config.ingestion.kafka
        topic = HTTP_LOG.topic if kafka is None else kafka.topic
        return [source for source in self.pipeline.shards if source.topic == topic]

    def _self_watch(self) -> SelfWatch:
        silent = self._canaries.silent if self._canaries is not None else list
        watch = SelfWatch(self.config, self.context, self.alerts, silent, lambda: self._restores.refused)
        self.context.alarms = watch.reasons
        return watch

    def _doing(self) -> tuple[list[PartitionId], int]:
        """What other replicas want to know of this one."""
        return list(self.pipeline.shards), self.server.port

    def _faults(self) -> list[str]:
        return [f"{partition}: {reason}" for partition, reason in self._kafka.faults.items()] if self._kafka else []

    # ------------------------------------------------------------------------------------------------------ life cycle

    async def start(self) -> None:
        """Open everything, sources last; ready afterwards. What was opened is closed again when something fails."""
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise

    async def _start(self) -> None:
        startup, kafka = self._startup, self._kafka
        await startup.step("opening the HTTP port", self.server.open)
        await startup.dependency("the state database", self._state)
        await startup.step("reading the API keys", self._keys.open)
        await startup.step("compiling the kernels", partial(asyncio.to_thread, load_kernels))
        if self._stores.redis is not None:
            await startup.step("preparing Redis", self._stores.redis.open)
        await startup.step("opening the store", self.store.open)
        if kafka is None:
            await startup.step("opening the dead letters", self._dead_letters.open)
        else:
            await startup.dependency("Kafka: the dead-letter topic", self._dead_letters)
        if self.alerts is not None:
            await startup.step("opening the outbox", self.alerts.open)
        if self._relay is not None:
            await startup.dependency("Kafka: the producer", self._relay)
        for source in self.sources:
            if source is kafka:
                await startup.dependency("Kafka: the consumer group", kafka)
            else:
                # It asks the store where to go on.
                await startup.dependency(type(source).__name__, source)
        if self._canaries is not None and (perch := self._perch()) is not None:
            await startup.step("sending canaries", partial(self._canaries.open, perch, self._canary_logs))
        if self._group is not None:
            await startup.step("finding the other replicas", self._group.open)
        self._housekeeping.start(self.context, self.store)
        if self._watch is not None:
            self._watch.start()
        self.context.started = True
        log.info("ready", mode=self.context.mode, address=self.config.api.bind_addr, port=self.server.port)

    async def serve(self) -> None:
        """Work until `stop` is called; with exit_at_end, until the sources end."""
        await self.pipeline.run(self.sources)
        if not self.config.ingestion.files.exit_at_end:
            await self._told_to_stop.wait()

    def stop(self) -> None:
        """Read nothing more; `serve` returns once what was read is safe, or the deadline has passed."""
        self.context.stopping = True
        self._told_to_stop.set()
        self.pipeline.stop()

    async def reconfigure_pipeline(self, config: Config) -> None:
        """Decode, sanitize, judge and save by another configuration from the next delivery on.

        Raises ValueError for rules that cannot be used; nothing has changed then.
        """
        rules = self._rules_of(config)
        await self.pipeline.reconfigure(config, rules, self._checkpoints_of(config))
        self._rules = rules

    def status(self) -> str:
        """What it is doing, in one line for people."""
        total = self.pipeline.ledger.total()
        stored = f"stored {total.stored} events, {self._housekeeping.events_per_s():.0f}/s, {total.in_flight} in flight"
        return "; ".join(part for part in (self._restores.status, *self.context.reasons(), stored) if part)

    async def close(self) -> None:
        """Close everything in reverse, whatever fails on the way; the last failure comes out. Twice is harmless."""
        self.context.stopping = True
        parts = [
            self._state,
            self._keys,
            self._stores.redis,
            self.store,
            self._stores.cache,
            self.alerts,
            self._dead_letters,
            self.server,
            self._housekeeping,
            self._relay,
            *self.sources,
            self._canaries,
            self._group,
            self._watch,
        ]
        async with contextlib.AsyncExitStack() as opened:
            opened.callback(self._worker.shutdown, wait=False)
            for part in parts:
                if part is not None:
                    opened.push_async_callback(part.close)
        if not self._closed:
            self._closed = True
            left = self.pipeline.ledger.total()
            log.info("stopped", stored=left.stored, in_flight=left.in_flight)
