"""Dead letters with Kafka: their topic, the records read again from the source topic, and sent back to it. A real broker."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete
from daemon_run import config, running, stored, until_stored
from dead_letter_inputs import DAY_NS, START_NS, as_read, letters_of, plain
from kafka_bench import admin, produce, section

from sentinel.app.dead_letters.choose import Wanted, choose
from sentinel.app.dead_letters.fate import Fate, Original
from sentinel.app.dead_letters.in_topic import LetterTopic
from sentinel.app.dead_letters.letter import DeadLettersError, Letter
from sentinel.app.dead_letters.originals import NEAR, by_record, source_topic
from sentinel.app.dead_letters.replay import replay
from sentinel.app.dead_letters.target import Outgoing
from sentinel.app.dead_letters.to_topic import REPLAY_OF, topic_target
from sentinel.config.schema import Ingestion, Kafka, Validation
from sentinel.core.batch import PartitionId
from sentinel.ingestion.dead_letter import KafkaDeadLetters, encode
from sentinel.ingestion.kafka_client import survey
from tools.servers.kafka import Broker

Topic = Callable[..., Awaitable[str]]
STRICT = Validation(max_latency_ms=100.0, on_out_of_range="reject")


def ignore(_share: float) -> None:
    """No progress is shown."""


def event(number: int, **more: Any) -> bytes:
    """An event that `STRICT` refuses."""
    return json.dumps({"service_name": "chat", "model_name": "m", "latency_ms": 120, "event_id": f"e{number}"} | more).encode()


async def letter_at(kafka: Kafka, partition: int, offset: int, raw: bytes = b"{") -> Letter:
    """The letter of a record, as the daemon of this cluster makes it."""
    cluster = (await survey(kafka)).cluster
    (letter,) = letters_of([raw], Ingestion(validation=STRICT), PartitionId(cluster, kafka.topic, partition))
    return as_read(plain()).__class__(**{field: getattr(letter, field) for field in letter.__struct_fields__} | {"offset": offset})


async def originals(kafka: Kafka, letters: Sequence[Letter]) -> list[Original | str]:
    """Their records, or why there is none."""
    found = []
    async with source_topic(kafka) as source:
        for same in by_record(letters):
            found += [original for _, original in await source.originals(same)]
    return found


async def read(broker: Broker, topic: str, partition: int) -> list[ConsumerRecord]:
    """All records of a partition."""
    tp = TopicPartition(topic, partition)
    records: list[ConsumerRecord] = []
    async with AIOKafkaConsumer(bootstrap_servers=broker.bootstrap) as consumer:
        consumer.assign([tp])
        consumer.seek(tp, (await consumer.beginning_offsets([tp]))[tp])
        end = (await consumer.end_offsets([tp]))[tp]
        while await consumer.position(tp) < end:
            for taken in (await consumer.getmany(timeout_ms=100)).values():
                records += taken
    return records


# ------------------------------------------------------------------------------------------------------------- letters' topic


async def filled(broker: Broker, kafka: Kafka, *, days_old: int = 0, first: int = 0, count: int = 3) -> None:
    """Letters in the topic, written so long ago."""
    sink = KafkaDeadLetters(kafka)
    await sink.open()
    await sink.close()
    at_ns = START_NS - days_old * DAY_NS
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
        for offset in range(first, first + count):
            value = encode(plain(offset, at_ns))
            await producer.send_and_wait(kafka.dead_letter_topic, value, timestamp_ms=at_ns // 1_000_000)


def offsets(kafka: Kafka, wanted: Wanted | None = None) -> list[int]:
    """Those of the letters in the topic."""
    return [letter.offset for letter in choose(LetterTopic(kafka), wanted or Wanted(), 100, ignore).newest_first()]


async def test_letters_are_read_from_their_topic(kafka: Broker, topic: Topic) -> None:
    """All of them, or from a time on; tombstones and records of others are counted apart."""
    settings = section(kafka, await topic())
    await filled(kafka, settings, days_old=3)
    await filled(kafka, settings, days_old=1, first=3)
    await produce(kafka, settings.dead_letter_topic, [None, b"someone else's"])
    assert await asyncio.to_thread(offsets, settings) == [5, 4, 3, 2, 1, 0]
    assert await asyncio.to_thread(offsets, settings, Wanted(start_ns=START_NS - 2 * DAY_NS)) == [5, 4, 3]
    assert (await asyncio.to_thread(choose, LetterTopic(settings), Wanted(), 1, ignore)).unreadable == 2


async def test_the_brokers_delete_what_is_older(kafka: Broker, topic: Topic) -> None:
    """By age, then the rest; each time it is said how many, and a second time there are none."""
    settings = section(kafka, await topic())
    await filled(kafka, settings, days_old=3)
    await filled(kafka, settings, days_old=1, first=3)
    letters = LetterTopic(settings)
    assert await asyncio.to_thread(letters.purge, START_NS - 2 * DAY_NS) == 3
    assert await asyncio.to_thread(offsets, settings) == [5, 4, 3]
    assert await asyncio.to_thread(letters.purge, START_NS - 2 * DAY_NS) == 0
    assert await asyncio.to_thread(letters.purge, None) == 3
    assert await asyncio.to_thread(offsets, settings) == []


async def test_a_topic_that_keeps_everything_is_told(kafka: Broker, topic: Topic) -> None:
    """Brokers refuse to delete from a topic that is only compacted: the message says what to look at."""
    settings = section(kafka, await topic())
    async with admin(kafka) as client:
        await client.create_topics([NewTopic(settings.dead_letter_topic, 1, 1, topic_configs={"cleanup.policy": "compact"})])
    await produce(kafka, settings.dead_letter_topic, [encode(plain())])
    with pytest.raises(DeadLettersError, match=r"PolicyViolation.*cleanup\.policy"):
        await asyncio.to_thread(LetterTopic(settings).purge, None)


# ---------------------------------------------------------------------------------------------------------------- source topic


async def test_records_are_read_again_by_their_place(kafka: Broker, topic: Topic) -> None:
    """Near ones and far ones, in any partition, each the one at its offset with its key; those in between are not taken for them."""
    settings = section(kafka, await topic())
    await produce(kafka, settings.topic, (b"%d" % number for number in range(3 * NEAR)), partition=1)
    await produce(kafka, settings.topic, (b"other %d" % number for number in range(5)), partition=3)
    wanted = [(1, 0), (1, 1), (1, 7), (1, 2 * NEAR + 500), (1, 3 * NEAR - 1), (3, 4)]
    found = await originals(settings, [await letter_at(settings, *place) for place in reversed(wanted)])
    values = [original.value for original in found if isinstance(original, Original)]
    assert values == [b"0", b"1", b"7", b"2500", b"2999", b"other 4"]
    assert all(isinstance(original, Original) and original.key == b"k" and original.log_ns > START_NS for original in found)


async def test_a_record_that_is_gone_is_told(kafka: Broker, topic: Topic) -> None:
    """Deleted by retention, never there, of another topic or cluster: each letter says why, and no other record is taken."""
    settings = section(kafka, await topic())
    await produce(kafka, settings.topic, [b"a", b"b", b"c"])
    async with admin(kafka) as client:
        await client.delete_records({TopicPartition(settings.topic, 0): RecordsToDelete(2)})
    letters = [await letter_at(settings, *place) for place in ((0, 1), (0, 2), (0, 3), (9, 0))]
    gone, there, beyond, nowhere = await originals(settings, letters)
    assert isinstance(there, Original)
    assert there.value == b"c"
    assert "no longer in" in str(gone)
    assert "made anew" in str(beyond)
    assert "made anew" in str(nowhere)
    (foreign,) = await originals(settings, letters_of([b'{"user_id":1}'], log=PartitionId("other", settings.topic, 0)))
    assert "redacted" in str(foreign)


async def test_gaps_of_a_transaction_hold_no_record(kafka: Broker, topic: Topic) -> None:
    """The offset of a transaction's end is passed over, and told as gone."""
    settings = section(kafka, await topic())
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=settings.topic) as producer, producer.transaction():
        await producer.send_and_wait(settings.topic, b"a", partition=0)
    first, marker = await originals(settings, [await letter_at(settings, 0, 0), await letter_at(settings, 0, 1)])
    assert isinstance(first, Original)
    assert "no longer in" in str(marker)


