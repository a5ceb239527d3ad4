"""Our membership in the consumer group: which partitions are ours, where each stands, and what may be committed.

The client calls the rebalance listener between joining and its first heartbeat, and swallows what it raises. So the listener only notes
what is ours and keeps it paused; state is restored by a task of its own, for as long as that takes.
"""

import asyncio
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from sentinel.config.schema import Kafka
from sentinel.core.batch import PartitionId
from sentinel.core.delivery import Delivery
from sentinel.core.ports import Clock, PartitionOwner
from sentinel.ingestion.gate import Gate
from sentinel.ingestion.kafka_assignment import Assignment, beyond
from sentinel.ingestion.kafka_client import START_LIMIT_S, Survey, bounds_of, client_options, is_member, starting, stop, survey
from sentinel.ingestion.kafka_outage import Outage
from sentinel.ingestion.kafka_records import as_parsed
from sentinel.observability.logs import get
from sentinel.observability.metrics import Metrics

ATTEND_EVERY_S: Final = 1.0
"""Commits are gathered for this long: a commit is one round trip, and the store knows the exact position anyway."""

ANSWER_LIMIT_S: Final = 3.0
"""Brokers that do not answer a small question within this are told as an outage."""

STOP_LIMIT_S: Final = 5.0
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 30.0
METADATA_MAX_AGE_MS: Final = 60_000
"""New partitions are noticed within this."""

log = get(__name__)


