"""The Kafka source: a consumer group member that commits only behind the contiguous watermark."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Final

import numpy as np
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError, OffsetOutOfRangeError, UnsupportedCodecError

from sentinel.config.schema import Kafka
from sentinel.core.batch import PartitionId
from sentinel.core.delivery import Delivery, weight_bytes
from sentinel.core.ports import Clock, Outcome, PartitionOwner
from sentinel.ingestion.gate import Gate
from sentinel.ingestion.kafka_assignment import Assignment, beyond
from sentinel.ingestion.kafka_client import bounds_of
from sentinel.ingestion.kafka_group import Group
from sentinel.observability.logs import get
from sentinel.observability.metrics import Metrics

POLL_MS: Final = 500
"""How long one poll waits for records; also how soon a stop is noticed."""
ANSWER_MS: Final = 2
"""How long to wait for an answer of a broker that has records already."""
ROUND_DELIVERIES: Final = 4
"""Full deliveries that one round may bring, all partitions together."""

RETRY_AFTER_S: Final = 1.0
UNREADABLE_RETRY_S: Final = 30.0

Taken = Mapping[TopicPartition, Sequence[ConsumerRecord]]

_VALUE, _TIMESTAMP, _OFFSET = attrgetter("value"), attrgetter("timestamp"), attrgetter("offset")

log = get(__name__)


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
        self._clock = clock
        self._metrics = metrics
        self._gate = Gate()
        self._group = Group(config, owner, clock, metrics, self._gate)
        self._held: dict[int, tuple[Assignment, list[ConsumerRecord]]] = {}
        """Records taken from the client and not yet in a delivery, by epoch: a cancelled `read` loses none."""
        self._waiting: set[int] = set()
        """Epochs whose held records have waited for more once."""
        self._ready: deque[Delivery] = deque()
        self._rejoined_at: float | None = None

    @property
    def faults(self) -> dict[str, str]:
        """Why a partition of ours is paused, and why no broker answers; empty when all is well."""
        return self._group.faults

    # ------------------------------------------------------------------------------------------------------- life cycle

    async def open(self) -> None:
        """Join the group. Raises StartupError when no broker answers or the topic is missing, with the command that creates it."""
        await self._group.join()

    async def close(self) -> None:
        """Commit what is acked and leave the group."""
        await self._group.leave()

    def pause(self) -> None:
        """Hand over nothing and let the brokers keep the records; heartbeats and polls go on."""
        self._gate.shut()
        if self._group.consumer is not None:
            self._group.consumer.pause(*self._group.assignments)

    def resume(self) -> None:
        """Hand over records again, except of partitions with a fault."""
        self._gate.lift()
        if self._group.consumer is not None:
            self._group.consumer.resume(*(assignment.tp for assignment in self._readable()))

    # ------------------------------------------------------------------------------------------------------- read, ack

    async def read(self) -> Delivery | None:
        """The next delivery of one partition."""
        while (consumer := self._group.consumer) is not None:
            if (delivery := self.ready()) is not None:
                return delivery
            await self._poll(consumer)
        return None

    def ready(self) -> Delivery | None:
        """A further delivery of the same round."""
        while self._ready and self._gate.is_open:
            delivery = self._ready.popleft()
            if self._group.current(delivery) is not None:
                return delivery
        return None

    def caught_up(self) -> Sequence[PartitionId]:
        """Partitions whose end, as the brokers told it seconds ago, was behind what has been handed over."""
        waiting = {delivery.epoch for delivery in self._ready} | self._held.keys()
        now_s = self._clock.monotonic()
        return [assignment.source for assignment in self._readable() if assignment.epoch not in waiting and assignment.at_end(now_s)]

    async def ack(self, delivery: Delivery, outcome: Outcome) -> None:
        """Move the partition's watermark; the commit follows within about a second. An old epoch's ack changes nothing."""
        del outcome
        assignment = self._group.current(delivery)
        if assignment is None:
            return
        end = assignment.watermark.settled(int(delivery.offsets[0]))
        if end is not None:
            assignment.commit = end

    async def _poll(self, consumer: AIOKafkaConsumer) -> None:
        """One round: records of all partitions, lingering a little for more when there are few. Goes on while paused: polls show life."""
        if not self._gate.is_open:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_MS / 1e3):
                    await self._gate.passage()
        await self._take(consumer, POLL_MS if self._gate.is_open and not self._held else 0)
        fullest = max((len(records) for _, records in self._held.values()), default=0)
        if self._config.linger_ms > 0 and 0 < fullest < self._config.max_poll_records:
            await self._clock.sleep(self._config.linger_ms / 1e3)
            await self._take(consumer, 0)
            # The client asks for more of a partition once it has given all it had: what came meanwhile is one answer away.
            await self._take(consumer, ANSWER_MS)
        if self._held:
            self._release(everything=fullest < self._config.max_poll_records)
        elif self._group.is_stalled and not self._rejoined_lately():
            log.error("the Kafka client does not move although there are records, will join anew")
            await self._rejoin()

    async def _take(self, consumer: AIOKafkaConsumer, timeout_ms: int) -> None:
        room = ROUND_DELIVERIES * self._config.max_poll_records - sum(len(records) for _, records in self._held.values())
        if room <= 0:
            return
        try:
            taken = await consumer.getmany(timeout_ms=timeout_ms, max_records=room)
        except ConsumerStoppedError:
            return
        except OffsetOutOfRangeError as error:
            await self._out_of_range(consumer, error)
        except Exception as error:  # noqa: BLE001  decompression raises whatever its library does; the cause is looked for
            await self._find_unreadable(consumer, error)
        else:
            self._hold(taken)

    def _hold(self, taken: Taken) -> None:
        """Keep records under the epoch they were taken in. No await lies between the client and here, so it is the right one."""
        for tp, records in taken.items():
            assignment = self._group.assignments.get(tp)
            if assignment is not None and assignment.is_readable and records:
                assignment.position = records[-1].offset + 1
                self._held.setdefault(assignment.epoch, (assignment, []))[1].extend(records)

    def _release(self, *, everything: bool) -> None:
        """Make deliveries of what is held; what is of an old epoch is dropped, its partition's next owner reads it.

        Behind full deliveries, what does not fill one waits for more, but not a second time: small deliveries cost more a record.
        """
        received_ns, most = self._clock.now_ns(), self._config.max_poll_records
        for epoch, (assignment, records) in list(self._held.items()):
            if self._group.assignments.get(assignment.tp) is not assignment:
                del self._held[epoch]
                self._waiting.discard(epoch)
                continue
            whole = everything or epoch in self._waiting
            end = len(records) if whole else len(records) - len(records) % most
            for start in range(0, end, most):
                delivery = self._delivery(assignment, records[start : min(start + most, end)], received_ns)
                assignment.watermark.opened(int(delivery.offsets[0]), delivery.next_offset)
                self._ready.append(delivery)
            if end == len(records):
                del self._held[epoch]
                self._waiting.discard(epoch)
            else:
                self._held[epoch] = (assignment, records[end:])
                self._waiting.add(epoch)

    def _delivery(self, assignment: Assignment, records: Sequence[ConsumerRecord], received_ns: int) -> Delivery:
        n = len(records)
        values = list(map(_VALUE, records))
        log_ns = np.fromiter(map(_TIMESTAMP, records), np.int64, n) * 1_000_000
        self._metrics.kafka_messages_consumed.inc(n)
        return Delivery(
            source=assignment.source,
            records=values,
            offsets=np.fromiter(map(_OFFSET, records), np.int64, n),
            timestamps_ns=np.where(log_ns < 0, received_ns, log_ns),  # a producer of the oldest format gave none
            received_ns=received_ns,
            epoch=assignment.epoch,
            size_bytes=weight_bytes(values),
        )

    def _readable(self) -> list[Assignment]:
        return [assignment for assignment in self._group.assignments.values() if assignment.is_readable]

    # ---------------------------------------------------------------------------------------------------- what goes wrong

    async def _out_of_range(self, consumer: AIOKafkaConsumer, error: OffsetOutOfRangeError) -> None:
        """Our position is not in the log: records were deleted before they could be read, or the log is another one."""
        self._release(everything=True)  # what was taken before lies before the gap
        for tp, offset in error.args[0].items():
            assignment = self._group.assignments.get(tp)
            try:
                first, end = (await bounds_of(consumer, [tp]))[tp]
            except (KafkaError, TimeoutError) as failure:
                log.warning("cannot ask for the bounds of a partition, will be tried again", partition=str(tp), error=repr(failure))
                await self._clock.sleep(RETRY_AFTER_S)
                return  # the client asks for the same offset again, and tells us again
            if assignment is None or self._group.assignments.get(tp) is not assignment or not assignment.is_readable:
                continue
            if offset > end:
                self._group.pause_for(assignment, beyond(offset, end))
                continue
            if offset < first:
                self._group.count_gap(assignment, offset, first)
                assignment.watermark.opened(offset, first)
                assignment.commit = assignment.watermark.settled(offset) or assignment.commit
            self._group.read_from(consumer, assignment, max(offset, first))

    async def _find_unreadable(self, consumer: AIOKafkaConsumer, error: Exception) -> None:
        """Taking records failed. When it is the records of a partition, keep it apart and go on with the others.

        Records that the client had unpacked before it failed are lost to it: every partition is read again from where we know we are.
        """
        self._metrics.kafka_consumption_errors.inc()
        log.warning("taking records failed, will look for the cause", error=repr(error))
        suspects = self._readable()
        for assignment in suspects:
            self._group.read_from(consumer, assignment, assignment.position or 0)
        failed = {assignment: failure for assignment in suspects if (failure := await self._take_singly(consumer, assignment)) is not None}
        if not failed:
            await self._clock.sleep(RETRY_AFTER_S)
        elif len(failed) == len(self._readable()) and not self._rejoined_lately():
            # All of them: more likely the client itself has come to an end, which it tells at every call and never recovers from.
            await self._rejoin()
        else:
            for assignment, failure in failed.items():
                self._keep_apart(consumer, assignment, failure)

    async def _take_singly(self, consumer: AIOKafkaConsumer, assignment: Assignment) -> Exception | None:
        """Take the records of one partition one at a time, so that none before an unreadable one is lost; what then goes wrong."""
        for _ in range(self._config.max_poll_records):
            if self._group.assignments.get(assignment.tp) is not assignment or not assignment.is_readable:
                return None
            try:
                taken = await consumer.getmany(assignment.tp, timeout_ms=POLL_MS, max_records=1)
            except OffsetOutOfRangeError as error:
                await self._out_of_range(consumer, error)
                return None
            except Exception as error:  # noqa: BLE001  as in `_take`
                return error
            if not taken:
                return None
            self._hold(taken)
        return None

    def _keep_apart(self, consumer: AIOKafkaConsumer, assignment: Assignment, error: Exception) -> None:
        if self._group.assignments.get(assignment.tp) is not assignment:
            return  # it ended while the cause was looked for
        cure = " Install llm-sentinel[codecs]." if isinstance(error, UnsupportedCodecError) else ""
        self._group.pause_for(assignment, f"the records from offset {assignment.position} on cannot be read: {error!r}.{cure}")
        assignment.task = asyncio.create_task(self._try_again(consumer, assignment), name=f"try again {assignment.source}")

    async def _try_again(self, consumer: AIOKafkaConsumer, assignment: Assignment) -> None:
        await self._clock.sleep(UNREADABLE_RETRY_S)
        if self._group.assignments.get(assignment.tp) is assignment:
            self._group.read_from(consumer, assignment, assignment.position or 0)

    def _rejoined_lately(self) -> bool:
        return self._rejoined_at is not None and self._clock.monotonic() - self._rejoined_at < 2 * UNREADABLE_RETRY_S

    async def _rejoin(self) -> None:
        self._rejoined_at = self._clock.monotonic()
        self._held.clear()
        self._waiting.clear()
        await self._group.rejoin()
