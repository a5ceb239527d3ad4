"""Whether all events of a series are in one partition: the newest records of each are looked at. Nothing is committed or joined."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from sentinel.app.doctor.check import Check, Finding, ok, warning
from sentinel.app.split_series import Split, split_of
from sentinel.config.schema import Config, Kafka
from sentinel.core.batch import PartitionId, SeriesKey
from sentinel.core.canary import CANARY
from sentinel.core.delivery import Delivery, weight_bytes
from sentinel.core.errors import StartupError
from sentinel.ingestion.decode import decode
from sentinel.ingestion.kafka_client import client_options, starting, survey

LIMIT_S: Final = 12.0
READ_S: Final = 4.0
"""Seconds for reading; what came until then is looked at."""
NEWEST: Final = 200
"""Records of each partition."""
MOST_PARTITIONS: Final = 64
_SUBJECT: Final = "kafka series"


async def _run(config: Config) -> Sequence[Finding]:
    kafka = config.ingestion.kafka
    if kafka is None:
        return []
    try:
        async with starting(kafka, LIMIT_S):
            partitions = (await survey(kafka)).partitions
    except StartupError:
        return []  # the check of Kafka itself tells what is missing
    records = await _newest(kafka, min(partitions, MOST_PARTITIONS))
    return [_judged(split_of((PartitionId("", *tp), _names(tp, found, config)) for tp, found in records.items()), records)]


async def _newest(kafka: Kafka, partitions: int) -> Mapping[TopicPartition, list[ConsumerRecord]]:
    """The newest records of so many partitions, as far as they come in time."""
    consumer = AIOKafkaConsumer(group_id=None, enable_auto_commit=False, request_timeout_ms=int(LIMIT_S * 1_000), **client_options(kafka))
    try:
        async with starting(kafka, LIMIT_S):
            await consumer.start()
        return await _read(consumer, [TopicPartition(kafka.topic, number) for number in range(partitions)])
    finally:
        await consumer.stop()


async def _read(consumer: AIOKafkaConsumer, tps: list[TopicPartition]) -> Mapping[TopicPartition, list[ConsumerRecord]]:
    found: dict[TopicPartition, list[ConsumerRecord]] = {tp: [] for tp in tps}
    consumer.assign(tps)
    first, end = await asyncio.gather(consumer.beginning_offsets(tps), consumer.end_offsets(tps))
    for tp in tps:
        consumer.seek(tp, max(first[tp], end[tp] - NEWEST))
    until, waiting = time.monotonic() + READ_S, {tp for tp in tps if end[tp] > first[tp]}
    while waiting and time.monotonic() < until:
        for tp, records in (await consumer.getmany(*waiting, timeout_ms=250, max_records=NEWEST)).items():
            found[tp] += records
            if records and records[-1].offset >= end[tp] - 1:
                waiting.discard(tp)
    return found


def _names(tp: TopicPartition, records: list[ConsumerRecord], config: Config) -> Sequence[SeriesKey]:
    """The series of these records, but for those of our own canaries."""
    values, now_ns = [record.value for record in records], time.time_ns()
    offsets = np.array([record.offset for record in records], np.int64)
    delivery = Delivery(PartitionId("", *tp), values, offsets, np.full(len(values), now_ns), now_ns, 0, weight_bytes(values))
    batch = decode(delivery, config.ingestion.parsing).batch
    return () if batch is None else [name for name in batch.names if name != CANARY]


def _judged(split: Split, records: Mapping[TopicPartition, list[ConsumerRecord]]) -> Finding:
    """Names are not shown: here they are as the producers wrote them."""
    looked = f"in the newest {sum(map(len, records.values()))} records of {len(records)} partitions"
    if not split.split:
        return ok(_SUBJECT, f"{split.series} series, each in one partition, {looked}")
    cure = "Key the records by service and model, as the SDK does: a series has a baseline in each of its partitions, and each sees a part."
    return warning(_SUBJECT, f"{split.split} of {split.series} series are spread over several partitions, {looked}", cure)


SERIES: Final = Check(_SUBJECT, _run, lambda config: config.ingestion.kafka is not None, LIMIT_S)