class Group(ConsumerRebalanceListener):
    """A member of the consumer group.

    Args:
        config: the `ingestion.kafka` section.
        owner: restores and forgets partition state.
        clock, metrics: time and counts.
        gate: shut while the source is paused.
    """

    def __init__(self, config: Kafka, owner: PartitionOwner, clock: Clock, metrics: Metrics, gate: Gate) -> None:
        self.consumer: AIOKafkaConsumer | None = None
        self.assignments: dict[TopicPartition, Assignment] = {}
        self._config = config
        self._owner = owner
        self._clock = clock
        self._metrics = metrics
        self._gate = gate
        self._survey = Survey("", 0, begun=False)
        self._epochs = 0
        self._outage = Outage(config.brokers, metrics)
        self._attending: asyncio.Task[None] | None = None
        self._committing = asyncio.Lock()
        self._restoring: asyncio.Task[None] | None = None

    @property
    def faults(self) -> dict[str, str]:
        """Why a partition of ours is paused, and why no broker answers; empty when all is well."""
        found = {str(assignment.source): assignment.fault for assignment in self.assignments.values() if assignment.fault is not None}
        return found if self._outage.reason is None else found | {"brokers": self._outage.reason}

    @property
    def is_stalled(self) -> bool:
        """Whether records wait at the brokers and the client does not move."""
        return any(assignment.is_stalled for assignment in self.assignments.values())

    def current(self, delivery: Delivery) -> Assignment | None:
        """The assignment a delivery belongs to, None when it has ended."""
        assignment = self.assignments.get(TopicPartition(delivery.source.topic, delivery.source.partition))
        return assignment if assignment is not None and assignment.epoch == delivery.epoch else None

    # ------------------------------------------------------------------------------------------------------- membership

    async def join(self) -> None:
        """Join the group. Raises StartupError."""
        config = self._config
        async with starting(config, START_LIMIT_S + config.rebalance_timeout_ms / 1e3):
            self._survey = await survey(config)
            self.consumer = AIOKafkaConsumer(
                group_id=config.group_id,
                group_instance_id=config.group_instance_id,
                session_timeout_ms=config.session_timeout_ms,
                heartbeat_interval_ms=max(config.session_timeout_ms // 3, 1),
                rebalance_timeout_ms=config.rebalance_timeout_ms,
                # The answer to a join may take the whole rebalance.
                request_timeout_ms=config.rebalance_timeout_ms + 10_000,
                metadata_max_age_ms=METADATA_MAX_AGE_MS,
                enable_auto_commit=False,
                auto_offset_reset="none",
                max_partition_fetch_bytes=config.fetch_max_bytes,
                value_deserializer=as_parsed,
                **client_options(config),
            )
            self.consumer.subscribe([config.topic], listener=self)
            await self.consumer.start()
        self._attending = asyncio.create_task(self._attend(), name="attend to the consumer group")

    async def leave(self) -> None:
        """Commit what is acked and leave, within bounds. Twice is harmless."""
        if self.consumer is None:
            return
        if self._attending is not None:
            self._attending.cancel()
            await asyncio.wait({self._attending})
        await self._end_tasks()
        await self.commit()
        consumer, self.consumer = self.consumer, None
        if not await stop(consumer, STOP_LIMIT_S):
            log.warning("did not leave the group in order; it will notice by the session timeout", group=self._config.group_id)

    async def rejoin(self) -> None:
        """Give everything up and join as a new member: the client has ended itself. Waits until it works."""
        delay_s = FIRST_RETRY_S
        while True:
            await self.leave()
            await self._give_up()
            try:
                await self.join()
            except Exception as error:  # noqa: BLE001  whatever it is, nothing else would bring the source back
                self._outage.begin(f"cannot join the group again: {error}")
                await self._clock.sleep(delay_s)
                delay_s = min(delay_s * 2, LAST_RETRY_S)
            else:
                return

    async def _attend(self) -> None:
        """Commit what was acked, and ask the brokers how far they are: it shows the lag, and whether they are there."""
        while True:
            await self._clock.sleep(ATTEND_EVERY_S)
            try:
                await self.commit()
                await self._look_at_ends()
            except Exception:
                log.exception("attending to the consumer group failed, will be tried again")

    async def _look_at_ends(self) -> None:
        consumer = self.consumer
        if consumer is None:
            return
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                ends = await consumer.end_offsets(list(self.assignments) or [TopicPartition(self._config.topic, 0)])
        except (TimeoutError, KafkaError) as error:
            self._outage.begin(_no_answer(error))
            return
        self._outage.end()
        for tp, end in ends.items():
            assignment = self.assignments.get(tp)
            if assignment is None or assignment.position is None:
                continue
            self._metrics.kafka_consumer_lag.labels(str(tp.partition)).set(max(0, end - assignment.position))
            # The client's own position also counts what it skips: control records and aborted transactions.
            behind = assignment.is_readable and self._gate.is_open and await consumer.position(tp) < end
            assignment.looked(behind=behind, end_at=None if behind or not self._gate.is_open else self._clock.monotonic())

    # ------------------------------------------------------------------------------------------------------------ commit

    async def commit(self) -> None:
        """Commit every moved watermark. What is refused or not confirmed in time stays due; it is no error of the records."""
        async with self._committing:
            consumer = self.consumer
            due = {tp: assignment.commit for tp, assignment in self.assignments.items() if assignment.commit is not None}
            if consumer is None or not due or not is_member(consumer):
                return
            try:
                async with asyncio.timeout(ANSWER_LIMIT_S):
                    await consumer.commit({tp: OffsetAndMetadata(offset, "") for tp, offset in due.items()})
            except (CommitFailedError, IllegalStateError) as error:
                log.warning("commit refused, the partitions are moving", error=repr(error))
                return
            except (TimeoutError, KafkaError) as error:
                self._outage.begin(f"commit: {_no_answer(error)}")
                return
            for tp, offset in due.items():
                assignment = self.assignments.get(tp)
                if assignment is not None and assignment.commit == offset:
                    assignment.commit = None

    # --------------------------------------------------------------------------------------------------------- ownership

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Everything is going: commit what is safe, drop the rest. The group waits for this."""
        del revoked  # the client knows only eager rebalances
        await self._end_tasks()
        await self.commit()
        await self._give_up()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Note what is ours and begin to restore it. The group waits for this, and nothing is read before it returns."""
        consumer = self.consumer
        if consumer is None:
            return
        for tp in sorted(assigned):
            consumer.pause(tp)
            consumer.seek(tp, 0)  # without a position the client would look for one by itself
            self._epochs += 1
            assignment = Assignment(tp, PartitionId(self._survey.cluster, tp.topic, tp.partition), self._epochs)
            self.assignments[tp] = assignment
            self._metrics.rebalances.labels("assigned").inc()
        self._restoring = asyncio.create_task(self._take_up(consumer, list(self.assignments.values())), name="restore partitions")

    async def _end_tasks(self) -> None:
        tasks = [task for task in (self._restoring, *(a.task for a in self.assignments.values())) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _give_up(self) -> None:
        """Forget all partitions. Work of theirs that is still under way is of an old epoch from here on."""
        given_up = list(self.assignments.values())
        self.assignments.clear()
        for assignment in given_up:
            self._metrics.rebalances.labels("revoked").inc()
            self._metrics.kafka_consumer_lag.remove(str(assignment.tp.partition))
            try:
                await self._owner.revoked(assignment.source)
            except Exception:
                log.exception("forgetting a partition's state failed", partition=str(assignment.source))

    async def _take_up(self, consumer: AIOKafkaConsumer, assignments: list[Assignment]) -> None:
        """Restore partitions one after the other and begin to read them; those that fail again and again until they work."""
        delay_s = FIRST_RETRY_S
        while assignments:
            assignments = await self._start_all(consumer, assignments)
            await self.commit()
            if assignments:
                await self._clock.sleep(delay_s)
                delay_s = min(delay_s * 2, LAST_RETRY_S)

    async def _start_all(self, consumer: AIOKafkaConsumer, assignments: list[Assignment]) -> list[Assignment]:
        """Those that could not be restored."""
        try:
            # Once for all, before any is read: the question would wait behind the client's long poll, half a second each time.
            bounds = await bounds_of(consumer, [assignment.tp for assignment in assignments])
        except (KafkaError, TimeoutError) as error:
            for assignment in assignments:
                self.pause_for(assignment, f"state not restored: the brokers do not tell the log's bounds: {error!r}")
            return assignments
        failed = []
        for assignment in assignments:
            try:
                await self._start(consumer, assignment, *bounds[assignment.tp])
            except Exception as error:  # noqa: BLE001  the partition must not be read without its state, whatever the reason
                self.pause_for(assignment, f"state not restored: {str(error) or type(error).__name__}")
                failed.append(assignment)
        return failed

    async def _start(self, consumer: AIOKafkaConsumer, assignment: Assignment, first: int, end: int) -> None:
        async with asyncio.timeout(START_LIMIT_S):
            committed = await consumer.committed(assignment.tp)
        start = await self._owner.assigned(assignment.source, committed, assignment.epoch)
        if start is None:
            start = self._first_position(assignment.tp, first, end)
        if start > end:
            self.pause_for(assignment, beyond(start, end))
            return
        if start < first:
            self.count_gap(assignment, start, first)
            start = first
        # Committed at once, so that "latest" is decided once in a group's life.
        assignment.commit = start if committed is None or committed < start else None
        if committed is None:
            # Before anything is read: a log that was never committed counts as new, and a crash would have its alerts counted again.
            await self.commit()
        self.read_from(consumer, assignment, start)

    def _first_position(self, tp: TopicPartition, first: int, end: int) -> int:
        """Where a partition starts that the group never committed. One that was added to the topic later starts at its first record."""
        is_new = self._survey.begun or tp.partition >= self._survey.partitions
        policy = "earliest" if is_new else self._config.auto_offset_reset
        start = end if policy == "latest" else first
        log.info("the group starts here", partition=f"{tp.topic}/{tp.partition}", offset=start, policy=policy, partition_is_new=is_new)
        return start

    def read_from(self, consumer: AIOKafkaConsumer, assignment: Assignment, offset: int) -> None:
        """Go on reading a partition at an offset, or once the gate is open."""
        assignment.fault, assignment.position = None, offset
        consumer.seek(assignment.tp, offset)
        if self._gate.is_open:
            consumer.resume(assignment.tp)

    def pause_for(self, assignment: Assignment, reason: str) -> None:
        """Keep a partition that cannot be read: paused and told, never answered by a reset to `latest`."""
        assignment.fault = reason
        if self.consumer is not None and self.assignments.get(assignment.tp) is assignment:
            self.consumer.pause(assignment.tp)
        self._metrics.kafka_consumption_errors.inc()
        log.error("partition paused", partition=str(assignment.source), reason=reason)

    def count_gap(self, assignment: Assignment, start: int, first: int) -> None:
        """The records [start, first) were deleted before they could be read."""
        self._metrics.kafka_offset_gap.inc(first - start)
        log.error(
            "records were deleted before they could be read",
            partition=str(assignment.source),
            from_offset=start,
            to_offset=first,
            records=first - start,
        )


def _no_answer(error: Exception) -> str:
    return f"no answer within {ANSWER_LIMIT_S:g} s" if isinstance(error, TimeoutError) else repr(error)
