"""The Kafka source: a consumer group member that commits only behind the contiguous watermark."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, OffsetOutOfRangeError
from aiokafka.structs import OffsetAndMetadata

from sentinel.config.schema import Kafka
from sentinel.core.batch import Delivery, PartitionId
from sentinel.core.ports import Clock, Outcome, PartitionOwner
from sentinel.ingestion.gate import Gate
from sentinel.ingestion.kafka_client import client_options, require_topic, starting
from sentinel.ingestion.offsets import Watermark
from sentinel.observability.logs import get
from sentinel.observability.metrics import Metrics

POLL_MS = 500
"""How long one poll waits for records; also how soon a pause or a stop is noticed."""

COMMIT_EVERY_S = 1.0
"""Commits are gathered for this long: a commit is one round trip, and the store knows the exact position anyway."""

log = get(__name__)


@dataclass(slots=True)
class Assignment:
    """One partition while it is ours."""

    source: PartitionId
    epoch: int
    watermark: Watermark = field(default_factory=Watermark)
    commit: int | None = None
    """The offset to commit next; None when all is committed."""


Gathered = dict[TopicPartition, tuple[Assignment, list[ConsumerRecord]]]


Gathered = dict[TopicPartition, tuple[Assignment, list[ConsumerRecord]]]


class KafkaSource:
    """A `Source` on one topic of a consumer group.

    Args:
        config: the `ingestion.kafka` section.
        owner: restores and forgets partition state on rebalances.
        clock: stamps deliveries.
        metrics: counts.
    """

    def __init__(self, config: Kafka, owner: PartitionOwner, clock: Clock, metrics: Metrics) -> None:
        self._config = config
        self._owner = owner
        self._clock = clock
        self._metrics = metrics
        self._consumer: AIOKafkaConsumer | None = None
        self._assignments: dict[TopicPartition, Assignment] = {}
        self._epochs = 0
        self._cluster = ""
        self._ready: deque[Delivery] = deque()
        self._gate = Gate()
        self._committed_at = clock.monotonic()
        self.faults: dict[str, str] = {}
        """Why a partition is paused although it is ours, by partition; empty when all is well."""

    # ------------------------------------------------------------------------------------------------------- life cycle

    async def open(self) -> None:
        """Join the group. Raises StartupError when no broker answers or the topic is missing, with the command that creates it."""
        config = self._config
        async with starting(config):
            self._cluster = await require_topic(config, config.topic)
            self._consumer = AIOKafkaConsumer(
                group_id=config.group_id,
                group_instance_id=config.group_instance_id,
                session_timeout_ms=config.session_timeout_ms,
                heartbeat_interval_ms=max(config.session_timeout_ms // 3, 1),
                rebalance_timeout_ms=config.rebalance_timeout_ms,
                enable_auto_commit=False,
                auto_offset_reset="none",
                max_partition_fetch_bytes=config.fetch_max_bytes,
                max_poll_records=config.max_poll_records,
                **client_options(config),
            )
            self._consumer.subscribe([config.topic], listener=Rebalance(self))
            await self._consumer.start()

    async def close(self) -> None:
        """Commit what is acked and leave the group."""
        if self._consumer is None:
            return
        consumer, self._consumer = self._consumer, None
        await self._commit(consumer)
        await consumer.stop()

    def pause(self) -> None:
        """Hand over nothing and let the brokers keep the records; heartbeats and polls go on."""
        self._gate.shut()
        if self._consumer is not None:
            self._consumer.pause(*self._assignments)

    def resume(self) -> None:
        """Hand over records again, except of partitions with a fault."""
        if self._consumer is not None:
            self._consumer.resume(*(tp for tp, assignment in self._assignments.items() if str(assignment.source) not in self.faults))
        self._gate.lift()

    # ------------------------------------------------------------------------------------------------------- read, ack

    async def read(self) -> Delivery | None:
        """The next delivery of one partition."""
        consumer = self._consumer
        while consumer is not None:
            if self._ready and self._gate.is_open:
                delivery = self._ready.popleft()
                assignment = self._current(delivery)
                if assignment is not None:
                    assignment.watermark.opened(int(delivery.offsets[0]), delivery.next_offset)
                    return delivery
                continue
            await self._poll(consumer)
            await self._commit_if_due(consumer)
        return None

    async def _poll(self, consumer: AIOKafkaConsumer) -> None:
        """One round: records of all partitions, lingering a little for more when there are few."""
        gathered: Gathered = {}
        missing = self._config.max_poll_records - await self._gather(consumer, gathered, POLL_MS, self._config.max_poll_records)
        if gathered and missing > 0 and self._config.linger_ms > 0:
            await self._clock.sleep(self._config.linger_ms / 1e3)
            await self._gather(consumer, gathered, 0, missing)
        received_ns = self._clock.now_ns()
        for tp, (assignment, batch) in gathered.items():
            if self._assignments.get(tp) is assignment:
                self._ready.append(self._delivery(assignment, batch, received_ns))
                self._note_lag(consumer, tp, batch[-1].offset)

    async def _gather(self, consumer: AIOKafkaConsumer, gathered: Gathered, timeout_ms: int, limit: int) -> int:
        """Add what the client has now to what was gathered; returns how many records that were.

        Records are matched with their assignment at the very moment the client hands them over: a partition that is not ours yet is
        still being restored, and its records are read again after the seek.
        """
        records = await self._getmany(consumer, timeout_ms, limit)
        for tp, batch in records.items():
            assignment = self._assignments.get(tp)
            if assignment is None or not batch:
                continue
            holder, gathered_batch = gathered.get(tp, (assignment, []))
            gathered[tp] = (assignment, [*gathered_batch, *batch] if holder is assignment else batch)
        return sum(map(len, records.values()))

    async def _getmany(self, consumer: AIOKafkaConsumer, timeout_ms: int, limit: int) -> dict[TopicPartition, list[ConsumerRecord]]:
        """What the client has, within the time; nothing when it failed, which is told and waited for."""
        try:
            return await consumer.getmany(timeout_ms=timeout_ms, max_records=limit)
        except OffsetOutOfRangeError as error:
            await self._skip_gap(consumer, error)
        except KafkaError as error:
            # The client reconnects by itself; without a wait a broken connection would spin.
            self._metrics.kafka_consumption_errors.inc()
            log.warning("reading from Kafka failed, will go on", error=repr(error))
            await self._clock.sleep(1.0)
        return {}

    def _delivery(self, assignment: Assignment, batch: Sequence[ConsumerRecord], received_ns: int) -> Delivery:
        values = [record.value for record in batch]
        self._metrics.kafka_messages_consumed.inc(len(values))
        return Delivery(
            source=assignment.source,
            records=values,
            offsets=np.fromiter((record.offset for record in batch), np.int64, len(batch)),
            timestamps_ns=np.fromiter((record.timestamp for record in batch), np.int64, len(batch)) * 1_000_000,
            received_ns=received_ns,
            epoch=assignment.epoch,
            size_bytes=sum(len(value) for value in values if value is not None),
        )

    async def ack(self, delivery: Delivery, outcome: Outcome) -> None:
        """Move the partition's watermark; the commit follows within a second. An old epoch's ack changes nothing."""
        del outcome
        assignment = self._current(delivery)
        if assignment is None:
            return
        end = assignment.watermark.settled(int(delivery.offsets[0]))
        if end is not None:
            assignment.commit = end
        if self._consumer is not None:
            await self._commit_if_due(self._consumer)

    def _current(self, delivery: Delivery) -> Assignment | None:
        """The assignment a delivery belongs to, None when it has ended."""
        assignment = self._assignments.get(TopicPartition(delivery.source.topic, delivery.source.partition))
        return assignment if assignment is not None and assignment.epoch == delivery.epoch else None

    async def _commit_if_due(self, consumer: AIOKafkaConsumer) -> None:
        if self._clock.monotonic() - self._committed_at >= COMMIT_EVERY_S:
            await self._commit(consumer)

    async def _commit(self, consumer: AIOKafkaConsumer) -> None:
        """Commit every moved watermark. A refused commit is not an error of the data: its records are read again by the new owner."""
        self._committed_at = self._clock.monotonic()
        due = {tp: assignment.commit for tp, assignment in self._assignments.items() if assignment.commit is not None}
        if not due:
            return
        try:
            await consumer.commit({tp: OffsetAndMetadata(offset, "") for tp, offset in due.items()})
        except (CommitFailedError, IllegalStateError) as error:
            log.warning("commit refused, the partitions have moved", error=repr(error))
            return
        except KafkaError as error:
            self._metrics.kafka_consumption_errors.inc()
            log.warning("commit failed, will be repeated", error=repr(error))
            return
        for tp, offset in due.items():
            assignment = self._assignments.get(tp)
            if assignment is not None and assignment.commit == offset:
                assignment.commit = None

    # ------------------------------------------------------------------------------------------------------- ownership

    async def assigned(self, tp: TopicPartition) -> None:
        """A partition is ours: restore its state and seek. On any failure it stays paused with its reason in `faults`."""
        consumer = self._consumer
        if consumer is None:
            return
        # The client fetches from the committed offset while this callback still restores: nothing may be handed over before the seek.
        consumer.pause(tp)
        self._epochs += 1
        assignment = Assignment(PartitionId(self._cluster, tp.topic, tp.partition), self._epochs)
        self._metrics.rebalances.labels("assigned").inc()
        try:
            await self._start(consumer, tp, assignment)
        except Exception as error:  # noqa: BLE001  aiokafka swallows what a listener raises: a failed restore must not read on
            self._fault(consumer, tp, assignment, f"state not restored: {error}")
        self._assignments[tp] = assignment

    async def _start(self, consumer: AIOKafkaConsumer, tp: TopicPartition, assignment: Assignment) -> None:
        committed = await consumer.committed(tp)
        start = await self._owner.assigned(assignment.source, committed, assignment.epoch)
        first = (await consumer.beginning_offsets([tp]))[tp]
        end = (await consumer.end_offsets([tp]))[tp]
        if start is None:
            start = end if self._config.auto_offset_reset == "latest" else first
            log.info("the group starts here", partition=str(assignment.source), offset=start, policy=self._config.auto_offset_reset)
        if start > end:
            reason = f"position {start} is beyond the end {end}: was the topic made anew? Use another state_dir."
            self._fault(consumer, tp, assignment, reason)
            return
        if start < first:
            self._gap(assignment, start, first)
            start = first
        consumer.seek(tp, start)
        # Committed at once, so that "latest" is decided once in a group's life.
        assignment.commit = start if committed is None or committed < start else None
        if self._gate.is_open:
            consumer.resume(tp)

    async def revoked(self, tp: TopicPartition) -> None:
        """A partition is going: commit what is safe, drop the rest."""
        if self._consumer is not None:
            await self._commit(self._consumer)
        assignment = self._assignments.pop(tp, None)
        if assignment is not None:
            self.faults.pop(str(assignment.source), None)
            self._metrics.rebalances.labels("revoked").inc()
            await self._owner.revoked(assignment.source)

    async def _skip_gap(self, consumer: AIOKafkaConsumer, error: OffsetOutOfRangeError) -> None:
        """Records were deleted before they could be read: say how many, go on at the first that is left."""
        for tp, offset in error.args[0].items():
            first = (await consumer.beginning_offsets([tp]))[tp]
            if tp in self._assignments:
                self._gap(self._assignments[tp], offset, first)
            consumer.seek(tp, first)

    def _gap(self, assignment: Assignment, start: int, first: int) -> None:
        self._metrics.kafka_offset_gap.inc(max(0, first - start))
        log.error("records were deleted before they could be read", partition=str(assignment.source), from_offset=start, to_offset=first)

    def _fault(self, consumer: AIOKafkaConsumer, tp: TopicPartition, assignment: Assignment, reason: str) -> None:
        """Keep a partition that cannot be read: paused, told, and never answered by a reset to `latest`."""
        consumer.pause(tp)
        consumer.seek(tp, 0)  # a position is needed, or the client would look for one by itself
        self.faults[str(assignment.source)] = reason
        self._metrics.kafka_consumption_errors.inc()
        log.error("partition paused", partition=str(assignment.source), reason=reason)

    def _note_lag(self, consumer: AIOKafkaConsumer, tp: TopicPartition, last: int) -> None:
        end = consumer.highwater(tp)
        if end is not None:
            self._metrics.kafka_consumer_lag.labels(str(tp.partition)).set(max(0, end - last - 1))


class Rebalance(ConsumerRebalanceListener):
    """Passes rebalances on, partition by partition."""

    def __init__(self, source: KafkaSource) -> None:
        self._source = source

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """The group waits for this."""
        for tp in sorted(revoked):
            await self._source.revoked(tp)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """The group waits for this."""
        for tp in sorted(assigned):
            await self._source.assigned(tp)
