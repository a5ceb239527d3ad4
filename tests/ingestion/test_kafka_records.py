"""The client's records are used as its parser made them, and only by consumers that ask for it."""

from collections.abc import Awaitable, Callable

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from sentinel.ingestion.kafka_records import as_parsed
from tools.servers.kafka import Broker


@pytest.mark.parametrize("compression", [None, "gzip"])
async def test_who_asks_gets_what_was_parsed(kafka: Broker, topic: Callable[..., Awaitable[str]], compression: str | None) -> None:
    """Offset, time, key and value are the same in both forms; without asking, records are the client's own."""
    name = await topic(1)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, compression_type=compression)
    await producer.start()
    for number, value in enumerate((b"one", None, b"", b"x" * 5_000)):
        await producer.send_and_wait(name, value, key=b"k", timestamp_ms=1_700_000_000_000 + number)
    await producer.stop()
    light, own = [await _read(kafka, name, deserializer) for deserializer in (as_parsed, None)]
    assert [(one.offset, one.timestamp, one.key, one.value) for one in light] == [
        (one.offset, one.timestamp, one.key, one.value) for one in own
    ]
    assert [one.offset for one in light] == [0, 1, 2, 3]
    assert all(isinstance(one, ConsumerRecord) for one in own)
    assert not any(isinstance(one, ConsumerRecord) for one in light)


async def _read(kafka: Broker, name: str, deserializer: Callable[[bytes | None], bytes | None] | None) -> list[ConsumerRecord]:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, value_deserializer=deserializer)
    await consumer.start()
    try:
        tp = TopicPartition(name, 0)
        consumer.assign([tp])
        consumer.seek(tp, 0)
        return [await consumer.getone() for _ in range(4)]
    finally:
        await consumer.stop()
