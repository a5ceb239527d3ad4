"""The SDK against a real broker: every event arrives once, in the partition of its series, and an outage loses nothing."""

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import PIPE
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.structs import ConsumerRecord
from kafka_bench import until
from llm_sentinel import DeliveryError, TelemetryProducer

from tools.servers.kafka import Broker

Topic = Callable[..., Awaitable[str]]
SDK = Path(__file__).parents[2] / "sdk" / "python"


async def dump(broker: Broker, topic: str, partitions: int) -> list[ConsumerRecord]:
    """Every record of a topic, in order within its partition."""
    tps = [TopicPartition(topic, partition) for partition in range(partitions)]
    found: list[ConsumerRecord] = []
    async with AIOKafkaConsumer(bootstrap_servers=broker.bootstrap) as consumer:
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        for tp in tps:
            consumer.seek(tp, 0)
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += records
    return found


def send(producer: TelemetryProducer, first: int, n: int) -> None:
    """Events by number, of seven services and three models in turn."""
    for i in range(first, first + n):
        event = producer.create_telemetry_event(f"service-{i % 7}", f"modèle-{i % 3}", latency_ms=100 + i, event_id=f"e{i}")
        assert producer.send_event(event)


async def test_a_thousand_events_arrive_once_where_their_series_is(kafka: Broker, topic: Topic) -> None:
    """Each once; keyed by service and model; in the partition to which the daemon's own producer would put that key; in order."""
    name = await topic(4)
    with TelemetryProducer(brokers=[kafka.bootstrap], topic=name) as producer:
        send(producer, 0, 1_000)
        assert await asyncio.to_thread(producer.flush, 20) == 0
    assert (producer.stats().accepted, producer.stats().delivered) == (1_000, 1_000)
    records = await dump(kafka, name, 4)
    assert Counter(json.loads(record.value)["event_id"] for record in records) == Counter(f"e{i}" for i in range(1_000))
    partitioner = DefaultPartitioner()
    in_order: dict[bytes, list[float]] = defaultdict(list)
    for record in records:
        event = json.loads(record.value)
        assert record.key == f"{event['service_name']}:{event['model_name']}".encode()
        assert record.partition == partitioner(record.key, [0, 1, 2, 3], [0, 1, 2, 3])
        in_order[record.key].append(event["latency_ms"])
    assert len(in_order) == 21
    assert all(latencies == sorted(latencies) for latencies in in_order.values())


async def test_an_outage_loses_nothing_that_fits_the_buffer(own_kafka: Broker) -> None:
    """The broker is killed amid the stream: sending goes on, the trouble is told, nothing is told as lost; back again, all arrive."""
    await own_kafka.create_topic("t", 4)
    told: list[DeliveryError] = []
    with TelemetryProducer(brokers=own_kafka.bootstrap, topic="t", on_error=told.append) as producer:
        send(producer, 0, 500)
        assert await asyncio.to_thread(producer.flush, 20) == 0
        killing = asyncio.create_task(asyncio.to_thread(own_kafka.kill))
        send(producer, 500, 1_000)
        await killing
        send(producer, 1_500, 500)
        await until(lambda: told)
        assert producer.stats().accepted == 2_000
        assert producer.stats().buffered > 0
        await asyncio.to_thread(own_kafka.start)
        assert await asyncio.to_thread(producer.flush, 60) == 0
    stats = producer.stats()
    assert (stats.delivered, stats.failed, stats.dropped, stats.buffered) == (2_000, 0, 0, 0)
    assert not any(error.lost for error in told)
    arrived = Counter(json.loads(record.value)["event_id"] for record in await dump(own_kafka, "t", 4))
    assert set(arrived) == {f"e{i}" for i in range(2_000)}


async def test_an_outage_beyond_the_buffer_is_told_exactly(own_kafka: Broker) -> None:
    """What did not fit is dropped, counted and told; what did fit arrives when the broker is back."""
    await own_kafka.create_topic("t", 1)
    await asyncio.to_thread(own_kafka.kill)
    told: list[DeliveryError] = []
    with TelemetryProducer(brokers=own_kafka.bootstrap, topic="t", buffer_max_events=100, on_error=told.append) as producer:
        taken = [producer.send_event({"service_name": "s", "model_name": "m", "latency_ms": 1, "event_id": f"e{i}"}) for i in range(150)]
        assert taken == [True] * 100 + [False] * 50
        await asyncio.to_thread(own_kafka.start)
        assert await asyncio.to_thread(producer.flush, 60) == 0
    assert (producer.stats().delivered, producer.stats().dropped) == (100, 50)
    assert sum(error.lost for error in told) == 50
    assert {json.loads(record.value)["event_id"] for record in await dump(own_kafka, "t", 1)} == {f"e{i}" for i in range(100)}


async def test_the_readme_runs(kafka: Broker, topic: Topic) -> None:
    """The first program of the SDK's README, as it stands there but for the addresses, delivers its event."""
    name = await topic(1)
    program = re.findall(r"```python\n(.*?)```", (SDK / "README.md").read_text(encoding="utf-8"), re.DOTALL)[0]
    for there, here in (("localhost:9092", kafka.bootstrap), ("llm.telemetry", name)):
        assert there in program
        program = program.replace(there, here)
    environment = os.environ | {"PYTHONPATH": str(SDK / "src")}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=PIPE, env=environment)
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert out.decode().splitlines()[0] == "You asked: What is a lease?"
    assert "delivered=1" in out.decode()
    (record,) = await dump(kafka, name, 1)
    assert record.key == b"my-chatbot:gpt-4o"