# ----------------------------------------------------------------------------------------------------------------- sending


async def test_a_record_goes_back_where_it_came_from(kafka: Broker, topic: Topic) -> None:
    """Same partition, key, time and headers, in order; and headers that say what it is a replay of. What is too large is told."""
    settings = section(kafka, await topic())
    letter = await letter_at(settings, 2, 7)
    original = Original(b"", START_NS, 2, b"k", (("trace", b"t"),))
    batch = [Outgoing(letter, original, value) for value in (b"1", b"x" * 2_000_000, b"3")]
    async with topic_target(settings, 1_048_576, START_NS + DAY_NS) as target:
        told = await target.send(batch)
        assert "more than the topic" in str(told[1])
        assert (told[0], told[2]) == (None, None)
        assert "--to" in str(target.unfit(Outgoing(letter, Original(b"1", START_NS), b"1")))
    records = await read(kafka, settings.topic, 2)
    assert [(record.value, record.key, record.timestamp) for record in records] == [(v, b"k", START_NS // 1_000_000) for v in (b"1", b"3")]
    assert dict(records[0].headers) == {
        "trace": b"t",
        REPLAY_OF: letter.id.encode(),
        "sentinel-replay-code": b"malformed_json",
        "sentinel-replayed-at": b"2026-01-16T10:30:00.000Z",
    }


async def test_a_replay_stores_each_event_once(kafka: Broker, topic: Topic, tmp_path: Path) -> None:
    """A daemon refuses, its limits are changed, a dry run tells so and sends nothing; replays, also repeated ones, store each once."""
    settings = section(kafka, await topic())
    await produce(kafka, settings.topic, [event(1), event(2, event_id=None), b"[1]", event(3, latency_ms=50)])
    strict = config(tmp_path, Ingestion(kafka=settings, validation=STRICT))
    async with running(strict):
        await until_stored(strict, ["e3"])
    found = (await asyncio.to_thread(choose, LetterTopic(settings), Wanted(), 100, ignore)).newest_first()
    assert len(found) == 3
    loose = config(tmp_path, Ingestion(kafka=settings))
    assert [verdict.fate for verdict in await replay(found, strict, None, ignore, force=False)] == [Fate.REFUSED] * 3
    dry = await replay(found, loose, None, ignore, force=False)
    assert [verdict.fate for verdict in dry] == [Fate.PASSES, Fate.PASSES, Fate.REFUSED]
    assert len(await read(kafka, settings.topic, 0)) == 4
    async with running(loose):
        for _ in range(2):
            target = topic_target(settings, 1_048_576, START_NS)
            verdicts = await replay(found, loose, target, ignore, force=False)
            assert [verdict.fate for verdict in verdicts] == [Fate.SENT, Fate.SENT, Fate.REFUSED]
        await produce(kafka, settings.topic, [event(9, latency_ms=50)])
        async with asyncio.timeout(20):
            while "e9" not in stored(loose):  # noqa: ASYNC110  another thread's commit is only seen in the file
                await asyncio.sleep(0.01)
    ids = stored(loose)
    assert sorted(ids[:2]) == ["e1", "e3"]
    assert ids[2].startswith("replay-")
    assert ids[3:] == ["e9"]
